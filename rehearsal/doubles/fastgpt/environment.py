"""The container's environment (docs/facts/fastgpt.md §1)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class DatabaseUri:
    """A parsed MONGODB_URI or PG_URL."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str

    @classmethod
    def parse(cls, uri: str, port: int) -> DatabaseUri:
        """Read `scheme://user:password@host[:port]/database[?...]`.

        Raises:
            ValueError: `uri` names no host.
        """
        parts = urlsplit(uri)
        if not parts.hostname:
            raise ValueError("the database URI names no host")
        return cls(
            host=parts.hostname,
            port=parts.port or port,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=parts.path.lstrip("/"),
        )


@dataclass(frozen=True)
class Environment:
    """What FastGPT reads from its environment, with the real defaults."""

    base_url: str
    chat_api_key: str = field(repr=False)
    token_key: str = field(repr=False)
    file_token_key: str = field(repr=False)
    root_key: str = field(repr=False)
    root_password: str = field(repr=False)
    mongodb_uri: str = field(repr=False)
    pg_url: str = field(repr=False)
    port: int
    hostname: str
    retry_seconds: float
    memory: str
    """A file of this machine that stands for both databases; empty: they are asked."""

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> Environment:
        """Take what is set.

        `ONEAPI_URL` wins over `OPENAI_BASE_URL`. `REHEARSAL_RETRY_SECONDS` stands for the minute
        that a failed chunk waits before the queue takes it again. With `REHEARSAL_MEMORY`, a file,
        no database is asked.
        """
        return cls(
            base_url=env.get("ONEAPI_URL")
            or env.get("OPENAI_BASE_URL")
            or "https://api.openai.com/v1",
            chat_api_key=env.get("CHAT_API_KEY", ""),
            token_key=env.get("TOKEN_KEY") or "any",
            file_token_key=env.get("FILE_TOKEN_KEY") or "filetoken",
            root_key=env.get("ROOT_KEY", ""),
            root_password=env.get("DEFAULT_ROOT_PSW") or "123456",
            mongodb_uri=env.get("MONGODB_URI", ""),
            pg_url=env.get("PG_URL", ""),
            port=int(env.get("PORT") or 3000),
            hostname=env.get("HOSTNAME", ""),
            retry_seconds=float(env.get("REHEARSAL_RETRY_SECONDS") or 2),
            memory=env.get("REHEARSAL_MEMORY", ""),
        )
