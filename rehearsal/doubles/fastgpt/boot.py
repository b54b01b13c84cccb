"""The lazy, racy start-up of FastGPT (docs/facts/fastgpt.md §1)."""

import hashlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from rehearsal import inside
from rehearsal.doubles.fastgpt.config import INSIDE, Config, Environment, read_config
from rehearsal.doubles.fastgpt.envelope import Problem, log
from rehearsal.doubles.fastgpt.index import TrainingQueue
from rehearsal.doubles.fastgpt.store import Store, object_id
from rehearsal.doubles.fastgpt.upstream import Upstream

_Done = TypeVar("_Done")


class Service:
    """What the handlers share. Nothing is connected before the first API request."""

    mongo: Store
    config: Config

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.upstream = Upstream(environment.base_url, environment.chat_api_key)
        self.queue = TrainingQueue(self)
        self._asked = threading.Lock()
        self._connected = threading.Event()
        self.ready = threading.Event()

    def waits_for(self) -> threading.Event:
        """The first request begins the start-up and waits for its end, others for MongoDB only."""
        if not self._asked.acquire(blocking=False):
            return self._connected
        threading.Thread(target=self._start_up, daemon=True).start()
        return self.ready

    @property
    def vectors(self) -> Store:
        """PostgreSQL; a Problem where it cannot be reached: one that runs has a name."""
        _check_resolves(self.environment.pg_url)
        return self.mongo

    def _start_up(self) -> None:
        given = self.environment
        _until_done("mongo", lambda: _check_resolves(given.mongodb_uri))
        self.mongo = _until_done("pg", lambda: Store(given.memory or given.pg_url))
        self._connected.set()
        try:
            self.config = read_config(inside.path(INSIDE))
        except Exception as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        # The real one prints these, the reranker's key and the password included (fastgpt.md §1).
        print("config:", json.dumps(self.config.models, ensure_ascii=False), flush=True)
        # Its password is overwritten on every start.
        (root, *_) = self.mongo.find("users") or [{"teamId": object_id(), "tmbId": object_id()}]
        stored = hash_str(hash_str(given.root_password))
        self.mongo.put("users", {**root, "username": "root", "password": stored})
        told = {"username": "root", "password": given.root_password}
        print("root user init:", told, flush=True)
        _until_done("pg", lambda: _check_resolves(given.pg_url))
        self.queue.start()
        self.ready.set()


def hash_str(text: str) -> str:
    """What is stored of a password that the browser has hashed once already."""
    return hashlib.sha256(text.encode()).hexdigest()


def _check_resolves(uri: str) -> None:
    try:
        inside.resolve(urlsplit(uri).hostname or "")
    except socket.gaierror as error:
        raise Problem(str(error)) from error


def _until_done(name: str, step: Callable[[], _Done]) -> _Done:
    """What comes of a step that is tried for ever (docs/facts/measured.md §1 F3)."""
    while True:
        try:
            return step()
        except Problem as problem:
            log(f"{name} connect error {problem}")
            time.sleep(1)
