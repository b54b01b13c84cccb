"""The queue that makes vectors, and what is found by them (docs/facts/fastgpt.md §4)."""

import math
import operator
import re
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rehearsal.doubles.fastgpt.chunks import split
from rehearsal.doubles.fastgpt.envelope import SHAPES, Call, Document, Problem, crash, log, picked
from rehearsal.doubles.language import count_tokens

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

_QA = re.compile(r"Q\d+[:：](.*?)A\d+[:：](.*?)(?=\s*Q\d+[:：]|\Z)", re.S)
# Characters of a passage for each token that config.json gives the embedding, the chat model (F1).
OVER_MAX_TOKEN, OVER_MAX_CONTEXT = 1.3, 0.8
RECALLED = {"embedding": (100, 0), "fullTextRecall": (0, 100), "mixedRecall": (80, 60)}
RRF, RERANKED_RRF = 60, 58
TOKENS_OVER = 500  # How far the last quote may go beyond the limit.
_WORD = re.compile(r"[a-z0-9]+|(?=([\u3400-\u9fff]{2}))")


class TrainingQueue:
    """Worker threads over the `trainings` collection, where a chunk that failed stays."""

    modes: tuple[str, ...] = ("chunk", "qa")

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._woken = threading.Condition()
        self._held: set[str] = set()

    def start(self) -> None:
        for mode in self.modes * 4:
            threading.Thread(target=self._work, args=(mode,), daemon=True).start()

    def wake(self) -> None:
        """Look for work now instead of at the next minute."""
        with self._woken:
            self._woken.notify_all()

    def _work(self, mode: str) -> None:
        while True:
            with self._woken:
                while (task := self._free(mode)) is None:
                    self._woken.wait(self._service.environment.retry_seconds)
                self._held.add(task["_id"])
            self._do(task)
            with self._woken:
                self._held.discard(task["_id"])

    def _free(self, mode: str) -> Document | None:
        tasks = self._service.mongo.find("trainings", mode=mode)
        due = (task for task in tasks if task["lockTime"] <= time.time())
        return next((task for task in due if task["_id"] not in self._held), None)

    def _do(self, task: Document) -> None:
        try:
            self._train(task)
        except Exception as error:
            problem = crash(error)
            log(problem.message)
            self._service.mongo.set("trainings", task["_id"], **self._failed(task, problem))

    def _failed(self, task: Document, problem: Problem) -> Document:
        """What becomes of a task that failed: an invalid chunk is locked until the year 2998."""
        wait = 1e11 if problem.is_final else self._service.environment.retry_seconds
        return {"lockTime": time.time() + wait}

    def _train(self, task: Document) -> None:
        self._ask(task) if task["mode"] == "qa" else self._embed(task)

    def _embed(self, task: Document) -> None:
        service = self._service
        text = f"{task['q']}\n{task['a']}" if task["a"] else task["q"]
        vector = service.upstream.embedding(service.config.vector(task["model"]), text)
        if service.mongo.get("dataset_collections", task["collectionId"]) is None:
            return
        of_it = picked(task, "datasetId", "collectionId")
        stored = service.vectors.put("modeldata", {**of_it, "vector": vector})
        data = of_it | picked(task, "q", "a", "chunkIndex", "updateTime")
        service.mongo.put("dataset_datas", {**data, "vectorId": stored["_id"]})
        service.mongo.delete("trainings", _id=task["_id"])

    def _ask(self, task: Document) -> None:
        """Questions and answers for the text; its own chunks, where nobody can read the answer."""
        service = self._service
        content = f"{SHAPES['qa']}\n<Context>\n{task['q']}\n</Context>"
        model = service.config.llm(task["model"])["model"]
        asked = {"model": model, "messages": [{"role": "user", "content": content}]}
        pairs = [(q.strip(), a.strip()) for q, a in _QA.findall(service.upstream.chat(asked))]
        pairs = pairs or [(chunk, "") for chunk in split(task["q"], 512)]
        collection = service.mongo.get("dataset_collections", task["collectionId"])
        if collection is None:
            return
        data = [{"q": q, "a": a, "chunkIndex": task["chunkIndex"]} for q, a in pairs]
        queue(service, {**collection, "trainingType": "chunk"}, data)
        service.mongo.delete("trainings", _id=task["_id"])


def queue(service: "Service", collection: Document, data: list[Document]) -> Document:
    """Put passages (`q`, `a`, `chunkIndex`) into the queue; those that cannot be are told."""
    mode = collection["trainingType"]
    dataset = service.mongo.existing("datasets", collection["datasetId"], "unExistDataset")
    if mode == "qa":
        model = dataset["agentModel"]
        most = service.config.llm(model).get("maxContext", math.inf) * OVER_MAX_CONTEXT
    else:
        model = dataset["vectorModel"]
        most = service.config.vector(model).get("maxToken", math.inf) * OVER_MAX_TOKEN
    names = {"datasetId": dataset["_id"], "collectionId": collection["_id"]}
    task = {**names, "mode": mode, "model": model, "lockTime": 0}
    results: Document = {"insertLen": 0, "overToken": [], "repeat": [], "error": []}
    seen: set[str] = set()
    for given in data:
        item = {**given, "q": _tidied(given["q"]), "a": _tidied(given["a"])}
        text = item["q"] + item["a"]
        if len(item["q"]) > most:
            results["overToken"].append(item)
        elif not item["q"] or text in seen:
            results["repeat" if item["q"] else "error"].append(item)
        else:
            seen.add(text)
            results["insertLen"] += 1
            service.mongo.put("trainings", {**task, **item})
    service.queue.wake()
    return results


