"""The lazy, racy start-up of FastGPT (docs/facts/fastgpt.md §1)."""

import hashlib
import json
import os
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

from rehearsal import inside
from rehearsal.doubles.fastgpt.config import INSIDE, Config, Environment, read_config
from rehearsal.doubles.fastgpt.envelope import Problem, log
from rehearsal.doubles.fastgpt.index import TrainingQueue
from rehearsal.doubles.fastgpt.store import Store, object_id
from rehearsal.doubles.fastgpt.upstream import Upstream

RETRY_SECONDS = 1.0


class Service:
    """What the handlers share. Nothing is connected before the first API request."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.upstream = Upstream(environment.base_url, environment.chat_api_key)
        self.queue = TrainingQueue(self)
        self.mongo: Store
        self.config: Config
        self._asked = threading.Lock()
        self._connected = threading.Event()
        self.ready = threading.Event()

    def waits_for(self) -> threading.Event:
        """What a request has to wait for: the first begins the start-up and waits for its end.

        Later ones wait for MongoDB only: the flag is up before the start-up is through.
        """
        if not self._asked.acquire(blocking=False):
            return self._connected
        threading.Thread(target=self._start_up, daemon=True).start()
        return self.ready

    @property
    def vectors(self) -> Store:
        """PostgreSQL; a Problem where it cannot be reached."""
        if missing := _missing(self.environment.pg_url):
            raise Problem(missing)
        return self.mongo

    def _start_up(self) -> None:
        _wait_for("mongo", self.environment.mongodb_uri)
        self.mongo = _opened(self.environment.memory)
        self._connected.set()
        try:
            self.config = read_config(inside.path(INSIDE))
        except Exception as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        # The real one prints all of it, the reranker's key included (docs/facts/fastgpt.md §1).
        print("config:", json.dumps(self.config.models, ensure_ascii=False), flush=True)
        _init_root_user(self.mongo, self.environment.root_password)
        _wait_for("pg", self.environment.pg_url)
        self.queue.start()
        self.ready.set()


def hash_str(text: str) -> str:
    """What is stored of a password that the browser has hashed once already."""
    return hashlib.sha256(text.encode()).hexdigest()


def _init_root_user(mongo: Store, password: str) -> None:
    """Create `root`, or overwrite its password; on every start."""
    found = mongo.find("users")
    root = found[0] if found else {"teamId": object_id(), "tmbId": object_id()}
    stored = hash_str(hash_str(password))
    mongo.put("users", {**root, "username": "root", "password": stored})
    # The real one prints it too: docs/facts/fastgpt.md §1.
    print("root user init:", {"username": "root", "password": password}, flush=True)


def _opened(place: str) -> Store:
    while True:
        try:
            return Store(place)
        except Problem as problem:
            log(f"pg connect error {problem}")
            time.sleep(RETRY_SECONDS)


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
        log(f"{name} connect error {missing}")
        time.sleep(RETRY_SECONDS)
