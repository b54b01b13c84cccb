"""FastGPT's config.json from the catalogue (`docs/facts/fastgpt.md §2`).

FastGPT validates nothing and answers an unknown name with the first model of the list, so each
field is written out, the intended default comes first, and nothing is listed that OneAPI does not
route.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from provisioning.catalogue import Model, of_kind
from provisioning.channels import XINFERENCE_KEY, XINFERENCE_URL
from provisioning.chunks import usual_chunk_size
from provisioning.problems import Problem
from provisioning.tables import table

# Where FastGPT reranks: Xinference itself, because OneAPI relays no reranker.
RERANK_URL = f"{XINFERENCE_URL}/v1/rerank"
# What no setting of ours changes; null is filled in. The prefix of FastGPT's own keys must hold no
# dash, because its parser splits keys at dashes. Icons are those that come with it, by the start of
# a model's name.
_FIXED = table("fastgpt_config.json", dict[str, dict[str, Any]])
# `maxToken`. FastGPT throws away every chunk of more *characters* than 1.3 times this, after it has
# itself made chunks of several times the size it was asked for (`docs/facts/measured.md §1 F1`). So
# it is no place to say what a model reads, which `provisioning.chunks` looks after: nothing may be
# lost here, not even four times a spreadsheet's longest cell.
_LONGEST_CHUNK = 100_000
# Left for the question, the system prompt and the history beside quotes and answer, in tokens.
_REST_OF_CONTEXT = 1024
# Providers whose temperature ends at 1; sent is maxTemperature x t / 10.
_COOL_PROVIDERS = frozenset({"baidu", "zhipu", "anthropic", "moonshot"})


def config_json(models: Sequence[Model]) -> str:
    """The whole file as strict JSON; of each kind the catalogue's first is FastGPT's default."""
    config = _FIXED["file"] | {
        "llmModels": [_llm(model) for model in of_kind(models, "chat")],
        "vectorModels": [_vector(model) for model in of_kind(models, "embedding")],
        "reRankModels": [_rerank(model) for model in of_kind(models, "rerank")],
        "audioSpeechModels": [_speech(model) for model in of_kind(models, "speech")],
    }
    if heard := of_kind(models, "transcription"):
        config["whisperModel"] = _named(heard[0])
    return json.dumps(config, ensure_ascii=False, indent=2) + "\n"


def config_problems(models: Sequence[Model]) -> Iterator[Problem]:
    """What would leave FastGPT without a default or with the wrong model."""
    for kind, lacks in (("chat", "a chat"), ("embedding", "an embedding")):
        if not any(model.kind == kind for model in models):
            wrong = f"FastGPT needs {lacks} model and there is none"
            yield Problem("models", wrong, f"add one with kind: {kind}")
    for index, model in enumerate(models):
        # 4.16 finds a model by either (docs/facts/fastgpt-current.md §3).
        if any(model.title == other.name for other in models if other is not model):
            wrong = f"{model.title} is another model's name, and FastGPT may take the one for it"
            yield Problem(f"models[{index}].title", wrong, "give it another title")
        if model.kind == "chat" and model.answer_tokens > model.context // 2:
            wrong = f"an answer of {model.answer_tokens} tokens leaves no room in {model.context}"
            right = f"set {model.context // 2} or less"
            yield Problem(f"models[{index}].maxResponse", wrong, right)


def quote_max_token(model: Model) -> int:
    """Tokens of quoted knowledge that a chat model takes; it also caps an app's `limit`."""
    return max(model.context // 4, model.context - model.answer_tokens - _REST_OF_CONTEXT)


def max_temperature(model: Model) -> float:
    """What a temperature of 10 means to it."""
    return 1 if model.served_by in _COOL_PROVIDERS else 1.2


def voices(model: Model) -> tuple[str, ...]:
    """The voices that a speech model is offered with."""
    return model.voices or ("default",)


def by_start(model: Model, known: Mapping[str, str], otherwise: str) -> str:
    """What is known of names that begin as this model's."""
    name = model.name.lower()
    return next((each for start, each in known.items() if name.startswith(start)), otherwise)


def _named(model: Model) -> dict[str, Any]:
    return {"model": model.name, "name": model.title or model.name, "charsPointsPrice": 0}


def _llm(model: Model) -> dict[str, Any]:
    return _FIXED["chat"] | {
        **_named(model),
        "avatar": _avatar(model),
        "maxContext": model.context,
        "maxResponse": model.answer_tokens,
        "quoteMaxToken": quote_max_token(model),
        "maxTemperature": max_temperature(model),
        "vision": model.vision,
        "toolChoice": model.tools,
    }


def _vector(model: Model) -> dict[str, Any]:
    return _FIXED["embedding"] | {
        **_named(model),
        "avatar": _avatar(model),
        # What its own page proposes for an upload by hand.
        "defaultToken": usual_chunk_size(model),
        "maxToken": _LONGEST_CHUNK,
        "defaultConfig": {"dimensions": model.dimensions} if model.dimensions else {},
    }


def _rerank(model: Model) -> dict[str, Any]:
    return {**_named(model), "requestUrl": RERANK_URL, "requestAuth": XINFERENCE_KEY}


def _speech(model: Model) -> dict[str, Any]:
    offered = [
        {"label": voice, "value": voice, "bufferId": f"{model.name}-{voice}"}
        for voice in voices(model)
    ]
    return {**_named(model), "voices": offered}


def _avatar(model: Model) -> str:
    return f"/imgs/model/{by_start(model, _FIXED['icons'], 'huggingface')}.svg"
