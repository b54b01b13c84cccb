"""The lazy, racy start-up of FastGPT (docs/facts/fastgpt.md §1)."""

import json
import os
import socket
import sys
import threading
import time
import traceback
from urllib.parse import urlsplit

from rehearsal import inside
from rehearsal.doubles.fastgpt.auth import init_root_user
from rehearsal.doubles.fastgpt.call import NotConnected
from rehearsal.doubles.fastgpt.config import INSIDE, Config, Environment, read_config
from rehearsal.doubles.fastgpt.envelope import Problem, log, undefined
from rehearsal.doubles.fastgpt.store import Store
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
        self.mongo: Store
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
        threading.Thread(target=self._start_up, daemon=True).start()
        return self.ready

    @property
    def vectors(self) -> Store:
        """PostgreSQL.

        Raises:
            NotConnected: whoever needs it has to come back when the service is `ready`.
            Problem: it has gone away since.
        """
        if not self.ready.is_set():
            raise NotConnected
        missing = _missing(self.environment.pg_url)
        if missing:
            raise Problem(missing)
        return self.mongo

    @property
    def config(self) -> Config:
        """config.json, once it has been read."""
        if self._config is None:
            raise undefined("find")
        return self._config

    def _start_up(self) -> None:
        """Whatever goes wrong with it ends the process."""
        try:
            self._initialise()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def _initialise(self) -> None:
        _wait_for("mongo", self.environment.mongodb_uri)
        self.mongo = Store(self.environment.memory)
        self._connected.set()
        print("mongo connected", flush=True)
        self._config = read_config(inside.path(INSIDE))
        # The real one prints all of it, the reranker's key included (docs/facts/fastgpt.md §1).
        shown = {"systemEnv": self._config.system_env, **self._config.models}
        print("config:", json.dumps(shown, ensure_ascii=False, indent=2), flush=True)
        init_root_user(self.mongo, self.environment.root_password)
        _wait_for("pg", self.environment.pg_url)
        print("init pg successful", flush=True)
        self.queue.start()
        self.ready.set()


def _missing(uri: str) -> str:
    """Why a database cannot be reached, "" where it can: one that runs has a name."""
    try:
        inside.resolve(urlsplit(uri).hostname or "")
    except socket.gaierror as error:
        return str(error)
    return ""


def _wait_for(name: str, uri: str) -> None:
    """Until the database is there; tried again for ever (docs/facts/measured.md §1 F3)."""
    while missing := _missing(uri):
        log("Error", f"{name} connect error")
        print(missing, file=sys.stderr, flush=True)
        time.sleep(RETRY_SECONDS)
