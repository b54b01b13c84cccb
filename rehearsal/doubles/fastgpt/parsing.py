"""The queue of the current edition: it also reads the documents, and gives up at last
(docs/facts/fastgpt-current-measured.md §2)."""

import base64
import hashlib
import ipaddress
import time
from urllib.parse import urlsplit

from rehearsal.doubles.fastgpt.chunks import split
from rehearsal.doubles.fastgpt.documents import fetched, file_text
from rehearsal.doubles.fastgpt.envelope import Document, Problem
from rehearsal.doubles.fastgpt.index import TrainingQueue
from rehearsal.doubles.fastgpt.store import now

TRIES = 5


def has_failed(task: Document) -> bool:
    """Whether it had its last try."""
    return int(task.get("retryCount", TRIES)) <= 0


class ParsingQueue(TrainingQueue):
    """A task counts its tries down; at 0 it stays with its error, which is final."""

    modes = ("parse", "chunk", "qa")

    def _train(self, task: Document) -> None:
        self._parse(task) if task["mode"] == "parse" else super()._train(task)

    def _failed(self, task: Document, problem: Problem) -> Document:
        left = task.get("retryCount", TRIES) - 1
        # Parsing is tried again at once, embedding after about three minutes.
        wait = 0 if task["mode"] == "parse" else self._service.environment.retry_seconds
        due = time.time() + (wait if left else 1e11)
        return {"retryCount": left, "errorMsg": problem.message, "lockTime": due}

    def _parse(self, task: Document) -> None:
        service = self._service
        row = service.mongo.get("dataset_collections", task["collectionId"])
        dataset = service.mongo.get("datasets", task["datasetId"])
        if row is None or dataset is None:
            service.mongo.delete("trainings", _id=task["_id"])
            return
        title, text = self._text(row)
        digest = hashlib.sha256(text.encode()).hexdigest()
        told = {"rawTextLength": len(text), "hashRawText": digest, "updateTime": now()}
        told |= {"name": title} if title else {}
        service.mongo.set("dataset_collections", row["_id"], **told)
        mode = row["trainingType"]
        model = dataset["agentModel" if mode == "qa" else "vectorModel"]
        pieces = (piece.strip() for piece in split(text, row.get("chunkSize", 1000)))
        for place, piece in enumerate(filter(None, pieces)):
            told = {"mode": mode, "model": model, "q": piece, "chunkIndex": place, "lockTime": 0}
            of_it = {**task, **told, "updateTime": now(), "retryCount": TRIES}
            del of_it["_id"]
            service.mongo.put("trainings", of_it)
        service.mongo.delete("trainings", _id=task["_id"])
        self.wake()

    def _text(self, row: Document) -> tuple[str, str]:
        """Title and text of a web page, or the text of a file. A Problem: it cannot be read."""
        if row["type"] == "link":
            return fetched(self._checked(row["rawLink"]))
        kept = self._service.mongo.get("s3", row["fileId"])
        if kept is None:
            raise Problem("NoSuchKey")
        return "", file_text(row["file"]["filename"], base64.b64decode(kept["content"]))

    def _checked(self, link: str) -> str:
        host = urlsplit(link).hostname or ""
        try:
            address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        except ValueError:
            return link
        is_refused = self._service.environment.refuses_internal and address.is_private
        if address.is_loopback or is_refused:
            raise Problem("Cannot fetch internal url")
        return link
