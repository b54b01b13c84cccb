"""Boot in OneAPI's order: database, root user, options, channel map, vocabulary, HTTP.

docs/facts/oneapi.md §2. Exit codes: 1 for `[FATAL]`, 2 for the nil-map panic.
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import uvicorn

from rehearsal import inside
from rehearsal.doubles.oneapi.app import application
from rehearsal.doubles.oneapi.environment import Environment
from rehearsal.doubles.oneapi.gateway import Gateway, log
from rehearsal.doubles.oneapi.options import Options
from rehearsal.doubles.oneapi.routing import NilMapError, Router, die_of_nil_map
from rehearsal.doubles.oneapi.rows import NEVER, QUOTA_OF_ROOT, ROOT, Token, User
from rehearsal.doubles.oneapi.store import StoreError, open_store
from rehearsal.doubles.oneapi.tables import TableError, Tables
from rehearsal.doubles.oneapi.upstream import read, send
from rehearsal.doubles.oneapi.vendors import VendorError

VOCABULARY_URL = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
VOCABULARY_NAME = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
"""sha1 of the URL."""


class FatalError(Exception):
    """Boot cannot go on."""


def boot(given: Mapping[str, str]) -> Gateway:
    """Everything before listening.

    Raises:
        FatalError: no database, or no vocabulary; by then root exists.
        NilMapError: the memory cache is on and a channel's group is in no ability.
    """
    environment = Environment.read(given)
    log("One API v0.6.6 started")
    tables = _tables(environment)
    _create_root(tables, environment.initial_root_token)
    options = Options(tables)
    router = Router(tables, environment.memory_cache, environment.sync_seconds)
    log("initializing token encoders")
    _load_vocabulary(environment.vocabulary)
    log("token encoders initialized")
    return Gateway(environment, tables, options, router)


def main() -> None:
    """Run until the container ends."""
    inside.enter()
    try:
        gateway = boot(os.environ)
    except FatalError as error:
        print(f"[FATAL] {time.strftime('%Y/%m/%d - %H:%M:%S')} | {error} ", file=sys.stderr)
        sys.exit(1)
    except NilMapError:
        die_of_nil_map()
        return
    port = gateway.environment.port
    log(f"server started on http://localhost:{port}")
    uvicorn.run(
        application(gateway),
        host=inside.address(),
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
    )


def _tables(environment: Environment) -> Tables:
    kind = "using MySQL as database" if environment.dsn else "SQL_DSN not set, using SQLite"
    log(kind)
    try:
        return Tables(open_store(environment.dsn, environment.sqlite))
    except StoreError as error:
        raise FatalError(error) from error


def _create_root(tables: Tables, initial_token: str) -> None:
    """Only in an empty users table; a token that the table refuses is silently not there."""
    if tables.users():
        return
    log("no user exists, creating a root user for you: username is root, password is 123456")
    root = tables.add_user(
        User(
            username="root",
            display_name="Root User",
            role=ROOT,
            access_token=secrets.token_hex(16),
            quota=QUOTA_OF_ROOT,
        ),
        "123456",
    )
    if not initial_token:
        return
    log("creating initial root token as requested")
    now = int(time.time())
    token = Token(
        id=1,
        user_id=root.id,
        key=initial_token,
        name="Initial Root Token",
        created_time=now,
        accessed_time=now,
        expired_time=NEVER,
        remain_quota=QUOTA_OF_ROOT,
        unlimited_quota=True,
    )
    try:
        tables.add_token(token)
    except TableError as error:
        log(str(error), "ERR")


def _load_vocabulary(folder: Path) -> None:
    place = folder / VOCABULARY_NAME
    try:
        if not place.exists():
            _download(place)
        for line in place.read_bytes().splitlines():
            token, rank = line.split(b" ")
            base64.b64decode(token, validate=True)
            int(rank)
    except (OSError, ValueError, VendorError) as error:
        raise FatalError(f"failed to get gpt-3.5-turbo token encoder: {error}") from error


def _download(place: Path) -> None:
    """Whatever is answered is kept: the status is never looked at."""
    if not os.environ.get("REHEARSAL_HOSTS"):
        raise VendorError(f'Get "{VOCABULARY_URL}": dial tcp: no such host')
    text = read(send("GET", VOCABULARY_URL, {}, b""))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text)


if __name__ == "__main__":
    main()
