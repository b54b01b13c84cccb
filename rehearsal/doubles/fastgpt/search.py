"""Recall, rerank, filter (docs/facts/fastgpt.md §4 "Search test", §2 `reRankModels`)."""

from __future__ import annotations

import operator
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rehearsal.doubles.fastgpt.call import Call
from rehearsal.doubles.fastgpt.envelope import Json, Problem, log
from rehearsal.doubles.fastgpt.store import Document
from rehearsal.doubles.fastgpt.upstream import UpstreamError
from rehearsal.doubles.language import count_tokens

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

EMBEDDING, FULL_TEXT, MIXED = "embedding", "fullTextRecall", "mixedRecall"
RECALLED = {EMBEDDING: (100, 0), FULL_TEXT: (0, 100), MIXED: (80, 60)}
RRF, RERANKED_RRF = 60, 58
TOKENS_OVER = 500
"""How far the last quote may go beyond the limit."""
_NO_WORD = re.compile(r"[\W_]")
_WORD = re.compile(r"[a-z0-9]+|[\u3400-\u9fff]+")


@dataclass(frozen=True)
class Query:
    """What to look for, and where; `limit` counts tokens of quotes."""

    text: str
    dataset_ids: tuple[str, ...]
    similarity: float = 0.0
    limit: float = 1500
    mode: str = EMBEDDING
    rerank: bool = False
    history: str = ""


@dataclass(frozen=True)
class Found:
    """The passages, best first, and what was really done to get them."""

    items: list[Document]
    mode: str
    reranked: bool
    filtered: bool
    model: Document


def search_test(call: Call) -> Document:
    """POST /api/core/dataset/searchTest: `{list, duration, usingReRank, ...}`, not a bare list."""
    body = call.body
    text, dataset_id = body.get("text"), body.get("datasetId")
    if not text or not dataset_id:
        raise Problem("缺少参数")
    dataset = call.mongo.existing("datasets", dataset_id, "unExistDataset")
    began = time.monotonic()
    query = Query(
        text=text,
        dataset_ids=(dataset["_id"],),
        similarity=body.get("similarity") or 0,
        limit=min(body.get("limit") or 1500, 20000),
        mode=body.get("searchMode") or EMBEDDING,
        rerank=bool(body.get("usingReRank")),
    )
    result = search(call.service, query)
    return {
        "list": result.items,
        "duration": f"{time.monotonic() - began:.3f}s",
        "searchMode": result.mode,
        "limit": query.limit,
        "similarity": query.similarity,
        "usingReRank": result.reranked,
        "usingSimilarityFilter": result.filtered,
    }


def search(service: Service, query: Query) -> Found:
    """The passages for `query`, asked by the embedding model of the first dataset (F8).

    Raises:
        UpstreamError: the embedding failed. A failing reranker is only logged, and the search goes
            on without it.
    """
    query = replace(query, mode=query.mode if query.mode in RECALLED else EMBEDDING)
    data = [
        item
        for dataset_id in query.dataset_ids
        for item in service.mongo.find("dataset_datas", datasetId=dataset_id)
    ]
    dataset = service.mongo.get("datasets", query.dataset_ids[0]) or {}
    model = service.config.vector(dataset.get("vectorModel"))
    by_vector, by_text = RECALLED[query.mode]
    ranked = [
        _by_vector(service, model, query.text, data)[:by_vector],
        _by_text(query.text, data)[:by_text] if by_text else [],
    ]
    asked = f"{query.history}\nHuman: {query.text}\n" if query.history else query.text
    reranked = _rerank(service, asked, _distinct(ranked[0] + ranked[1])) if query.rerank else []
    items = _fused([(RRF, ranked[0]), (RRF, ranked[1]), (RERANKED_RRF, reranked)])
    counted = "reRank" if reranked else "embedding" if query.mode == EMBEDDING else None
    # One without a score of the kind that counts passes.
    similar = [
        item
        for item in _distinct(items)
        if all(
            score["value"] >= query.similarity
            for score in item["score"]
            if score["type"] == counted
        )
    ]
    return Found(
        items=[_item(service, item) for item in within(similar, query.limit, TOKENS_OVER)],
        mode=query.mode,
        reranked=bool(reranked),
        filtered=counted is not None,
        model=model,
    )


