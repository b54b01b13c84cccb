"""Recall, rerank, filter (facts/fastgpt.md §4 "Search test", §2 `reRankModels`)."""

from __future__ import annotations

import json
import operator
import re
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rehearsal.doubles.fastgpt.auth import owned, session_or_key
from rehearsal.doubles.fastgpt.call import Call
from rehearsal.doubles.fastgpt.envelope import KNOWN, Json, Problem
from rehearsal.doubles.fastgpt.store import Document, checked_id, find
from rehearsal.doubles.fastgpt.upstream import UpstreamError
from rehearsal.doubles.language import count_tokens

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

EMBEDDING, FULL_TEXT, MIXED = "embedding", "fullTextRecall", "mixedRecall"
RECALLED = {EMBEDDING: (100, 0), FULL_TEXT: (0, 100), MIXED: (60, 40)}
RRF = 60
REQUESTS_PER_SECOND = 2
_WORD = re.compile(r"[a-z0-9]+|[\u3400-\u9fff]+")


@dataclass(frozen=True)
class Query:
    """What to look for, and where; `limit` counts tokens of quotes."""

    text: str
    dataset_ids: tuple[str, ...]
    vector_model: str | None
    similarity: float = 0.0
    limit: float = 1500
    mode: str = EMBEDDING
    rerank: bool = False
    extension: bool = False
    extension_model: str | None = None
    extension_background: str = ""
    history: str = ""


@dataclass(frozen=True)
class Found:
    """The passages, best first, and what was really done to get them."""

    items: list[Document]
    mode: str
    reranked: bool
    limit: float
    similarity: float
    extended: list[str]


