"""What a rehearsed database keeps on its volume: a snapshot and a journal of the writes since.

A write is acknowledged only once the kernel has its journal line, so neither SIGTERM nor a kill
loses it; and a line that a kill cut in two was never acknowledged, so it is dropped.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path
from typing import Any, TypedDict

SNAPSHOT = "rehearsal.json"
JOURNAL = "rehearsal.journal"


class Write(TypedDict, total=False):
    """One change: where, and the new value; `gone` removes the key."""

    database: str
    collection: str
    key: str
    value: Any
    gone: bool


class Store:
    """The databases of one data directory: database → collection → key → JSON value."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._data: dict[str, dict[str, dict[str, Any]]] = {}
        self._load()
        self._compact()
        self._journal = (directory / JOURNAL).open("ab", buffering=0)

    def databases(self) -> list[str]:
        """The names of all databases."""
        return list(self._data)

    def collection(self, database: str, collection: str) -> dict[str, Any]:
        """A collection's keys and values; empty when nothing was ever written."""
        return self._data.get(database, {}).get(collection, {})

    def write(self, writes: list[Write]) -> None:
        """Apply all of `writes`, or, after a kill meanwhile, none."""
        line = json.dumps(writes, separators=(",", ":")).encode() + b"\n"
        self._journal.write(line)
        for write in writes:
            self._apply(write)

    def _load(self) -> None:
        snapshot = self._directory / SNAPSHOT
        if snapshot.exists():
            self._data = json.loads(snapshot.read_bytes())
        journal = self._directory / JOURNAL
        lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
        for line in lines:
            for write in json.loads(line) if line.endswith(b"\n") else []:
                self._apply(write)

    def _compact(self) -> None:
        fresh = self._directory / (SNAPSHOT + ".new")
        with fresh.open("wb") as file:
            file.write(json.dumps(self._data).encode())
        fresh.replace(self._directory / SNAPSHOT)
        (self._directory / JOURNAL).unlink(missing_ok=True)

    def _apply(self, write: Write) -> None:
        collection = self._data.setdefault(write["database"], {}).setdefault(
            write["collection"], {}
        )
        if write.get("gone"):
            collection.pop(write["key"], None)
        else:
            collection[write["key"]] = write["value"]


def hashed(password: str) -> str:
    """What the data directory keeps of a password."""
    salt = secrets.token_hex(8)
    return f"{salt}${_digest(salt, password)}"


def matches(password: str, kept: str) -> bool:
    """Whether `password` is the one that `hashed` kept."""
    salt, _, digest = kept.partition("$")
    return secrets.compare_digest(_digest(salt, password), digest)


def _digest(salt: str, password: str) -> str:
    return hashlib.sha256((salt + password).encode()).hexdigest()
