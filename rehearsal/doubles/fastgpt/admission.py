"""Which passages the training queue takes (docs/facts/measured.md §1 F1)."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from rehearsal.doubles.fastgpt.chunks import length
from rehearsal.doubles.fastgpt.store import Document

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

OVER_MAX_TOKEN = 1.3
"""Characters of a passage for each token that config.json allows the embedding model (F1)."""
OVER_MAX_CONTEXT = 0.8
"""Characters of a passage for each token of the chat model's context, where it asks about it."""


def queue(
    service: Service,
    dataset: Document,
    collection: Document,
    data: list[Document],
    *,
    filtered: bool = True,
) -> Document:
    """Put into the training queue what can be; what cannot is told by kind of reason.

    Args:
        collection: the stored one; its `trainingType` and `qaPrompt` say what is done.
        data: `q`, `chunkIndex`, and at will `a`.
        filtered: whether passages are tidied, measured and compared at all.
    """
    mode = collection["trainingType"]
    model = dataset["agentModel" if mode == "qa" else "vectorModel"]
    if mode == "qa":
        tokens, each = service.config.llm(model).get("maxContext"), OVER_MAX_CONTEXT
    else:
        tokens, each = service.config.vector(model).get("maxToken"), OVER_MAX_TOKEN
    # No limit where config.json gives none: nothing is more than NaN.
    most = tokens * each if isinstance(tokens, int | float) else math.inf
    task = {
        "teamId": collection["teamId"],
        "tmbId": collection["tmbId"],
        "datasetId": dataset["_id"],
        "collectionId": collection["_id"],
        "mode": mode,
        "model": model,
        "prompt": collection.get("qaPrompt"),
        "lockTime": 0,
    }
    results: Document = {"insertLen": 0, "overToken": [], "repeat": [], "error": []}
    seen: set[str] = set()
    for given in data:
        item = {"a": "", **given}
        if filtered:
            item |= {"q": _tidied(item["q"]), "a": _tidied(item["a"])}
        refused = _refused(item, most, seen) if filtered else None
        if refused:
            results[refused].append(item)
            continue
        seen.add(item["q"] + item["a"])
        results["insertLen"] += 1
        service.mongo.put("trainings", {**task, **item})
    service.queue.wake()
    return results


def _refused(item: Document, most: float, seen: set[str]) -> str | None:
    if not item["q"]:
        return "error"
    if length(item["q"]) > most:
        return "overToken"
    return "repeat" if item["q"] + item["a"] in seen else None


def _tidied(text: str) -> str:
    """A passage as it is kept.

    The real one means to join Chinese characters and to shrink spaces, but its classes of
    characters end at the first bracket: what they find is brackets that close.
    """
    text = re.sub(r"([\u4e00-\u9fa5])[\s&\[^]\]+([\u4e00-\u9fa5])", r"\1\2", text.strip())
    text = re.sub(r"\r\n?", "\n", text)
    text = re.sub(r"\n{3,}", "\n\n", text)
    return re.sub(r"[\x00-\x08]", " ", re.sub(r"[\s&\[^]\]{2,}", " ", text))
