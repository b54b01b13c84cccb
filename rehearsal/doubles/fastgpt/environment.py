"""The container's environment (docs/facts/fastgpt.md §1)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """What FastGPT reads from its environment, with the real defaults."""

    base_url: str
    chat_api_key: str = field(repr=False)
    token_key: str = field(repr=False)
    root_password: str = field(repr=False)
    mongodb_uri: str = field(repr=False)
    pg_url: str = field(repr=False)
    port: int
    hostname: str
    retry_seconds: float
    memory: Path
    """The file of this machine that holds what the real one has in both databases."""

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> Environment:
        """Take what is set.

        `ONEAPI_URL` wins over `OPENAI_BASE_URL`. `REHEARSAL_RETRY_SECONDS` stands for the minute
        that a failed chunk waits before the queue takes it again.
        """
        return cls(
            base_url=env.get("ONEAPI_URL")
            or env.get("OPENAI_BASE_URL")
            or "https://api.openai.com/v1",
            chat_api_key=env.get("CHAT_API_KEY", ""),
            token_key=env.get("TOKEN_KEY") or "any",
            root_password=env.get("DEFAULT_ROOT_PSW") or "123456",
            mongodb_uri=env.get("MONGODB_URI", ""),
            pg_url=env.get("PG_URL", ""),
            port=int(env.get("PORT") or 3000),
            hostname=env.get("HOSTNAME", ""),
            retry_seconds=float(env.get("REHEARSAL_RETRY_SECONDS") or 2),
            memory=Path(env["REHEARSAL_MEMORY"]),
        )
