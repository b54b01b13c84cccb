"""A request as the handlers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class NotConnected(Exception):
    """The request needs PostgreSQL, which the start-up has not reached yet."""


class Unanswered(Exception):
    """FastGPT never answers this request; the connection stays open."""


@dataclass(frozen=True)
class Upload:
    """An uploaded file, its name as multer hands it on, and its media type."""

    name: str
    content: bytes
    kind: str


@dataclass(frozen=True)
class Call:
    """Query, JSON body (or a form's fields), headers and cookies of one request."""

    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    upload: Upload | None = None
