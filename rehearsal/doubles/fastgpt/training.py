"""The queue that turns chunks into vectors, and which it takes (docs/facts/fastgpt.md §4)."""

from __future__ import annotations

import math
import re
import threading
import time
from typing import TYPE_CHECKING

from rehearsal.doubles.fastgpt.chunks import length, split
from rehearsal.doubles.fastgpt.envelope import FAILURES, crash, log
from rehearsal.doubles.fastgpt.store import Document
from rehearsal.doubles.fastgpt.upstream import UpstreamError

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

FOR_GOOD = "2998-01-01"
DEFAULT_PROCESSES = 10
MOST_THREADS = 4
CRON_SECONDS = 60.0
QA_PROMPT = (
    "<Context></Context> 标记中是一段文本，学习和分析它，并整理学习成果：\n"
    "- 提出问题并给出每个问题的答案。\n"
    "- 答案需详细完整，尽可能保留原文描述。\n"
    "- 返回多个问题和答案，格式为：\nQ1: 问题。\nA1: 答案。\nQ2:\nA2:"
)
_QA = re.compile(r"Q\d+[:：](.*?)A\d+[:：](.*?)(?=\s*Q\d+[:：]|\Z)", re.S)
OVER_MAX_TOKEN = 1.3
"""Characters of a passage for each token that config.json allows the embedding model (F1)."""
OVER_MAX_CONTEXT = 0.8
"""Characters of a passage for each token of the chat model's context, where it asks about it."""


class TrainingQueue:
    """Worker threads over the `trainings` collection, one kind per mode.

    It has no error state: a chunk that failed stays, locked for a minute, for which
    `REHEARSAL_RETRY_SECONDS` stands, or for good when the upstream called it invalid.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._woken = threading.Condition()
        self._claiming = threading.Lock()
        self._held: set[str] = set()
        self._wakes = 0

    def start(self) -> None:
        """Begin to work: `vectorMaxProcess` chunks at a time, `qaMaxProcess` questions."""
        for mode, setting in (("chunk", "vectorMaxProcess"), ("qa", "qaMaxProcess")):
            asked = int(self._service.config.system_env.get(setting) or DEFAULT_PROCESSES)
            for _ in range(min(asked, MOST_THREADS)):
                threading.Thread(target=self._work, args=(mode,), daemon=True).start()

    def wake(self) -> None:
        """Look for work now instead of at the next minute."""
        with self._woken:
            self._wakes += 1
            self._woken.notify_all()

    def _work(self, mode: str) -> None:
        while True:
            seen = self._wakes
            task = self._claim(mode)
            if task is None:
                self._wait(mode, seen)
            else:
                self._do(task)

    def _wait(self, mode: str, seen: int) -> None:
        """Until a lock ends, or somebody has woken the queue since the look at it with `seen`."""
        locked = self._service.mongo.find("trainings", mode=mode)
        due = [task["lockTime"] for task in locked if task["lockTime"] != FOR_GOOD]
        soonest = min(due, default=time.time() + CRON_SECONDS)
        left = max(0.05, soonest + self._service.environment.retry_seconds - time.time())
        with self._woken:
            self._woken.wait_for(lambda: self._wakes != seen, min(left, CRON_SECONDS))

    def _claim(self, mode: str) -> Document | None:
        """A task that nobody holds; it is locked from now on."""
        mongo = self._service.mongo
        free_before = time.time() - self._service.environment.retry_seconds
        with self._claiming:
            for task in mongo.find("trainings", mode=mode):
                if task["_id"] in self._held or task["lockTime"] == FOR_GOOD:
                    continue
                if task["lockTime"] <= free_before:
                    self._held.add(task["_id"])
                    return mongo.put("trainings", {**task, "lockTime": time.time()})
        return None

    def _do(self, task: Document) -> None:
        try:
            if task["mode"] == "qa":
                self._make_questions(task)
            else:
                self._make_vectors(task)
        except FAILURES as error:
            problem = crash(error)
            upstream = problem if isinstance(problem, UpstreamError) else None
            log("Error", upstream.logged if upstream else problem.message)
            self._keep(task, for_good=upstream is not None and _is_invalid(upstream))
        finally:
            with self._claiming:
                self._held.discard(task["_id"])

    def _keep(self, task: Document, *, for_good: bool) -> None:
        mongo = self._service.mongo
        with self._claiming:
            if mongo.get("trainings", task["_id"]) is not None:
                lock = FOR_GOOD if for_good else time.time()
                mongo.put("trainings", {**task, "lockTime": lock})

    def _make_vectors(self, task: Document) -> None:
        service = self._service
        text = f"{task['q']}\n{task['a']}" if task["a"] else task["q"]
        model = service.config.vector(task["model"])
        vector = service.upstream.embedding(model, text, storing=True)
        if not self._still_wanted(task):
            return
        names = ("teamId", "tmbId", "datasetId", "collectionId", "q", "a", "chunkIndex")
        data = {name: task[name] for name in names}
        row = {"vector": vector, "team_id": data["teamId"], "dataset_id": data["datasetId"]}
        row["collection_id"] = data["collectionId"]
        data_id = service.vectors.put("modeldata", row)["_id"]
        index = {"defaultIndex": True, "text": text, "dataId": data_id}
        service.mongo.put("dataset_datas", {**data, "indexes": [index]})
        service.mongo.delete("trainings", _id=task["_id"])

    def _make_questions(self, task: Document) -> None:
        service = self._service
        model = service.config.llm(task["model"])
        prompt = task.get("prompt") or QA_PROMPT
        content = f"{prompt}\n<Context>\n{task['q']}\n</Context>"
        answer = service.upstream.chat(
            {
                **(model.get("defaultConfig") or {}),
                "model": model.get("model"),
                "temperature": 0.3,
                "messages": [{"role": "user", "content": content}],
            }
        )
        pairs = [(q.strip(), a.strip()) for q, a in _QA.findall(answer)]
        if not pairs:
            # The real one falls back to the text's own chunks when it cannot read the answer.
            pairs = [(chunk, "") for chunk in split(task["q"], 512)]
        if not self._still_wanted(task):
            return
        dataset = service.mongo.get("datasets", task["datasetId"])
        collection = service.mongo.get("dataset_collections", task["collectionId"])
        data = [{"q": q, "a": a, "chunkIndex": task["chunkIndex"]} for q, a in pairs]
        queue(service, dataset, {**collection, "trainingType": "chunk"}, data)
        service.mongo.delete("trainings", _id=task["_id"])

    def _still_wanted(self, task: Document) -> bool:
        """Whether the collection was not deleted meanwhile."""
        mongo = self._service.mongo
        return mongo.get("dataset_collections", task["collectionId"]) is not None


def _is_invalid(error: UpstreamError) -> bool:
    """What the real queue never tries again (`checkInvalidChunkAndLock`)."""
    return (
        error.type == "invalid_request_error"
        or error.upstream_code == 500
        or error.logged == "invalid message format"
    )


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
