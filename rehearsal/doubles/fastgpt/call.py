"""A request as the handlers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Upload:
    """An uploaded file, its name as multer hands it on."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Call:
    """Query, JSON body (or a form's fields), headers and cookies of one request."""

    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    upload: Upload | None = None
    address: str = ""
