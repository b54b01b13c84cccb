"""Where OneAPI keeps its rows: the rehearsed MySQL, or a SQLite file when there is no `SQL_DSN`."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rehearsal.doubles.database_client import Database, DatabaseError
from rehearsal.doubles.oneapi.go_json import Json

_DSN = re.compile(
    r"(?P<user>[^:]*)(?::(?P<password>.*))?@(?:(?P<net>\w+)(?:\((?P<address>[^)]*)\))?)?"
    r"/(?P<database>[^/?]*)(?:\?.*)?",
    re.S,
)
_SQLSTATE = {1044: "42000", 1045: "28000", 1049: "42000"}


class StoreError(Exception):
    """The database is away, or refused; the text is the one that Go's driver gives."""


class Store(Protocol):
    """Rows by collection and key."""

    mysql: bool
    """MySQL's rules hold: column widths, and comparison without case."""

    def get(self, collection: str, key: str) -> Json:
        """The row, or None."""

    def put(self, collection: str, key: str, value: Json) -> None:
        """Write the row."""

    def delete(self, collection: str, key: str) -> None:
        """Remove the row if it is there."""

    def list(self, collection: str) -> dict[str, Any]:
        """All rows by key."""


def open_store(dsn: str, sqlite: Path) -> Store:
    """The store that `SQL_DSN` names, logged in.

    Raises:
        StoreError: a malformed DSN, nothing listens, a wrong password, an unknown database.
    """
    if dsn.startswith("postgres://"):
        raise StoreError("PostgreSQL is not rehearsed; use MySQL or SQLite")
    return MysqlStore(dsn) if dsn else SqliteStore(sqlite)


class SqliteStore:
    """One table of JSON values in one file."""

    mysql = False

    def __init__(self, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = sqlite3.connect(place, check_same_thread=False)
        with self._file:
            self._file.execute(
                "create table if not exists rows "
                "(collection text, key text, value text, primary key (collection, key))"
            )

    def get(self, collection: str, key: str) -> Json:
        """See `Store.get`."""
        with self._lock:
            found = self._file.execute(
                "select value from rows where collection = ? and key = ?", (collection, key)
            ).fetchone()
        return json.loads(found[0]) if found else None

    def put(self, collection: str, key: str, value: Json) -> None:
        """See `Store.put`."""
        with self._lock, self._file:
            self._file.execute(
                "insert or replace into rows values (?, ?, ?)", (collection, key, json.dumps(value))
            )

    def delete(self, collection: str, key: str) -> None:
        """See `Store.delete`."""
        with self._lock, self._file:
            self._file.execute(
                "delete from rows where collection = ? and key = ?", (collection, key)
            )

    def list(self, collection: str) -> dict[str, Any]:
        """See `Store.list`."""
        with self._lock:
            found = self._file.execute(
                "select key, value from rows where collection = ?", (collection,)
            ).fetchall()
        return {key: json.loads(value) for key, value in found}


class MysqlStore:
    """A database of the rehearsed MySQL."""

    mysql = True

    def __init__(self, dsn: str) -> None:
        self._database = _database(dsn)
        with _go_errors():
            self._database.connect()

    def get(self, collection: str, key: str) -> Json:
        """See `Store.get`."""
        with _go_errors():
            return self._database.get(collection, key)

    def put(self, collection: str, key: str, value: Json) -> None:
        """See `Store.put`."""
        with _go_errors():
            self._database.put(collection, key, value)

    def delete(self, collection: str, key: str) -> None:
        """See `Store.delete`."""
        with _go_errors():
            self._database.delete(collection, key)

    def list(self, collection: str) -> dict[str, Any]:
        """See `Store.list`."""
        with _go_errors():
            return self._database.list(collection)


def _database(dsn: str) -> Database:
    parts = _DSN.fullmatch(dsn)
    if parts is None:
        raise StoreError("invalid DSN: missing the slash separating the database name")
    host, _, port = (parts["address"] or "127.0.0.1:3306").partition(":")
    return Database(
        "mysql", host, int(port or 3306), parts["user"], parts["password"] or "", parts["database"]
    )


@contextmanager
def _go_errors() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        if isinstance(error.code, int):
            state = _SQLSTATE.get(error.code, "HY000")
            raise StoreError(f"Error {error.code} ({state}): {error}") from error
        raise StoreError(str(error)) from error