def _tidied(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text.strip().replace("\r\n", "\n"))


def search_test(call: Call) -> Document:
    how = {**SHAPES["inputs"], **call.body}
    if not (text := how.get("text")):
        raise Problem("缺少参数")
    dataset = call.mongo.existing("datasets", how.get("datasetId"), "unExistDataset")
    began = time.monotonic()
    found = search(call.service, [dataset["_id"]], text, how)
    used = {"usingReRank": found.reranked, "usingSimilarityFilter": found.filtered}
    told = {"list": found.items, "duration": f"{time.monotonic() - began:.3f}s", **used}
    return {**told, **picked(how, "searchMode", "limit", "similarity")}


class Found(NamedTuple):
    items: list[Document]
    reranked: bool
    filtered: bool
    model: Document


def search(
    service: "Service", dataset_ids: list[str], text: str, how: Mapping[str, Any], history: str = ""
) -> Found:
    """The passages for `text`, asked by the embedding model of the first dataset (F8)."""
    data = [row for row in service.mongo.find("dataset_datas") if row["datasetId"] in dataset_ids]
    dataset = service.mongo.existing("datasets", dataset_ids[0], "unExistDataset")
    model = service.config.vector(dataset["vectorModel"])
    vectors, texts = RECALLED[how["searchMode"]]
    by_vector = _by_vector(service, service.upstream.embedding(model, text), data)[:vectors]
    by_text = _by_text(text, data)[:texts]
    recalled = list({item["_id"]: item for item in by_vector + by_text}.values())
    asked = f"{history}\nHuman: {text}\n" if history else text
    reranked = _rerank(service, asked, recalled, how) if how["usingReRank"] else []
    items = _fused([(RRF, by_vector), (RRF, by_text), (RERANKED_RRF, reranked)])
    counted = "reRank" if reranked else "embedding" if not texts else None

    # One without a score of the kind that counts passes.
    def is_similar(item: Document) -> bool:
        counts = (score["value"] for score in item["score"] if score["type"] == counted)
        return all(value >= how["similarity"] for value in counts)

    quoted = within([*filter(is_similar, items)], how["limit"], TOKENS_OVER)
    shown = [_item(service, item) for item in quoted]
    return Found(shown, bool(reranked), counted is not None, model)


def _by_vector(service: "Service", asked: list[float], data: list[Document]) -> list[Document]:
    stored = {row["_id"]: row["vector"] for row in service.vectors.find("modeldata")}
    service.check_pgvector()
    # The inner product, as the index has it; above 1 for a model that does not normalise.
    pairs = [(stored[item["vectorId"]], item) for item in data if item["vectorId"] in stored]
    return _scored("embedding", [(sum(map(operator.mul, asked, v)), item) for v, item in pairs])


def _by_text(text: str, data: list[Document]) -> list[Document]:
    # For Chinese, pairs of characters, where the real one asks jieba.
    texts = [text, *(f"{item['q']} {item['a']}" for item in data)]
    asked, *said = ({m[1] or m[0] for m in _WORD.finditer(each.lower())} for each in texts)
    scored = [(len(asked & s) / (1 + len(s) / 100), d) for s, d in zip(said, data, strict=True)]
    return _scored("fullText", [(score, item) for score, item in scored if score])


def _scored(kind: str, scored: list[tuple[float, Document]]) -> list[Document]:
    ordered = sorted(scored, key=lambda pair: -pair[0])
    return [
        {**item, "score": [{"type": kind, "value": value, "index": place}]}
        for place, (value, item) in enumerate(ordered)
    ]


def _rerank(
    service: "Service", query: str, items: list[Document], how: Mapping[str, Any]
) -> list[Document]:
    models = service.config.models["reRankModels"] if items else []
    texts = [f"{item['q']}\n{item['a']}" for item in items]
    try:
        model = service.config.reranker(how.get("rerankModel")) if models else {}
        rows = service.upstream.rerank(model, query, texts) if models else []
    except Exception:
        # The search goes on without it.
        log("rerank error")
        return []
    return _scored("reRank", [(score, items[index]) for index, score in rows])


def _fused(lists: list[tuple[int, list[Document]]]) -> list[Document]:
    """Reciprocal rank fusion of what is there; the scores of one item are put together."""
    lists = [(k, ranked) for k, ranked in lists if ranked]
    if len(lists) == 1:
        return lists[0][1]
    joined: dict[str, Document] = {}
    weight: dict[str, float] = defaultdict(float)
    for k, ranked in lists:
        for place, item in enumerate(ranked):
            known = joined.setdefault(item["_id"], {**item, "score": []})
            known["score"] += item["score"]
            weight[item["_id"]] += 1 / (k + place + 1)
    fused = _scored("rrf", [(weight[id_], item) for id_, item in joined.items()])
    return [{**item, "score": joined[item["_id"]]["score"] + item["score"]} for item in fused]


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


def _item(service: "Service", item: Document) -> Document:
    source = service.mongo.get("dataset_collections", item["collectionId"]) or {}
    told = picked(item, "q", "a", "chunkIndex", "datasetId", "collectionId", "score", "updateTime")
    told |= {"id": item["_id"], "tokens": count_tokens(item["q"] + item["a"])}
    return {**told, **source_of(source)}


def source_of(collection: Document) -> Document:
    """Where a passage comes from: a name, and what people can open of it."""
    opened = collection.get("fileId") or collection.get("rawLink")
    told = {"sourceName": collection.get("name", ""), "sourceId": opened}
    return told if opened else picked(told, "sourceName")
