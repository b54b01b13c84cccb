"""config.json: read once, tolerant in syntax, unchecked in shape (docs/facts/fastgpt.md §2)."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass
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

    def llm(self, name: Json) -> Model:
        """The chat model of that name; silently the first one if there is none such.

        Raises:
            Problem: the list is empty or no list.
        """
        return _model(_entries(self.llm_models, "global.llmModels.find"), name)

    def vector(self, name: Json) -> Model:
        """The embedding model of that name; silently the first one if there is none such."""
        return _model(_entries(self.vector_models, "global.vectorModels.find"), name)

    def dataset_llm(self) -> Model:
        """The file-processing model of a dataset that names none."""
        models = _entries(self.llm_models, "global.llmModels?.filter")
        return _model([model for model in models if model.get("datasetProcess")] or models, None)

    def reranker(self) -> Model | None:
        """The only reranker that is ever used: index 0."""
        entries = _entries(self.rerank_models, "global.reRankModels.find")
        return entries[0] if entries else None


def read_config(path: Path, package: Path) -> Config:
    """Read config.json and the version of `package`.json.

    Raises:
        OSError, ValueError: no such file, or no JSON5; FastGPT exits on either.
    """
    if not path.stat().st_mode & stat.S_IROTH:
        # The image runs as uid 1001, which owns nothing that is mounted into it.
        raise PermissionError(f"EACCES: permission denied, open '{INSIDE}'")
    parsed = parse_json5(path.read_text(encoding="utf-8"))
    # A list has none of the keys, which is no error.
    raw = parsed if isinstance(parsed, dict) else {}
    version = json.loads(package.read_text())["version"] if package.exists() else VERSION
    return Config(
        version=version,
        fe_configs={**(raw.get("feConfigs") or {}), **BUILT_IN_FE_CONFIGS, "isPlus": False},
        system_env=raw.get("systemEnv") or {},
        llm_models=_or_none(raw.get("llmModels")),
        vector_models=_or_none(raw.get("vectorModels")),
        rerank_models=_or_none(raw.get("reRankModels")),
        speech_models=_or_none(raw.get("audioSpeechModels")),
        whisper_model=raw.get("whisperModel"),
    )


def _or_none(models: Json) -> Json:
    """`models`, or no models where JavaScript finds nothing; an empty object is something."""
    return models or [] if models != {} else models


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
