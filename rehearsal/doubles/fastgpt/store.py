"""What FastGPT keeps in MongoDB and PostgreSQL: documents, here in one SQLite file."""

import json
import secrets
import sqlite3
import threading
from pathlib import Path
from typing import Any

from rehearsal.doubles.fastgpt.envelope import Json, Problem, known

Document = dict[str, Any]
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

    def get(self, collection: str, id_: str) -> Any:  # noqa: ANN401 - whatever was put
        """The document with that id, or None."""
        found = self._rows(
            "SELECT value FROM kept WHERE collection = ? AND key = ?", collection, id_
        )
        return json.loads(found[0][0]) if found else None

    def existing(self, collection: str, id_: Json, missing: str) -> Document:
        """The document with that id; there is only one team, and all belongs to it.

        Raises:
            Problem: `missing`, or Mongoose's cast error for what can be no id.
        """
        if not id_:
            raise known(missing)
        text = str(id_)
        if len(text) != 24 or any(digit not in "0123456789abcdef" for digit in text):
            kind = type(id_).__name__.replace("str", "string")
            raise Problem(
                f'Cast to ObjectId failed for value "{text}" (type {kind}) at path "_id" '
                f'for model "{collection}"'
            )
        found = self.get(collection, text)
        if found is None:
            raise known(missing)
        return dict(found)

    def find(self, collection: str, **equal: Json) -> list[Document]:
        """The documents whose fields equal those given, oldest first."""
        query = "SELECT value FROM kept WHERE collection = ? ORDER BY number"
        documents = [json.loads(value) for (value,) in self._rows(query, collection)]
        return [
            document
            for document in documents
            if all(document.get(name) == value for name, value in equal.items())
        ]

    def put(self, collection: str, document: Document) -> Document:
        """Keep `document`, under a new `_id` if it has none."""
        kept = {"_id": document.get("_id") or object_id(), **document}
        with self._lock, self._file:
            self._file.execute(_PUT, (collection, kept["_id"], json.dumps(kept)))
        return kept

    def delete(self, collection: str, **equal: Json) -> None:
        """Delete the documents whose fields equal those given."""
        gone = [(collection, document["_id"]) for document in self.find(collection, **equal)]
        with self._lock, self._file:
            self._file.executemany("DELETE FROM kept WHERE collection = ? AND key = ?", gone)

    def _rows(self, query: str, *values: str) -> list[tuple[str, ...]]:
        with self._lock:
            return self._file.execute(query, values).fetchall()
