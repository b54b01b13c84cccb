"""The lazy, racy start-up of FastGPT (facts/fastgpt.md §1)."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from rehearsal import inside
from rehearsal.doubles.database_client import Database, DatabaseError
from rehearsal.doubles.fastgpt.auth import init_root_user
from rehearsal.doubles.fastgpt.config import INSIDE, Config, read_config
from rehearsal.doubles.fastgpt.envelope import Problem, undefined
from rehearsal.doubles.fastgpt.environment import DatabaseUri, Environment
from rehearsal.doubles.fastgpt.training import TrainingQueue
from rehearsal.doubles.fastgpt.upstream import Upstream

BUFFERING_SECONDS = 10.0


class Service:
    """What the handlers share. Nothing is connected before the first API request."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.upstream = Upstream(environment.base_url, environment.chat_api_key)
        self.queue = TrainingQueue(self)
        self._asked = threading.Lock()
        self._mongo: Database | None = None
        self._vectors: Database | None = None
        self._config: Config | None = None
        self._connected = threading.Event()

    def connect_to_database(self) -> None:
        """Start up, if nobody has begun to.

        The flag is up before the start-up is through, so a second request does not wait for it.
        """
        if self._asked.acquire(blocking=False):
            _or_exit(self._initialise)

    @property
    def mongo(self) -> Database:
        """MongoDB, once it is connected; a call that comes before waits as Mongoose buffers it."""
        if not self._connected.wait(BUFFERING_SECONDS) or self._mongo is None:
            raise Problem("Operation `users.findOne()` buffering timed out after 10000ms")
        return self._mongo

    @property
    def vectors(self) -> Database:
        """PostgreSQL."""
        if self._vectors is None:
            raise Problem('relation "modeldata" does not exist')
        return self._vectors

    @property
    def config(self) -> Config:
        """config.json, once it has been read."""
        if self._config is None:
            raise undefined("find")
        return self._config

    def _initialise(self) -> None:
        mongo = _mongo(self.environment.mongodb_uri)
        mongo.connect()
        self._mongo = mongo
        self._connected.set()
        print("mongo connected", flush=True)
        self._config = read_config(inside.path(INSIDE), inside.path("/app/package.json"))
        _dump(self._config)
        vectors = _postgres(self.environment.pg_url)
        vectors.put("modeldata_schema", "modeldata", {"dimension": 1536, "index": "hnsw"})
        self._vectors = vectors
        print("init pg successful", flush=True)
        init_root_user(mongo, self.environment.root_password)
        self.queue.start()


def _mongo(uri: str) -> Database:
    found = DatabaseUri.parse(uri, 27017)
    options = parse_qs(urlsplit(uri).query)
    return Database(
        "mongo",
        found.host,
        found.port,
        found.user,
        found.password,
        found.database or "test",
        auth_source=options.get("authSource", [None])[0],
        direct_connection=options.get("directConnection") == ["true"],
    )


def _postgres(uri: str) -> Database:
    found = DatabaseUri.parse(uri, 5432)
    return Database("postgres", found.host, found.port, found.user, found.password, found.database)


def _dump(config: Config) -> None:
    """The real one prints all of it, the reranker's key included (facts/fastgpt.md §1.5)."""
    shown = {
        "systemEnv": config.system_env,
        "llmModels": config.llm_models,
        "vectorModels": config.vector_models,
        "reRankModels": config.rerank_models,
        "audioSpeechModels": config.speech_models,
        "whisperModel": config.whisper_model,
    }
    print("config:", json.dumps(shown, ensure_ascii=False, indent=2), flush=True)


def _or_exit(initialise: Callable[[], None]) -> None:
    try:
        initialise()
    except (DatabaseError, OSError, ValueError, KeyError) as error:
        print("Init error", type(error).__name__, error, file=sys.stderr, flush=True)
        os._exit(1)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
