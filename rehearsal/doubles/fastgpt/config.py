"""config.json: read once, tolerant in syntax, unchecked in shape (facts/fastgpt.md §2)."""

from __future__ import annotations

import json
import re
import stat
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
    "concatMd": "",
    "limit": {"exportDatasetLimitMinutes": 0, "websiteSyncLimitMinuted": 0},
    "scripts": [],
    "favicon": "/favicon.ico",
    "uploadFileMaxSize": 500,
}
VERSION = "4.8.8"
INSIDE = "/app/data/config.json"
Model = dict[str, Any]

_TOKEN = re.compile(
    r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/|[A-Za-z_$][\w$]*(?=\s*:)', re.S
)
_TRAILING = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')


@dataclass
class Config:
    """What start-up made of config.json. The lists are what the file said, whatever that was."""

    version: str
    fe_configs: dict[str, Any]
    system_env: dict[str, Any]
    llm_models: Any
    vector_models: Any
    rerank_models: Any
    speech_models: Any
    whisper_model: Any
    raw: dict[str, Any] = field(repr=False)

    def llm(self, name: Json) -> Model:
        """The chat model of that name; silently the first one if there is none such.

        Raises:
            Problem: the list is empty or no list.
        """
        return _model(self.llm_models, name)

    def vector(self, name: Json) -> Model:
        """The embedding model of that name; silently the first one if there is none such."""
        return _model(self.vector_models, name)

    def dataset_llm(self, name: Json) -> Model:
        """The file-processing model: by name, or the first one with `datasetProcess`."""
        models = [model for model in _entries(self.llm_models) if model.get("datasetProcess")]
        if not models:
            raise undefined("model")
        return _model(models, name)

    def reranker(self) -> Model | None:
        """The only reranker that is ever used: index 0."""
        entries = _entries(self.rerank_models)
        return entries[0] if entries else None


def read_config(path: Path, package: Path) -> Config:
    """Read config.json and the version of `package`.json.

    Raises:
        OSError, ValueError: no such file, or no JSON5; FastGPT exits on either.
    """
    if not path.stat().st_mode & stat.S_IROTH:
        # The image runs as uid 1001, which owns nothing that is mounted into it.
        raise PermissionError(f"EACCES: permission denied, open '{INSIDE}'")
    raw = parse_json5(path.read_text(encoding="utf-8"))
    if not isinstance(raw, dict):
        raise ValueError("JSON5: config.json is not an object")
    version = json.loads(package.read_text())["version"] if package.exists() else VERSION
    return Config(
        version=version,
        fe_configs={**(raw.get("feConfigs") or {}), **BUILT_IN_FE_CONFIGS},
        system_env=raw.get("systemEnv") or {},
        llm_models=raw.get("llmModels") or [],
        vector_models=raw.get("vectorModels") or [],
        rerank_models=raw.get("reRankModels") or [],
        speech_models=raw.get("audioSpeechModels") or [],
        whisper_model=raw.get("whisperModel"),
        raw=raw,
    )


def parse_json5(text: str) -> Json:
    """JSON with comments, trailing commas, single quotes and bare keys.

    Raises:
        ValueError: not even that.
    """
    plain = _TRAILING.sub(lambda found: found.group(1) or "", _TOKEN.sub(_plain_token, text))
    try:
        return json.loads(plain)
    except json.JSONDecodeError as error:
        raise ValueError(f"JSON5: invalid character at {error.lineno}:{error.colno}") from error


def _plain_token(found: re.Match[str]) -> str:
    token = found.group(0)
    if token.startswith(("//", "/*")):
        return " "
    if token.startswith("'"):
        return json.dumps(token[1:-1].replace("\\'", "'"), ensure_ascii=False)
    return token if token.startswith('"') else json.dumps(token)


def _entries(models: Json) -> list[Model]:
    if not isinstance(models, list):
        raise Problem("models.find is not a function")
    return models


def _model(models: Json, name: Json) -> Model:
    entries = _entries(models)
    for entry in entries:
        if name is not None and name in (entry.get("model"), entry.get("name")):
            return entry
    if not entries:
        raise undefined("model")
    return entries[0]
