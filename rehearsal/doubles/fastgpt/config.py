"""config.json, unchecked in shape, and the environment (docs/facts/fastgpt.md §1, §2)."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rehearsal.doubles.fastgpt.envelope import Json, Problem, undefined

BUILT_IN_FE_CONFIGS: dict[str, Any] = {
    "show_emptyChat": True,
    "show_git": True,
    "docUrl": "https://doc.fastgpt.in",
    "openAPIDocUrl": "https://doc.fastgpt.in/docs/development/openapi",
    "systemPluginCourseUrl": "https://fael3z0zfze.feishu.cn/wiki/ERZnw9R26iRRG0kXZRec6WL9nwh",
    "systemTitle": "FastGPT",
    "concatMd": "项目开源地址: [FastGPT GitHub](https://github.com/labring/FastGPT)\n"
    "交流群: ![](https://oss.laf.run/htr4n1-images/fastgpt-qr-code.jpg)",
    "limit": {"exportDatasetLimitMinutes": 0, "websiteSyncLimitMinuted": 0},
    "scripts": [],
    "favicon": "/favicon.ico",
    "uploadFileMaxSize": 500,
}
LISTS = ("llmModels", "vectorModels", "reRankModels", "audioSpeechModels")
VERSION = "4.8.8"
INSIDE = "/app/data/config.json"
Model = dict[str, Any]


@dataclass
class Config:
    """What start-up made of config.json."""

    version: str
    fe_configs: dict[str, Any]
    system_env: dict[str, Any]
    models: dict[str, Any]
    """The lists `llmModels` and so on as the file has them, whatever that is."""

    def llm(self, name: Json) -> Model:
        """The chat model of that name; silently the first one if there is none such.

        Raises:
            Problem: the list is empty or no list.
        """
        return _model(_entries(self.models["llmModels"], "global.llmModels.find"), name)

    def vector(self, name: Json) -> Model:
        """The embedding model of that name; silently the first one if there is none such."""
        return _model(_entries(self.models["vectorModels"], "global.vectorModels.find"), name)

    def dataset_llm(self) -> Model:
        """The file-processing model of a dataset that names none."""
        models = _entries(self.models["llmModels"], "global.llmModels?.filter")
        return _model([model for model in models if model.get("datasetProcess")] or models, None)

    def reranker(self) -> Model | None:
        """The only reranker that is ever used: index 0."""
        entries = _entries(self.models["reRankModels"], "global.reRankModels.find")
        return entries[0] if entries else None


def read_config(path: Path) -> Config:
    """What start-up makes of config.json: the real one takes JSON5, of which the lab writes JSON.

    Raises:
        OSError, ValueError: no such file, or no JSON; FastGPT exits on either.
    """
    if not path.stat().st_mode & stat.S_IROTH:
        # The image runs as uid 1001, which owns nothing that is mounted into it.
        raise PermissionError(f"EACCES: permission denied, open '{INSIDE}'")
    parsed = json.loads(path.read_text(encoding="utf-8"))
    # A list has none of the keys, which is no error.
    raw = parsed if isinstance(parsed, dict) else {}
    # JavaScript finds no models where there is nothing; an empty object is something.
    models = {key: raw[key] if raw.get(key) or raw.get(key) == {} else [] for key in LISTS}
    return Config(
        version=VERSION,
        fe_configs={**(raw.get("feConfigs") or {}), **BUILT_IN_FE_CONFIGS, "isPlus": False},
        system_env=raw.get("systemEnv") or {},
        models=models,
    )


def _entries(models: Json, looked_up_by: str) -> list[Model]:
    if not isinstance(models, list):
        raise Problem(f"{looked_up_by} is not a function")
    return models


def _model(entries: list[Model], name: Json) -> Model:
    for entry in entries:
        if name is not None and name == entry.get("model"):
            return entry
    if not entries:
        raise undefined("model")
    return entries[0]


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
