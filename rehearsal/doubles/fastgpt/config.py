"""config.json, unchecked in shape, and the environment (docs/facts/fastgpt.md §1, §2)."""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rehearsal.doubles.fastgpt.envelope import SHAPES, Document, Json

LISTS = ("llmModels", "vectorModels", "reRankModels", "audioSpeechModels")
VERSION = "4.8.8"
INSIDE = "/app/data/config.json"


@dataclass
class Config:
    """What start-up made of config.json; `models` has its lists as they are, whatever that is."""

    fe_configs: Document
    system_env: Document
    models: dict[str, Any]

    def llm(self, name: Json) -> Document:
        """The chat model of that name; silently the first one if there is none such."""
        return _named(self.models["llmModels"], name)

    def vector(self, name: Json) -> Document:
        """The embedding model of that name; silently the first one if there is none such."""
        return _named(self.models["vectorModels"], name)


def read_config(path: Path) -> Config:
    """The file as start-up takes it; no file, or no JSON, is an error that ends FastGPT."""
    if not path.stat().st_mode & stat.S_IROTH:
        # The image runs as uid 1001, which owns nothing that is mounted into it.
        raise PermissionError(f"EACCES: permission denied, open '{INSIDE}'")
    raw = json.loads(path.read_text(encoding="utf-8"))
    return Config(
        fe_configs={**raw.get("feConfigs", {}), **SHAPES["feConfigs"]},
        system_env=raw.get("systemEnv", {}),
        models={key: raw.get(key, []) for key in LISTS},
    )


def _named(models: list[Document], name: Json) -> Document:
    return next((model for model in models if model.get("model") == name), models[0])


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
    """Stands for the minute that a failed chunk waits before the queue takes it again."""
    memory: str
    """What holds what the real one has in both databases: a file, else PostgreSQL."""

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> "Environment":
        """Take what is set."""
        return cls(
            base_url=env.get("OPENAI_BASE_URL") or "https://api.openai.com/v1",
            chat_api_key=env.get("CHAT_API_KEY", ""),
            token_key=env.get("TOKEN_KEY") or "any",
            root_password=env.get("DEFAULT_ROOT_PSW") or "123456",
            mongodb_uri=env.get("MONGODB_URI", ""),
            pg_url=env.get("PG_URL", ""),
            port=int(env.get("PORT") or 3000),
            hostname=env.get("HOSTNAME", ""),
            retry_seconds=float(env.get("REHEARSAL_RETRY_SECONDS") or 2),
            memory=env.get("REHEARSAL_MEMORY") or env.get("PG_URL", ""),
        )
