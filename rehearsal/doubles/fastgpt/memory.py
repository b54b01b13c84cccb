"""FastGPT's own memory: what the real one has in MongoDB and PostgreSQL, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Rows = list[tuple[str, ...]]
_TABLE = """
CREATE TABLE IF NOT EXISTS kept (
    number INTEGER PRIMARY KEY, collection TEXT, key TEXT, value TEXT, UNIQUE (collection, key)
)
"""
_PUT = """
INSERT INTO kept (collection, key, value) VALUES (?, ?, ?)
ON CONFLICT (collection, key) DO UPDATE SET value = excluded.value
"""
_DELETE = "DELETE FROM kept WHERE collection = ? AND key = ?"


class Memory:
    """JSON values by collection and key, safe to share between threads and against a kill.

    A second process that opens the same file, as a replaced container does, finds everything.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = sqlite3.connect(file, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute(_TABLE)

    def get(self, collection: str, key: str) -> Any:  # noqa: ANN401 - whatever was put
        """The value at `key`, or None."""
        found = self._rows(
            "SELECT value FROM kept WHERE collection = ? AND key = ?", collection, key
        )
        return json.loads(found[0][0]) if found else None

    def list(self, collection: str) -> dict[str, Any]:
        """All of a collection, key to value, in the order of their first writing."""
        found = self._rows(
            "SELECT key, value FROM kept WHERE collection = ? ORDER BY number", collection
        )
        return {key: json.loads(value) for key, value in found}

    def put(self, collection: str, key: str, value: Any) -> None:  # noqa: ANN401 - any JSON
        """Write a JSON value."""
        self.transaction([{"op": "put", "collection": collection, "key": key, "value": value}])

    def delete(self, collection: str, key: str) -> bool:
        """Remove `key`; whether it was there."""
        with self._lock, self._file:
            return self._file.execute(_DELETE, (collection, key)).rowcount > 0

    def transaction(self, writes: Sequence[dict[str, Any]]) -> None:
        """All `writes` or none: `{"op": "put" or "delete", "collection", "key", "value"?}`."""
        with self._lock, self._file:
            for write in writes:
                place = (write["collection"], write["key"])
                if write["op"] == "put":
                    self._file.execute(_PUT, (*place, json.dumps(write["value"])))
                else:
                    self._file.execute(_DELETE, place)

    def _rows(self, query: str, *values: str) -> Rows:
        with self._lock:
            return self._file.execute(query, values).fetchall()
