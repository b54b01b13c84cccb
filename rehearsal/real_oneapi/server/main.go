// The real OneAPI as a process of this machine: the module's own packages, started in the order of
// docs/facts/oneapi.md section 2. Outside a rehearsed container it behaves as its image does; inside one
// it sees the network of that container only (see network.go).
package main

import (
	"embed"
	"os"

	"github.com/gin-contrib/sessions"
	"github.com/gin-contrib/sessions/cookie"
	"github.com/gin-gonic/gin"
	"github.com/songquanpeng/one-api/common"
	"github.com/songquanpeng/one-api/common/client"
	"github.com/songquanpeng/one-api/common/config"
	"github.com/songquanpeng/one-api/common/logger"
	"github.com/songquanpeng/one-api/middleware"
	"github.com/songquanpeng/one-api/model"
	"github.com/songquanpeng/one-api/relay/adaptor/openai"
	"github.com/songquanpeng/one-api/router"
)

//go:embed web/build
var pages embed.FS

func main() {
	common.Init()
	logger.SetupLogger()
	gin.SetMode(gin.ReleaseMode)
	enterContainer()

	openDatabase()
	loadOptions()
	openai.InitTokenEncoders()
	client.Init()

	if err := engine().Run(os.Getenv("REHEARSAL_ADDRESS") + ":" + port()); err != nil {
		logger.FatalLog("failed to start HTTP server: " + err.Error())
	}
}

func openDatabase() {
	model.InitDB()
	model.InitLogDB()
	if err := model.CreateRootAccountIfNeed(); err != nil {
		logger.FatalLog("database init error: " + err.Error())
	}
}

func loadOptions() {
	if err := common.InitRedisClient(); err != nil {
		logger.FatalLog("failed to initialize Redis: " + err.Error())
	}
	model.InitOptionMap()
	if common.RedisEnabled {
		config.MemoryCacheEnabled = true
	}
	if config.MemoryCacheEnabled {
		model.InitChannelCache()
		go model.SyncOptions(config.SyncFrequency)
		go model.SyncChannelCache(config.SyncFrequency)
	}
	if os.Getenv("BATCH_UPDATE_ENABLED") == "true" {
		config.BatchUpdateEnabled = true
		model.InitBatchUpdater()
	}
}

func engine() *gin.Engine {
	server := gin.New()
	server.Use(gin.Recovery(), middleware.RequestId())
	middleware.SetUpLogger(server)
	server.Use(sessions.Sessions("session", cookie.NewStore([]byte(config.SessionSecret))))
	router.SetRouter(server, pages)
	return server
}

func port() string {
	if chosen := os.Getenv("PORT"); chosen != "" {
		return chosen
	}
	return "3000"
}
