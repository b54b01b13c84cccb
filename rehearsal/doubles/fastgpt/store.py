"""What FastGPT keeps: documents (MongoDB's, in a lab) and vectors (PostgreSQL's)."""

from __future__ import annotations

import secrets
from typing import Any

from rehearsal.doubles.fastgpt.envelope import Json, Problem, known
from rehearsal.doubles.fastgpt.memory import Memory

Document = dict[str, Any]


def object_id() -> str:
    """A new MongoDB id: 24 hex digits."""
    return secrets.token_hex(12)


def checked_id(value: Json, model: str) -> str:
    """`value`, if it can be a MongoDB id.

    Raises:
        Problem: Mongoose's cast error.
    """
    text = str(value or "")
    if len(text) != 24 or any(digit not in "0123456789abcdef" for digit in text):
        kind = "undefined" if value is None else type(value).__name__.replace("str", "string")
        raise Problem(
            f'Cast to ObjectId failed for value "{text}" (type {kind}) at path "_id" '
            f'for model "{model}"'
        )
    return text


def existing(database: Memory, table: str, id_: Json, missing: str) -> Document:
    """The document with that id; there is only one team, and all belongs to it.

    Raises:
        Problem: `missing`, or no id at all.
    """
    found = database.get(table, checked_id(id_, table)) if id_ else None
    if found is None:
        raise known(missing)
    return dict(found)


def find(database: Memory, table: str, **equal: Json) -> list[Document]:
    """The documents whose fields equal those given, oldest first."""
    return [
        document
        for document in database.list(table).values()
        if all(document.get(name) == value for name, value in equal.items())
    ]


def insert(database: Memory, table: str, document: Document) -> Document:
    """Keep `document`, under a new `_id` if it has none."""
    kept = {"_id": document.get("_id") or object_id(), **document}
    database.put(table, kept["_id"], kept)
    return kept


def put_all(table: str, documents: list[Document]) -> list[Document]:
    """The writes that `Memory.transaction` takes to keep `documents`."""
    return [
        {"op": "put", "collection": table, "key": document["_id"], "value": document}
        for document in documents
    ]


def delete_where(database: Memory, table: str, **equal: Json) -> None:
    """Delete the documents whose fields equal those given."""
    for document in find(database, table, **equal):
        database.delete(table, str(document["_id"]))
