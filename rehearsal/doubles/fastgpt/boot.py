"""The lazy, racy start-up of FastGPT (docs/facts/fastgpt.md §1)."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from rehearsal import inside
from rehearsal.doubles import database_client
from rehearsal.doubles.database_client import DatabaseError
from rehearsal.doubles.fastgpt.auth import init_root_user
from rehearsal.doubles.fastgpt.call import NotConnected
from rehearsal.doubles.fastgpt.config import INSIDE, Config, read_config
from rehearsal.doubles.fastgpt.envelope import log, undefined
from rehearsal.doubles.fastgpt.environment import DatabaseUri, Environment
from rehearsal.doubles.fastgpt.memory import Memory
from rehearsal.doubles.fastgpt.store import Database
from rehearsal.doubles.fastgpt.training import TrainingQueue
from rehearsal.doubles.fastgpt.upstream import Upstream

RETRY_SECONDS = 1.0


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
        self.ready = threading.Event()
        """Set when the start-up is through, PostgreSQL being its last step."""

    def waits_for(self) -> threading.Event:
        """What a request has to wait for, for ever if need be, before it is handled.

        The first one begins the start-up and waits for the end of it. Later ones wait for MongoDB
        only: the flag is up before the start-up is through.
        """
        if not self._asked.acquire(blocking=False):
            return self._connected
        threading.Thread(target=_or_exit, args=(self._initialise,), daemon=True).start()
        return self.ready

    @property
    def mongo(self) -> Database:
        """MongoDB, connected."""
        assert self._mongo is not None, "requests wait for it"
        return self._mongo

    @property
    def vectors(self) -> Database:
        """PostgreSQL.

        Raises:
            NotConnected: whoever needs it has to come back when the service is `ready`.
        """
        if self._vectors is None:
            raise NotConnected
        return self._vectors

    @property
    def config(self) -> Config:
        """config.json, once it has been read."""
        if self._config is None:
            raise undefined("find")
        return self._config

    def _initialise(self) -> None:
        memory = Memory(Path(self.environment.memory)) if self.environment.memory else None
        self._mongo = memory or _connected("mongo", _mongo, self.environment.mongodb_uri)
        self._connected.set()
        print("mongo connected", flush=True)
        self._config = read_config(inside.path(INSIDE), inside.path("/app/package.json"))
        _dump(self._config)
        init_root_user(self._mongo, self.environment.root_password)
        vectors = memory or _connected("pg", _postgres, self.environment.pg_url)
        vectors.put("modeldata_schema", "modeldata", {"dimension": 1536, "index": "hnsw"})
        self._vectors = vectors
        print("init pg successful", flush=True)
        self.queue.start()
        self.ready.set()


def _connected(
    name: str, database: Callable[[str], database_client.Database], uri: str
) -> Database:
    """The database once it lets us in; tried again for ever (docs/facts/measured.md §1 F3)."""
    while True:
        made = database(uri)
        try:
            made.connect()
        except DatabaseError as error:
            log("Error", f"{name} connect error")
            print(error, file=sys.stderr, flush=True)
            time.sleep(RETRY_SECONDS)
        else:
            return made


def _mongo(uri: str) -> database_client.Database:
    found = DatabaseUri.parse(uri, 27017)
    options = parse_qs(urlsplit(uri).query)
    return database_client.Database(
        "mongo",
        found.host,
        found.port,
        found.user,
        found.password,
        found.database or "test",
        auth_source=options.get("authSource", [None])[0],
        direct_connection=options.get("directConnection") == ["true"],
    )


def _postgres(uri: str) -> database_client.Database:
    found = DatabaseUri.parse(uri, 5432)
    return database_client.Database(
        "postgres", found.host, found.port, found.user, found.password, found.database
    )


def _dump(config: Config) -> None:
    """The real one prints all of it, the reranker's key included (docs/facts/fastgpt.md §1)."""
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