def _by_vector(
    service: Service, model: Document, text: str, data: list[Document]
) -> list[Document]:
    asked = service.upstream.embedding(model, text, storing=False)
    stored = {row["_id"]: row["vector"] for row in service.vectors.find("modeldata")}
    scored = []
    for item in data:
        (index,) = item["indexes"]
        if index["dataId"] in stored:
            # The inner product, as the index has it; above 1 for a model that does not normalise.
            score = sum(map(operator.mul, asked, stored[index["dataId"]]), 0.0)
            scored.append((score, item))
    return _scored("embedding", scored)


def _by_text(text: str, data: list[Document]) -> list[Document]:
    words = _words(text)
    scored = []
    for item in data:
        said = _words(f"{item['q']} {item['a']}")
        score = sum(1.0 for word in words if word in said)
        if score:
            scored.append((score / (1 + len(said) / 100), item))
    return _scored("fullText", scored)


def _words(text: str) -> set[str]:
    """Words, and for Chinese pairs of characters, where the real one asks jieba."""
    words: set[str] = set()
    for token in _WORD.findall(text.lower()):
        if token.isascii():
            words.add(token)
        else:
            words.update(token[place : place + 2] for place in range(max(1, len(token) - 1)))
    return words


def _scored(kind: str, scored: list[tuple[float, Document]]) -> list[Document]:
    ordered = sorted(scored, key=lambda pair: -pair[0])
    return [
        {**item, "score": [{"type": kind, "value": value, "index": place}]}
        for place, (value, item) in enumerate(ordered)
    ]


def _rerank(service: Service, query: str, items: list[Document]) -> list[Document]:
    model = service.config.reranker()
    if model is None or not items:
        return []
    texts = [f"{item['q']}\n{item['a']}" for item in items]
    try:
        rows = service.upstream.rerank(model, query, texts)
        return _scored("reRank", [(score, items[index]) for index, score in rows])
    except (UpstreamError, IndexError):
        log("Error", "rerank error")
        return []


def _distinct(items: list[Document]) -> list[Document]:
    """Passages that say the same but for spaces and punctuation are one."""
    said: dict[str, Document] = {}
    for item in items:
        said.setdefault(_NO_WORD.sub("", item["q"] + item["a"]), item)
    return list(said.values())


def _fused(lists: list[tuple[int, list[Document]]]) -> list[Document]:
    """Reciprocal rank fusion of what is there; the scores of one item are put together."""
    lists = [(k, ranked) for k, ranked in lists if ranked]
    if len(lists) == 1:
        return lists[0][1]
    joined: dict[str, Document] = {}
    weight: dict[str, float] = {}
    for k, ranked in lists:
        for place, item in enumerate(ranked):
            known = joined.setdefault(item["_id"], {**item, "score": []})
            known["score"] = known["score"] + item["score"]
            weight[item["_id"]] = weight.get(item["_id"], 0) + 1 / (k + place + 1)
    ordered = sorted(joined.values(), key=lambda item: -weight[item["_id"]])
    for place, item in enumerate(ordered):
        fused = {"type": "rrf", "value": weight[item["_id"]], "index": place}
        item["score"] = [*item["score"], fused]
    return ordered


def within(items: list[Document], limit: float, over: float = 0) -> list[Document]:
    """As many as `limit` tokens hold, and one that goes up to `over` beyond; one in any case."""
    kept: list[Document] = []
    total = 0
    for item in items:
        total += count_tokens(item["q"] + item["a"])
        if kept and total > limit + over:
            break
        kept.append(item)
        if over and total > limit:
            break
    return kept


def _item(service: Service, item: Document) -> Document:
    source = service.mongo.get("dataset_collections", item["collectionId"]) or {}
    source_id = source.get("fileId") or source.get("rawLink")
    names = ("q", "a", "chunkIndex", "datasetId", "collectionId", "score")
    return {
        "id": item["_id"],
        **{name: item[name] for name in names},
        "tokens": count_tokens(item["q"] + item["a"]),
        "sourceName": source.get("name", ""),
        **({"sourceId": source_id} if source_id else {}),
    }


def as_number(value: Json, default: float) -> float:
    """A graph's number, as JavaScript's arithmetic would take it."""
    return float(value) if isinstance(value, int | float) else default
