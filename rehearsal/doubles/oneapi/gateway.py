"""One running OneAPI: its settings, tables, options, routes to channels, and its limits."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from rehearsal.doubles.oneapi.environment import Environment
from rehearsal.doubles.oneapi.go_json import Json
from rehearsal.doubles.oneapi.limits import Limiter
from rehearsal.doubles.oneapi.options import Options
from rehearsal.doubles.oneapi.routing import Router
from rehearsal.doubles.oneapi.rows import User
from rehearsal.doubles.oneapi.tables import Tables

VERSION = "v0.6.6"
REQUEST_ID = "X-Oneapi-Request-Id"
SESSION_SECONDS = 30 * 24 * 3600


@dataclass
class Gateway:
    """What every handler works on."""

    environment: Environment
    tables: Tables
    options: Options
    router: Router
    limiter: Limiter = field(default_factory=Limiter)
    started: int = field(default_factory=lambda: int(time.time()))

    def session_cookie(self, user: User) -> str:
        """A signed cookie: it outlives everything but another SESSION_SECRET."""
        claims = {
            "id": user.id,
            "username": user.username,
            "role": user.role,
            "status": user.status,
            "until": int(time.time()) + SESSION_SECONDS,
        }
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return f"{body}.{self._sign(body)}"

    def session(self, cookie: str | None) -> dict[str, Any] | None:
        """What a cookie says, or None when it is not ours or too old."""
        body, _, signature = (cookie or "").partition(".")
        if not hmac.compare_digest(self._sign(body), signature):
            return None
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=="))
        return claims if claims["until"] > time.time() else None

    def _sign(self, body: str) -> str:
        secret = self.environment.session_secret.encode()
        return hmac.new(secret, body.encode(), hashlib.sha256).hexdigest()


@dataclass
class Call:
    """One request, its body read.

    Attributes:
        target: path and query as they came.
        parts: what the route's placeholders matched.
        user_id: of the caller, once a guard has let it in.
    """

    method: str
    path: str
    target: str
    query: dict[str, str]
    headers: dict[str, str]
    cookies: dict[str, str]
    body: bytes
    client: str
    parts: dict[str, str] = field(default_factory=dict)
    user_id: int = 0
    role: int = 0
    request_id: str = field(default_factory=lambda: new_request_id())

    @property
    def is_json(self) -> bool:
        """Whether OneAPI would look into the body at all."""
        return self.headers.get("content-type", "").startswith("application/json")


class JsonAnswer(Response):
    """JSON as Go's gin writes it: compact, UTF-8 in clear."""

    media_type = "application/json"

    def __init__(self, content: Json, status_code: int = 200) -> None:
        super().__init__(content, status_code)
        self.headers["content-type"] = "application/json; charset=utf-8"

    def render(self, content: Json) -> bytes:
        """The bytes of `content`."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def done(*data: Json) -> JsonAnswer:
    """Management success, with `data` if given."""
    answer: dict[str, Any] = {"message": "", "success": True}
    return JsonAnswer({"data": data[0], **answer} if data else answer)


def refused(message: str, status: int = 200) -> JsonAnswer:
    """Management failure: HTTP 200 all the same, but for a few."""
    return JsonAnswer({"message": message, "success": False}, status)


def new_request_id() -> str:
    """Time and eight digits."""
    now = time.time()
    stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(now))
    return f"{stamp}{int(now % 1 * 1e9):09d}{random.randrange(10**8):08d}"


def log(text: str, level: str = "SYS") -> None:
    """One line of OneAPI's log."""
    print(f"[{level}] {time.strftime('%Y/%m/%d - %H:%M:%S')} | {text} ", flush=True)
