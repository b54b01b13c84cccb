"""A call, and its answer: a known business error is an HTTP 200 with its code in the body."""

import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service
    from rehearsal.doubles.fastgpt.store import Store

Json: TypeAlias = Any
"""Whatever a client sent or a file held."""
Document: TypeAlias = dict[str, Any]
SHAPES: Document = json.loads(Path(__file__).with_name("shapes.json").read_text(encoding="utf-8"))
"""What the real one fills in or says in so many words, as recorded."""
CURRENT: Document = json.loads(Path(__file__).with_name("current.json").read_text(encoding="utf-8"))
"""The same of the current edition."""


class Problem(Exception):
    """An error as FastGPT sends it; a known one has a `status_text`."""

    def __init__(self, message: str, code: int = 500, status_text: str = "") -> None:
        super().__init__(message)
        self.message, self.status_text = message, status_text
        told = {"code": code, "statusText": status_text, "message": message}
        self.body: Document = {**told, "data": None}
        self.is_final = False
        self.upstream_status = 0


def picked(row: Mapping[str, Any], *names: str) -> Document:
    """Those of its fields that it has."""
    return {name: row[name] for name in names if name in row}


def named(name: str) -> Problem:
    """The business error `name`; a text that names none is an HTTP 500."""
    code, message = SHAPES["errors"].get(name, (500, name))
    return Problem(message, code, name if name in SHAPES["errors"] else "")


def crash(error: Exception) -> Problem:
    """What a caller is told; of a shape that nobody checked, the log has where it hurt."""
    if isinstance(error, Problem):
        return error
    traceback.print_exception(error)
    return Problem(f"{type(error).__name__}: {error}")


def log(text: str) -> None:
    """An error in the log, as FastGPT writes it (docs/facts/measured.md §1 F9)."""
    print(f"[Error] {time.strftime('%Y-%m-%d %H:%M:%S')} {text} ", flush=True)


class Answer(JSONResponse):
    media_type = "application/json; charset=utf-8"


def done(data: Json = None) -> Answer:
    return Answer({"code": 200, "statusText": "", "message": "", "data": data})


@dataclass(frozen=True)
class Call:
    """One request; `file` is a name as multer hands it on, a content and a media type."""

    service: "Service"
    query: Mapping[str, str]
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    file: tuple[str, bytes, str] | None = None
    path: str = ""

    @property
    def mongo(self) -> "Store":
        return self.service.mongo

    @property
    def owner(self) -> dict[str, str]:
        """Whose all is: there is one team, and root alone in it."""
        (root,) = self.mongo.find("users")
        return {"teamId": root["teamId"], "tmbId": root["tmbId"]}
