"""The models of FastGPT 4.16, which its own API is told, from the catalogue.

`docs/facts/fastgpt-current.md §3`, `docs/facts/fastgpt-current-measured.md §2`. An unknown name is
answered with the default model of its kind, so the first of each kind is marked as that. Each
record is whole: what is left out may be filled in by what FastGPT has under the same name.
"""

from collections.abc import Callable, Sequence
from typing import Any

from provisioning.catalogue import Model, input_tokens, of_kind
from provisioning.channels import XINFERENCE_KEY
from provisioning.chunks import usual_chunk_size
from provisioning.fastgpt_config import (
    RERANK_URL,
    by_start,
    max_temperature,
    quote_max_token,
    voices,
)
from provisioning.traits import Kind

_TYPES: dict[Kind, str] = {
    "chat": "llm",
    "embedding": "embedding",
    "rerank": "rerank",
    "speech": "tts",
    "transcription": "stt",
}
# Whose icon it bears, by the start of a model's name: ids of 4.16's own list.
_PROVIDERS = {
    "qwen": "Qwen",
    "qwq": "Qwen",
    "bge": "BAAI",
    "m3e": "Moka",
    "jina": "Jina",
    "glm": "ChatGLM",
    "chatglm": "ChatGLM",
    "embedding-": "ChatGLM",
    "gpt": "OpenAI",
    "text-embedding-v": "AliCloud",
    "text-embedding": "OpenAI",
    "whisper": "OpenAI",
    "tts": "OpenAI",
    "claude": "Claude",
    "gemini": "Gemini",
    "llama": "Meta",
    "mistral": "MistralAI",
    "deepseek": "DeepSeek",
    "baichuan": "Baichuan",
    "ernie": "Ernie",
    "moonshot": "Moonshot",
    "kimi": "Moonshot",
    "hunyuan": "Hunyuan",
    "internlm": "InternLM",
    "yi-": "Yi",
    "step-": "StepFun",
}


def model_set(models: Sequence[Model]) -> list[dict[str, Any]]:
    """All models, `{"model", "metadata"}` each; the first of a kind is its default.

    Xinference's key is `provisioning.channels.XINFERENCE_KEY` in it.
    """
    defaults = {kind: of_kind(models, kind)[:1] for kind in _TYPES}
    return [
        {"model": model.name, "metadata": _metadata(model, default=model in defaults[model.kind])}
        for model in models
    ]


def _metadata(model: Model, *, default: bool) -> dict[str, Any]:
    told = {
        "type": _TYPES[model.kind],
        "provider": by_start(model, _PROVIDERS, "Other"),
        "model": model.name,
        "name": model.title or model.name,
        "isActive": True,
        "isDefault": default,
    }
    return told | _OF_KIND[model.kind](model, default)


def _llm(model: Model, default: bool) -> dict[str, Any]:
    return {
        "isDefaultDatasetTextModel": default,
        "maxContext": model.context,
        "maxResponse": model.answer_tokens,
        "quoteMaxToken": quote_max_token(model),
        "maxTemperature": max_temperature(model),
        "vision": model.vision,
        "toolChoice": model.tools,
        "functionCall": False,
    }


def _embedding(model: Model, _default: bool) -> dict[str, Any]:
    asked = {"defaultConfig": {"dimensions": model.dimensions}} if model.dimensions else {}
    return {
        "defaultToken": usual_chunk_size(model),
        # A longer text gets several vectors, and none is left out.
        "maxToken": input_tokens(model),
        "weight": 100,
        **asked,
    }


def _rerank(_model: Model, _default: bool) -> dict[str, Any]:
    # Without a key of its own, the gateway's would be sent there.
    return {"requestUrl": RERANK_URL, "requestAuth": XINFERENCE_KEY}


def _tts(model: Model, _default: bool) -> dict[str, Any]:
    return {"voices": [{"label": voice, "value": voice} for voice in voices(model)]}


_OF_KIND: dict[Kind, Callable[[Model, bool], dict[str, Any]]] = {
    "chat": _llm,
    "embedding": _embedding,
    "rerank": _rerank,
    "speech": _tts,
    "transcription": lambda _model, _default: {},
}
