"""The environment variables of docs/facts/oneapi.md §1, read once at boot."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal import inside

DEFAULT_SYNC_SECONDS = 600


@dataclass(frozen=True)
class Environment:
    """What OneAPI was told. Secrets are kept out of `repr`.

    Attributes:
        dsn: go-sql-driver form `user:password@tcp(host:3306)/database`; empty means SQLite.
        vocabulary: the folder that must hold the token vocabulary.
        sync_seconds: how often the channel map is rebuilt when `memory_cache` is on.
    """

    dsn: str = field(repr=False)
    session_secret: str = field(repr=False)
    initial_root_token: str = field(repr=False)
    memory_cache: bool
    sync_seconds: int
    api_limit: int
    web_limit: int
    relay_timeout: float | None
    vocabulary: Path
    sqlite: Path
    port: int

    @classmethod
    def read(cls, given: Mapping[str, str]) -> Environment:
        """The settings in `given`; what is missing or malformed gets OneAPI's default."""
        secret = given.get("SESSION_SECRET", "")
        if secret in ("", "random_string"):
            secret = secrets.token_hex(16)
        return cls(
            dsn=given.get("SQL_DSN", ""),
            session_secret=secret,
            initial_root_token=given.get("INITIAL_ROOT_TOKEN", ""),
            memory_cache=given.get("MEMORY_CACHE_ENABLED", "").lower() == "true",
            sync_seconds=_integer(given, "SYNC_FREQUENCY", DEFAULT_SYNC_SECONDS),
            api_limit=_integer(given, "GLOBAL_API_RATE_LIMIT", 180),
            web_limit=_integer(given, "GLOBAL_WEB_RATE_LIMIT", 60),
            relay_timeout=_integer(given, "RELAY_TIMEOUT", 0) or None,
            vocabulary=_vocabulary(given),
            sqlite=_place(given.get("SQLITE_PATH") or "one-api.db"),
            port=_integer(given, "PORT", 3000),
        )


def _integer(given: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(given.get(name) or default)
    except ValueError:
        return default


def _vocabulary(given: Mapping[str, str]) -> Path:
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if given.get(name):
            return _place(given[name])
    return _place((given.get("TMPDIR") or "/tmp") + "/data-gym-cache")


def _place(path: str) -> Path:
    """A relative path is taken from the image's working directory, `/data`."""
    return inside.path(path if path.startswith("/") else f"/data/{path}")
