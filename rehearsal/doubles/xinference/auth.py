"""The login of 3.0 and later: on unless XINFERENCE_AUTH_ADVANCED says 0, false or no."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from rehearsal.doubles.xinference.release import Release
from rehearsal.doubles.xinference.supervisor import ServiceError

OPEN_PATHS = ("/status", "/v1/cluster/auth", "/v1/admin/setup", "/v1/admin/setup/status", "/token")


class Auth:
    """Users and keys of one server, kept on its volume; the set-up token is in the log only."""

    def __init__(self, release: Release, home: Path) -> None:
        switch = os.environ.get("XINFERENCE_AUTH_ADVANCED", "true").lower()
        self.on = release.auth_by_default and switch not in ("0", "false", "no")
        self._file = home / "auth" / "auth.json"
        self._sessions: set[str] = set()
        self._setup_token = secrets.token_urlsafe(24)
        if self.on and not self._users():
            print(f"Xinference setup token: {self._setup_token}", file=sys.stderr, flush=True)

    def check(self, path: str, authorization: str) -> None:
        """Raise 401 for a call without a valid session or key."""
        if not self.on or path in OPEN_PATHS:
            return
        token = authorization.removeprefix("Bearer ")
        if token not in self._sessions and _digest(token) not in self._kept().get("keys", []):
            raise ServiceError(401, "Could not validate credentials")

    def setup_status(self) -> dict[str, Any]:
        """`GET /v1/admin/setup/status`."""
        done = bool(self._users())
        return {"needs_setup": not done, "initialized": done, "password_min_length": 8}

    def setup(self, body: dict[str, Any]) -> dict[str, Any]:
        """`POST /v1/admin/setup`: once."""
        given = str(body.get("setup_token", ""))
        if self._users() or not secrets.compare_digest(given, self._setup_token):
            raise ServiceError(403, "Setup is not available")
        if len(str(body.get("password", ""))) < 8:
            raise ServiceError(422, "Password must be at least 8 characters")
        user = str(body["username"])
        self._keep({"users": {user: _digest(user + str(body["password"]))}, "keys": []})
        return {"username": user}

    def token(self, body: dict[str, Any]) -> dict[str, Any]:
        """`POST /token`: a session."""
        user = str(body.get("username", ""))
        if self._users().get(user) != _digest(user + str(body.get("password", ""))):
            raise ServiceError(401, "Incorrect username or password")
        made = secrets.token_urlsafe(32)
        self._sessions.add(made)
        return {"access_token": made, "refresh_token": made, "token_type": "bearer"}

    def key(self) -> dict[str, Any]:
        """`POST /v1/admin/keys`: shown once."""
        kept = self._kept()
        made = f"xf-{secrets.token_urlsafe(32)}"
        self._keep({**kept, "keys": [*kept.get("keys", []), _digest(made)]})
        return {"id": len(kept.get("keys", [])) + 1, "key": made}

    def _users(self) -> dict[str, str]:
        return dict(self._kept().get("users", {}))

    def _kept(self) -> dict[str, Any]:
        return dict(json.loads(self._file.read_text())) if self._file.exists() else {}

    def _keep(self, kept: dict[str, Any]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(kept))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
