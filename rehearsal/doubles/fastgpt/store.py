"""What FastGPT keeps in MongoDB and PostgreSQL: in one file, on a real server in PostgreSQL."""

import json
import secrets
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from rehearsal.doubles.fastgpt.envelope import Document, Json, Problem, known

_TABLE = """
CREATE TABLE IF NOT EXISTS kept (
    number {number}, collection TEXT, key TEXT, value TEXT, vector {vector},
    UNIQUE (collection, key)
)
"""
_PUT = """
INSERT INTO kept (collection, key, value, vector) VALUES (?, ?, ?, ?)
ON CONFLICT (collection, key) DO UPDATE SET value = excluded.value, vector = excluded.vector
"""
_FIND = "SELECT value, vector FROM kept WHERE collection = ? ORDER BY number"


def object_id() -> str:
    """A new MongoDB id: 24 hex digits."""
    return secrets.token_hex(12)


def now() -> str:
    """This moment as MongoDB's JSON has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".000Z"


class _File:
    """SQLite, against a kill as well."""

    def __init__(self, place: str) -> None:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(place, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute(_TABLE.format(number="INTEGER PRIMARY KEY", vector="TEXT"))

    def rows(self, query: str, *values: str | None) -> list[tuple[str, ...]]:
        with self._file:
            return self._file.execute(query, values).fetchall()


class _Postgres:
    """PostgreSQL with pgvector, which a real server has; dialled anew where it was away."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._connection: Any = None
        self.rows("CREATE EXTENSION IF NOT EXISTS vector")
        self.rows(_TABLE.format(number="BIGSERIAL PRIMARY KEY", vector="vector(1536)"))

    def rows(self, query: str, *values: str | None) -> list[tuple[str, ...]]:
        import psycopg2  # type: ignore[import-untyped] # in a real server's image only

        try:
            self._connection = self._connection or psycopg2.connect(self._place, connect_timeout=5)
            with self._connection, self._connection.cursor() as cursor:
                cursor.execute(query.replace("?", "%s"), values)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.Error as error:
            self._connection = None
            raise Problem(str(error).strip()) from error


class Store:
    """Documents by collection and `_id`, safe to share between threads.

    A second process that opens the same place, as a replaced container does, finds everything.
    """

    def __init__(self, place: str) -> None:
        """`place`: a file, or the address of a PostgreSQL. A Problem where that is away."""
        self._lock = threading.Lock()
        self._kept = _Postgres(place) if place.startswith("postgresql:") else _File(place)

    def get(self, collection: str, id_: Json) -> Document | None:
        """The document with that id."""
        return next(iter(self.find(collection, _id=id_)), None)

    def existing(self, collection: str, id_: Json, missing: str) -> Document:
        """The document with that id, or the Problem `missing`."""
        found = self.get(collection, id_)
        if found is None:
            raise known(missing)
        return found

    def find(self, collection: str, **equal: Json) -> list[Document]:
        """The documents whose fields equal those given, oldest first."""
        with self._lock:
            rows = self._kept.rows(_FIND, collection)
        documents: list[Document] = [
            {**json.loads(value), **({"vector": json.loads(vector)} if vector else {})}
            for value, vector in rows
        ]
        return [each for each in documents if all(each.get(k) == v for k, v in equal.items())]

    def put(self, collection: str, document: Document) -> Document:
        """Keep `document`, under a new `_id` if it has none."""
        kept = {"_id": object_id(), **document}
        plain = {name: value for name, value in kept.items() if name != "vector"}
        vector = json.dumps(kept["vector"]) if "vector" in kept else None
        with self._lock:
            self._kept.rows(_PUT, collection, kept["_id"], json.dumps(plain), vector)
        return kept

    def delete(self, collection: str, **equal: Json) -> None:
        """Delete the documents whose fields equal those given."""
        for document in self.find(collection, **equal):
            with self._lock:
                query = "DELETE FROM kept WHERE collection = ? AND key = ?"
                self._kept.rows(query, collection, document["_id"])
