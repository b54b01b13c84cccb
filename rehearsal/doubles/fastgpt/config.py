"""The models, and the environment (docs/facts/fastgpt.md §1, §2; fastgpt-current.md §2)."""

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from rehearsal.doubles.fastgpt.envelope import CURRENT, SHAPES, Document, Json

LISTS = ("llmModels", "vectorModels", "reRankModels", "audioSpeechModels")
INSIDE = "/app/data/config.json"


@dataclass
class Config:
    """What start-up made of config.json, unchecked in shape, or of the stored models; `models` has
    its lists as they are, the default of a kind first."""

    fe_configs: Document
    system_env: Document
    models: dict[str, Any]

    def _named(self, kind: str, name: Json) -> Document:
        """The model of that name; silently the first of its kind if there is none such."""
        models: list[Document] = self.models[kind]
        return next((model for model in models if model.get("model") == name), models[0])

    llm = partialmethod(_named, "llmModels")
    vector = partialmethod(_named, "vectorModels")
    reranker = partialmethod(_named, "reRankModels")


def read_config(path: Path) -> Config:
    """The file as start-up takes it; no file, or no JSON, is an error that ends FastGPT."""
    if not path.stat().st_mode & stat.S_IROTH:
        # The image runs as uid 1001, which owns nothing that is mounted into it.
        raise PermissionError(f"EACCES: permission denied, open '{INSIDE}'")
    raw = json.loads(path.read_text(encoding="utf-8"))
    shown = {**raw.get("feConfigs", {}), **SHAPES["feConfigs"]}
    return Config(shown, raw.get("systemEnv", {}), {key: raw.get(key, []) for key in LISTS})


class Environment(BaseModel, frozen=True):
    """What FastGPT reads from its environment, with the real defaults."""

    base_url: str = Field("https://api.openai.com/v1", alias="OPENAI_BASE_URL")
    chat_api_key: str = Field("", alias="CHAT_API_KEY", repr=False)
    token_key: str = Field("any", alias="TOKEN_KEY", repr=False)
    root_password: str = Field("123456", alias="DEFAULT_ROOT_PSW", repr=False)
    mongodb_uri: str = Field("", alias="MONGODB_URI", repr=False)
    pg_url: str = Field("", alias="PG_URL", repr=False)
    port: int = Field(3000, alias="PORT")
    hostname: str = Field("", alias="HOSTNAME")
    retry_seconds: float = Field(2, alias="REHEARSAL_RETRY_SECONDS")
    """Stands for the minute that a failed chunk waits before the queue takes it again."""
    memory: str = Field("", alias="REHEARSAL_MEMORY")
    """The file that holds what the real one has in both databases; without, PostgreSQL does."""
    # What follows is read by the current edition only.
    redis_url: str = Field("", alias="REDIS_URL", repr=False)
    s3_endpoint: str = Field("", alias="STORAGE_S3_ENDPOINT")
    s3_external: str = Field("http://localhost:9000", alias="STORAGE_EXTERNAL_ENDPOINT")
    public_bucket: str = Field("fastgpt-public", alias="STORAGE_PUBLIC_BUCKET")
    plugin_url: str = Field("http://localhost:3004", alias="PLUGIN_BASE_URL")
    plugin_token: str = Field("token", alias="PLUGIN_TOKEN", repr=False)
    refuses_internal: bool = Field(False, alias="CHECK_INTERNAL_IP")
    domain: str = Field("", alias="FE_DOMAIN")
    pgvector: str = Field("0.8.2", alias="REHEARSAL_PGVECTOR")
    """The version of pgvector in what stands for PostgreSQL."""
    from_source: bool = Field(False, alias="REHEARSAL_FROM_SOURCE")
    """Whether it was started from its source, without what only the image has in /app/data."""
    lacking: tuple[str, ...] = ()
    """Variables without which the current edition does not start."""

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> "Environment":
        given = {name: value for name, value in env.items() if value}
        forms = CURRENT["variables"].items()
        lacking = [name for name, form in forms if not re.match(form, given.get(name, ""))]
        return cls.model_validate({**given, "lacking": lacking})
