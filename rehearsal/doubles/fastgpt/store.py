"""What FastGPT keeps in MongoDB and PostgreSQL: in one file, on a real server in PostgreSQL."""

import hashlib
import json
import secrets
import sqlite3
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rehearsal.doubles.fastgpt.envelope import Document, Json, Problem, named

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
_PARTS = {
    "datasets": ("datasetId", "modeldata", "trainings", "dataset_datas", "dataset_collections"),
    "dataset_collections": ("collectionId", "modeldata", "trainings", "dataset_datas"),
    "apps": ("appId", "chatitems", "outlinks", "app_versions"),
}
"""What names a document in its parts, and where they are."""
_DELETE = "DELETE FROM kept WHERE collection = ? AND key = ?"


def object_id() -> str:
    return secrets.token_hex(12)


def hash_str(text: str) -> str:
    """What is stored of a password that the browser has hashed once already."""
    return hashlib.sha256(text.encode()).hexdigest()


def now() -> str:
    moment = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


def age(moment: str) -> float:
    """How many seconds ago a moment of `now` was."""
    then = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return (datetime.now(timezone.utc) - then).total_seconds()


class _File:
    def __init__(self, place: str) -> None:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(place, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode = WAL")  # so that a kill loses nothing
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
    """Documents by collection and `_id`, for all threads; a replaced container finds them again."""

    def __init__(self, place: str) -> None:
        """`place`: a file, or the address of a PostgreSQL. A Problem where that is away."""
        self._lock = threading.Lock()
        self._kept = _Postgres(place) if place.startswith("postgresql:") else _File(place)
        self._setting = threading.Lock()

    def _rows(self, query: str, *values: str | None) -> list[tuple[str, ...]]:
        with self._lock:
            return self._kept.rows(query, *values)

    def get(self, collection: str, id_: Json) -> Document | None:
        return next(iter(self.find(collection, _id=id_)), None)

    def existing(self, collection: str, id_: Json, missing: str) -> Document:
        if found := self.get(collection, id_):
            return found
        raise named(missing)

    def find(self, collection: str, **equal: Json) -> list[Document]:
        """The documents whose fields equal those given, oldest first."""
        found: list[Document] = []
        for value, vector in self._rows(_FIND, collection):
            document = json.loads(value) | ({"vector": json.loads(vector)} if vector else {})
            if all(document.get(name) == wanted for name, wanted in equal.items()):
                found.append(document)
        return found

    def put(self, collection: str, document: Document) -> Document:
        """Keep `document`, under a new `_id` if it has none."""
        kept = {"_id": object_id(), **document}
        plain = {name: value for name, value in kept.items() if name != "vector"}
        vector = json.dumps(kept["vector"]) if "vector" in kept else None
        self._rows(_PUT, collection, kept["_id"], json.dumps(plain), vector)
        return kept

    def set(self, collection: str, id_: str, **fields: Json) -> None:
        """Change these fields of a document, if it is there, whoever changes others meanwhile."""
        with self._setting:
            if found := self.get(collection, id_):
                self.put(collection, {**found, **fields})

    def delete(self, collection: str, **equal: Json) -> None:
        for document in self.find(collection, **equal):
            self._rows(_DELETE, collection, document["_id"])

    def delete_whole(self, collection: str, id_: str) -> None:
        """Delete a document with its parts."""
        name, *parts = _PARTS[collection]
        for part in parts:
            self.delete(part, **{name: id_})
        self.delete(collection, _id=id_)
