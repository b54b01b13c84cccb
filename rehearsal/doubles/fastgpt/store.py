"""What FastGPT keeps in MongoDB and PostgreSQL: documents, here in one SQLite file."""

import json
import secrets
import sqlite3
import threading
import time
from pathlib import Path

from rehearsal.doubles.fastgpt.envelope import Document, Json, known

_TABLE = """
CREATE TABLE IF NOT EXISTS kept (
    number INTEGER PRIMARY KEY, collection TEXT, key TEXT, value TEXT, UNIQUE (collection, key)
)
"""
_PUT = """
INSERT INTO kept (collection, key, value) VALUES (?, ?, ?)
ON CONFLICT (collection, key) DO UPDATE SET value = excluded.value
"""


def object_id() -> str:
    """A new MongoDB id: 24 hex digits."""
    return secrets.token_hex(12)


def now() -> str:
    """This moment as MongoDB's JSON has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".000Z"


class Store:
    """Documents by collection and `_id`, safe to share between threads and against a kill.

    A second process that opens the same file, as a replaced container does, finds everything.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = sqlite3.connect(file, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute(_TABLE)

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
        query = "SELECT value FROM kept WHERE collection = ? ORDER BY number"
        with self._lock:
            rows = self._file.execute(query, (collection,)).fetchall()
        documents: list[Document] = [json.loads(value) for (value,) in rows]
        return [each for each in documents if all(each.get(k) == v for k, v in equal.items())]

    def put(self, collection: str, document: Document) -> Document:
        """Keep `document`, under a new `_id` if it has none."""
        kept = {"_id": object_id(), **document}
        with self._lock, self._file:
            self._file.execute(_PUT, (collection, kept["_id"], json.dumps(kept)))
        return kept

    def delete(self, collection: str, **equal: Json) -> None:
        """Delete the documents whose fields equal those given."""
        gone = [(collection, document["_id"]) for document in self.find(collection, **equal)]
        with self._lock, self._file:
            self._file.executemany("DELETE FROM kept WHERE collection = ? AND key = ?", gone)
