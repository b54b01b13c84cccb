module gorm.io/driver/sqlite

go 1.20

require (
	github.com/glebarez/sqlite v1.11.0
	gorm.io/gorm v1.25.10
)
