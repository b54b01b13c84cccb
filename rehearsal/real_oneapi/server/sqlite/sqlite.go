// Package sqlite stands in for gorm's own driver of this name: the same Open, on a SQLite written in
// Go, so that no C compiler is needed (docs/facts/xinference-cluster.md section 3).
package sqlite

import (
	"regexp"

	"github.com/glebarez/sqlite"
	"gorm.io/gorm"
)

// OneAPI asks for a busy timeout in the other driver's spelling, which this one ignores.
var busyTimeout = regexp.MustCompile(`_busy_timeout=(\d+)`)

// Open names a database by its file, parameters included.
func Open(file string) gorm.Dialector {
	return sqlite.Open(busyTimeout.ReplaceAllString(file, "_pragma=busy_timeout($1)"))
}
