"""What of FastGPT's answers can be alike in two runs, and what is masked (by rule, not by case)."""

import json
import re
from typing import Any

from tests.contract.replay import Masks, Service

LISTS_OF_EVERYTHING = ("/api/core/dataset/list", "/api/core/app/list")
QUEUE = "/api/core/dataset/training/getDatasetTrainingQueue"
ROUNDED = 5
"""Decimals of a score: PostgreSQL keeps vectors in single precision."""

MASKS = Masks(
    fields=frozenset(
        {
            "duration",
            "runningTime",
            "tokens",  # counted with the vocabulary of the real tokenizer
            "encoding",  # guessed from a file's bytes
            "relatedImgId",
            "dataId",
        }
    ),
    texts=(
        (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "<time>"),
        (re.compile(r"\*{6}[A-Za-z0-9]{4}"), "<key tail>"),
    ),
)
KINDS = {
    "token": re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"),
    "key": re.compile(r"fastgpt-[A-Za-z0-9]{52,65}"),
    "id": re.compile(r"(?<![\w-])[a-z0-9]{24}(?![\w-])"),
}


def prepare(request: Any, body: Any) -> Any:
    """An answer's body before it is masked."""
    if isinstance(body, str) and body.startswith("event: "):
        return [_prepared(event) for event in _events(body)]
    if request["path"] in LISTS_OF_EVERYTHING and isinstance(body.get("data"), list):
        # The first row is the story's; a real service may have more from before.
        body = {**body, "data": body["data"][:1]}
    data = body.get("data") if isinstance(body, dict) else None
    if isinstance(data, dict) and data.get("searchMode") == "fullTextRecall":
        # In which order a text index finds is its own business.
        found = sorted(data["list"], key=lambda item: item["chunkIndex"])
        body = {**body, "data": {**data, "list": found}}
    return _prepared(body)


def _events(stream: str) -> list[Any]:
    events = []
    for block in stream.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        text = lines["data"]
        data = text if text == "[DONE]" else json.loads(text)
        events.append({"event": lines.get("event", ""), "data": data})
    return events


def _prepared(value: Any) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get("score"), list):
            value = {**value, "score": _scores(value["score"])}
        return {key: _prepared(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_prepared(each) for each in value]
    return round(value, ROUNDED) if isinstance(value, float) else value


def _scores(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what the text index makes of a passage, and what is reckoned from that."""
    if all(score["type"] != "fullText" for score in scores):
        return scores
    unlike = {"fullText": {"value": "<any>", "index": "<any>"}, "rrf": {"value": "<any>"}}
    return [{**score, **unlike.get(score["type"], {})} for score in scores]


def settled(path: str, body: Any) -> bool:
    """Whether the training queue has run empty, where that is what is asked."""
    data = body.get("data") if isinstance(body, dict) else None
    return path != QUEUE or not isinstance(data, dict) or not any(data.values())


FASTGPT = Service(
    masks=MASKS,
    kinds=KINDS,
    prepare=prepare,
    settled=settled,
    callers={
        "nobody": {},
        "root": {"token": "<token 1>"},
        "key": {"Authorization": "Bearer <key 1>"},
    },
)
