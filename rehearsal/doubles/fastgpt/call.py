"""A request as the handlers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rehearsal.doubles.fastgpt.store import Store

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service


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
class Identity:
    """A caller: whose data it may touch, and for an app key which app it may chat with."""

    team_id: str = ""
    tmb_id: str = ""
    app_id: str | None = None

    @property
    def owner(self) -> dict[str, str]:
        """How a document says whose it is."""
        return {"teamId": self.team_id, "tmbId": self.tmb_id}


@dataclass(frozen=True)
class Call:
    """Query, JSON body (or a form's fields), headers and cookies of one request, and its caller."""

    service: Service
    query: Mapping[str, str]
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    upload: Upload | None = None
    caller: Identity = field(default_factory=Identity)

    @property
    def mongo(self) -> Store:
        """MongoDB, connected."""
        return self.service.mongo
