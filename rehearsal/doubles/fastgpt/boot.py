"""The start of FastGPT: lazy and racy that of 4.8.8 (docs/facts/fastgpt.md §1), eager that of the
current edition (docs/facts/fastgpt-current-measured.md §1)."""

import json
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Literal, TypeVar
from urllib.parse import urlsplit

import httpx

from rehearsal import inside
from rehearsal.doubles.fastgpt.accounts import Desk
from rehearsal.doubles.fastgpt.config import INSIDE, Config, Environment, read_config
from rehearsal.doubles.fastgpt.envelope import Problem, log
from rehearsal.doubles.fastgpt.index import TrainingQueue
from rehearsal.doubles.fastgpt.models import read_models
from rehearsal.doubles.fastgpt.parsing import ParsingQueue
from rehearsal.doubles.fastgpt.store import Store, hash_str, object_id
from rehearsal.doubles.fastgpt.upstream import Upstream

Edition = Literal["seeds", "current"]
_Done = TypeVar("_Done")
TRIES = 3  # before the current edition gives up what is away


class Service:
    """What the handlers share. Of 4.8.8 nothing is connected before the first API request."""

    mongo: Store
    config: Config

    def __init__(self, environment: Environment, edition: Edition = "seeds") -> None:
        self.environment, self.edition = environment, edition
        self.upstream = Upstream(environment.base_url, environment.chat_api_key, edition)
        self.queue = TrainingQueue(self) if edition == "seeds" else ParsingQueue(self)
        self.desk = Desk()
        self.generating: set[tuple[str, str]] = set()
        """App and chat of each answer that is being made, of the current edition."""
        self._asked = threading.Lock()
        self.ready = threading.Event()
        self._connected = threading.Event() if edition == "seeds" else self.ready

    def waits_for(self) -> threading.Event:
        """The first call begins the start-up and waits for its end, others (4.8.8) for MongoDB."""
        if not self._asked.acquire(blocking=False):
            return self._connected
        start = self._start_up if self.edition == "seeds" else self._start_eagerly
        threading.Thread(target=start, daemon=True).start()
        return self.ready

    @property
    def vectors(self) -> Store:
        """PostgreSQL; a Problem where it cannot be reached: one that runs has a name."""
        resolves(self.environment.pg_url)
        return self.mongo

    def _start_up(self) -> None:
        given = self.environment
        until_done("mongo", lambda: resolves(given.mongodb_uri))
        self.mongo = until_done("pg", lambda: Store(given.memory or given.pg_url))
        self._connected.set()
        try:
            self.config = read_config(inside.path(INSIDE))
        except Exception as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        # The real one prints these, the reranker's key and the password included (fastgpt.md §1).
        print("config:", json.dumps(self.config.models, ensure_ascii=False), flush=True)
        self._set_root()
        told = {"username": "root", "password": given.root_password}
        print("root user init:", told, flush=True)
        until_done("pg", lambda: resolves(given.pg_url))
        self.queue.start()
        self.ready.set()

    def _set_root(self) -> None:
        # Its password is overwritten on every start.
        (root, *_) = self.mongo.find("users") or [{"teamId": object_id(), "tmbId": object_id()}]
        stored = hash_str(hash_str(self.environment.root_password))
        self.mongo.put("users", {**root, "username": "root", "password": stored})

    def _start_eagerly(self) -> None:
        """All before the first answer; what is away ends it, but PostgreSQL is waited for."""
        given = self.environment
        try:
            if given.lacking:
                names = ", ".join(given.lacking)
                raise Problem(f"Invalid environment variables. Please check: {names}")
            until_done("[redis_error]", lambda: resolves(given.redis_url), TRIES)
            until_done("[s3_error]", lambda: resolves(given.s3_endpoint), TRIES)
            until_done("[mongo_error]", lambda: resolves(given.mongodb_uri), TRIES)
            until_done("pg", lambda: resolves(given.pg_url))
            self.mongo = until_done("pg", lambda: Store(given.memory or given.pg_url))
            until_done("[plugin_error]:", self.check_plugin, TRIES)
        except Problem as problem:
            print(problem, file=sys.stderr, flush=True)
            os._exit(1)
        self._set_root()
        read_models(self)
        self.queue.start()
        self.ready.set()

    def check_plugin(self) -> None:
        """Ask the plugin for its models, as at the start and at each write of ours. A Problem."""
        given = self.environment
        try:
            headers = {"authorization": f"Bearer {given.plugin_token}"}
            url = f"{given.plugin_url}/api/models"
            answer = httpx.get(url, headers=headers, timeout=10, trust_env=False)
        except httpx.HTTPError as error:
            raise Problem("fetch failed") from error
        if answer.is_error:
            raise Problem("Unauthorized")

    def check_pgvector(self) -> None:
        """Before 0.8 it knows no such setting, and each search is made twice (measured §2)."""
        if tuple(map(int, self.environment.pgvector.split("."))) < (0, 8):
            log('error: invalid configuration parameter name "hnsw.max_scan_tuples"')
            time.sleep(0.5)

    def check_redis(self) -> None:
        """Raises a Problem where sessions cannot be read."""
        try:
            resolves(self.environment.redis_url)
        except Problem:
            raise Problem("Redis operation hash.getAll failed") from None


def resolves(uri: str) -> None:
    """Raises a Problem where the host of an address has no name here: one that runs has."""
    try:
        inside.resolve(urlsplit(uri).hostname or "")
    except socket.gaierror as error:
        raise Problem(str(error)) from error


def until_done(name: str, step: Callable[[], _Done], tries: float = math.inf) -> _Done:
    """What comes of a step that is tried so often, or for ever (docs/facts/measured.md §1 F3)."""
    while True:
        try:
            return step()
        except Problem as problem:
            log(f"{name} connect error {problem}")
            if (tries := tries - 1) < 1:
                raise Problem(f"{name} {problem}") from None
            time.sleep(1)