class FrequencyLimit:
    """About two requests a second from one address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[float, int]] = {}

    def check(self, address: str) -> None:
        """Count one request.

        Raises:
            Problem: one too many in this second.
        """
        with self._lock:
            since, count = self._windows.get(address, (0.0, 0))
            if time.monotonic() - since >= 1:
                since, count = time.monotonic(), 0
            self._windows[address] = (since, count + 1)
        if count >= REQUESTS_PER_SECOND:
            code, message = KNOWN["tooManyRequest"]
            raise Problem(message, code, "tooManyRequest", http=429)


def search_test(service: Service, call: Call) -> Document:
    """POST /api/core/dataset/searchTest: `{list, duration, usingReRank, ...}`, not a bare list."""
    identity = session_or_key(service, call)
    body = call.body
    text, dataset_id = body.get("text"), body.get("datasetId")
    if not text or not dataset_id:
        raise Problem("缺少参数")
    found = service.mongo.get("datasets", checked_id(dataset_id, "datasets"))
    dataset = owned(found, identity, "unAuthDataset")
    began = time.monotonic()
    result = search(
        service,
        Query(
            text=text,
            dataset_ids=(dataset["_id"],),
            vector_model=dataset["vectorModel"],
            similarity=float(body.get("similarity") or 0),
            limit=min(float(body.get("limit") or 1500), 20000),
            mode=body.get("searchMode") or EMBEDDING,
            rerank=bool(body.get("usingReRank")),
            extension=bool(body.get("datasetSearchUsingExtensionQuery")),
            extension_model=body.get("datasetSearchExtensionModel"),
            extension_background=body.get("datasetSearchExtensionBg") or "",
        ),
    )
    return {
        "list": result.items,
        "duration": f"{time.monotonic() - began:.3f}s",
        "searchMode": result.mode,
        "limit": result.limit,
        "similarity": result.similarity,
        "usingReRank": result.reranked,
    }


def search(service: Service, query: Query) -> Found:
    """The passages for `query`.

    Raises:
        UpstreamError: the embedding (or the query extension's chat) failed. A failing reranker is
            only logged, and the search goes on without it.
    """
    query = replace(query, mode=query.mode if query.mode in RECALLED else EMBEDDING)
    extended = _extend(service, query)
    data = [
        item
        for dataset_id in query.dataset_ids
        for item in find(service.mongo, "dataset_datas", datasetId=dataset_id)
    ]
    by_vector, by_text = RECALLED[query.mode]
    ranked = [
        _by_vector(service, query, [query.text, *extended], data)[:by_vector],
        _by_text(query.text, data)[:by_text] if by_text else [],
    ]
    reranked = _rerank(service, query, _fused(ranked)) if query.rerank else []
    items = _fused([*ranked, reranked])
    shown = _within(_similar(query, items, bool(reranked)), query.limit)
    sources = _sources(service, shown)
    return Found(
        items=[_item(item, sources) for item in shown],
        mode=query.mode,
        reranked=query.rerank,
        limit=query.limit,
        similarity=query.similarity,
        extended=extended,
    )


def _extend(service: Service, query: Query) -> list[str]:
    """More ways to ask, from a chat model: one more call, of whichever model the name gives."""
    if not query.extension:
        return []
    model = service.config.llm(query.extension_model)
    prompt = (
        "根据对话背景，生成几个与原问题含义相同的检索词，输出 JSON 字符串数组。\n"
        f"背景: {query.extension_background}\n历史: {query.history}\n原问题: {query.text}"
    )
    answer = service.upstream.chat(
        {
            "model": model.get("model"),
            "temperature": 0.01,
            "messages": [{"role": "user", "content": prompt}],
        }
    )
    try:
        found = json.loads(answer[answer.index("[") : answer.rindex("]") + 1])
    except ValueError:
        return []
    return [str(text) for text in found]


def _by_vector(
    service: Service, query: Query, texts: list[str], data: list[Document]
) -> list[Document]:
    if query.mode == FULL_TEXT:
        return []
    model = service.config.vector(query.vector_model)
    asked = [service.upstream.embedding(model, text, storing=False) for text in texts]
    stored = {row["_id"]: row["vector"] for row in service.vectors.list("modeldata").values()}
    scored = []
    for item in data:
        vectors = [
            stored[index["dataId"]] for index in item["indexes"] if index["dataId"] in stored
        ]
        if vectors:
            score = max(_product(one, other) for one in asked for other in vectors)
            scored.append((score, item))
    return _scored("embedding", scored)


def _product(one: list[float], other: list[float]) -> float:
    """The inner product, as the index has it; above 1 for a model that does not normalise."""
    return sum(map(operator.mul, one, other), 0.0)


def _by_text(text: str, data: list[Document]) -> list[Document]:
    words = _words(text)
    scored = []
    for item in data:
        said = _words(f"{item['q']} {item.get('a', '')}")
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


def _rerank(service: Service, query: Query, items: list[Document]) -> list[Document]:
    model = service.config.reranker()
    if model is None or not items:
        return []
    texts = [f"{item['q']}\n{item.get('a', '')}".strip() for item in items]
    try:
        rows = service.upstream.rerank(model, query.text, texts)
        return _scored("reRank", [(score, items[index]) for index, score in rows])
    except (UpstreamError, IndexError) as error:
        print("rerank error", error, flush=True)
        return []


def _fused(lists: list[list[Document]]) -> list[Document]:
    """Reciprocal rank fusion of what is there; the scores of one item are put together."""
    lists = [ranked for ranked in lists if ranked]
    if len(lists) == 1:
        return lists[0]
    joined: dict[str, Document] = {}
    weight: dict[str, float] = {}
    for ranked in lists:
        for place, item in enumerate(ranked):
            known = joined.setdefault(item["_id"], {**item, "score": []})
            kinds = {score["type"] for score in known["score"]}
            known["score"] = known["score"] + [
                score for score in item["score"] if score["type"] not in kinds
            ]
            weight[item["_id"]] = weight.get(item["_id"], 0) + 1 / (RRF + place + 1)
    ordered = sorted(joined.values(), key=lambda item: -weight[item["_id"]])
    for place, item in enumerate(ordered):
        scores = [score for score in item["score"] if score["type"] != "rrf"]
        item["score"] = [*scores, {"type": "rrf", "value": weight[item["_id"]], "index": place}]
    return ordered


def _similar(query: Query, items: list[Document], reranked: bool) -> list[Document]:
    """The score that counts is the reranker's, else in embedding mode the vector's, else none."""
    if query.rerank and reranked:
        kind = "reRank"
    elif query.mode == EMBEDDING:
        kind = "embedding"
    else:
        return items
    return [
        item
        for item in items
        if all(
            score["value"] >= query.similarity for score in item["score"] if score["type"] == kind
        )
    ]


def _within(items: list[Document], limit: float) -> list[Document]:
    """As many as `limit` tokens hold, but one in any case."""
    kept: list[Document] = []
    total = 0
    for item in items:
        total += count_tokens(item["q"] + item.get("a", ""))
        if kept and total > limit:
            break
        kept.append(item)
    return kept


def _sources(service: Service, items: list[Document]) -> dict[str, Document]:
    ids = {item["collectionId"] for item in items}
    return {id_: service.mongo.get("dataset_collections", id_) or {} for id_ in ids}


def _item(item: Document, sources: dict[str, Document]) -> Document:
    source = sources[item["collectionId"]]
    return {
        "id": item["_id"],
        "q": item["q"],
        "a": item.get("a", ""),
        "chunkIndex": item["chunkIndex"],
        "datasetId": item["datasetId"],
        "collectionId": item["collectionId"],
        "sourceName": source.get("name", ""),
        "sourceId": source.get("fileId") or source.get("rawLink") or "",
        "score": item["score"],
    }


def as_number(value: Json, default: float) -> float:
    """A graph's number, as JavaScript's arithmetic would take it."""
    return float(value) if isinstance(value, int | float) else default
