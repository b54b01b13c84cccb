"""Following FastGPT's indexing, which has no error state."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import Collection
from provisioning.clients.http import (
    DeadlineExceeded,
    NotFound,
    Refused,
    Unexpected,
    Unreachable,
    Waiting,
)
from stack.resources.fastgpt.diagnosis import Diagnosis
from stack.resources.fastgpt.session import SERVICE, wait

STUCK_SECONDS = 120.0
"""Indexing without a new chunk for so long is looked into."""
SEARCH_SECONDS = 60.0
SEARCH_LENGTH = 200


class Indexing:
    """Follows documents of one base, by name their id, and finds out why they are not indexed."""

    def __init__(
        self,
        client: FastGptClient,
        dataset_id: str,
        documents: Mapping[str, str],
        diagnosis: Diagnosis,
    ) -> None:
        self._client = client
        self._dataset_id = dataset_id
        self._documents = documents
        self._diagnosis = diagnosis
        self._moved = (-1, client.clock.monotonic())

    def follow(self, seconds: float) -> dict[str, int]:
        """Chunks by document, once all are indexed.

        Raises:
            DeadlineExceeded, Refused: with the link of the chain that failed, where one is found.
        """
        try:
            return wait(
                self._client,
                f"{len(self._documents)} documents to be indexed",
                self._look,
                seconds=seconds,
                advice="read `docker logs fastgpt` on the server: a model that fails is logged as "
                "`Embedding Error`, and as `[Error]` with what it answered; or run `pulumi up` "
                "again to go on waiting",
            )
        except DeadlineExceeded as error:
            advice = self._reason(self._rows()) or error.advice
            raise DeadlineExceeded(SERVICE, error.waited_for, error.last_seen, advice) from None

    def search(self) -> None:
        """Have every document found by its own beginning."""
        for name, collection_id in self._documents.items():
            text = ""
            with contextlib.suppress(Refused, Unexpected):
                text = self._client.first_passage(collection_id)
            beginning = (text or PurePosixPath(name).stem)[:SEARCH_LENGTH]
            wait(
                self._client,
                f"a search to find {name}",
                partial(self._search, collection_id, beginning),
                seconds=SEARCH_SECONDS,
                advice="the document is indexed, but its vectors are not found: is the embedding "
                "model of the base still the one that OneAPI serves under its name?",
                tolerate=(Unreachable, Refused),
            )

    def _search(self, collection_id: str, text: str) -> bool | Waiting:
        hits = self._client.search(self._dataset_id, text)
        if any(hit.collection_id == collection_id for hit in hits):
            return True
        return Waiting(f"{len(hits)} other passages for {text[:60]!r}")

    def _look(self) -> dict[str, int] | Waiting:
        rows = self._rows()
        unfinished = [name for name, row in rows.items() if not row.indexed]
        if not unfinished:
            return {name: row.chunks for name, row in rows.items()}
        done = sum(row.chunks for row in rows.values())
        left = sum(row.waiting for row in rows.values())
        if self._stands_still(done) and (reason := self._reason(rows)):
            raise Refused(SERVICE, "index documents", reason)
        return Waiting(f"{done} of {done + left} chunks; still at {', '.join(unfinished[:3])}")

    def _stands_still(self, done: int) -> bool:
        """Whether no chunk came for long; said once, then after as long again."""
        now, (before, since) = self._client.clock.monotonic(), self._moved
        still = done == before and now - since >= STUCK_SECONDS
        if still or done != before:
            self._moved = (done, now)
        return still

    def _rows(self) -> dict[str, Collection]:
        """The documents' rows, by name.

        Raises:
            NotFound: one is not in its base.
        """
        rows = rows_of(self._client, self._dataset_id)
        for name, collection_id in self._documents.items():
            if collection_id not in rows:
                said = "it is not in its base any more; `pulumi up --refresh` uploads it again"
                raise NotFound(SERVICE, f"index {name}", said)
        return {name: rows[collection_id] for name, collection_id in self._documents.items()}

    def _reason(self, rows: Mapping[str, Collection]) -> str:
        unfinished = {name: row.id for name, row in rows.items() if not row.indexed}
        return self._diagnosis.reason(self._dataset_id, unfinished)


def rows_of(client: FastGptClient, dataset_id: str) -> dict[str, Collection]:
    """What lies at the top of a base, by id; nothing where the base is gone."""
    with contextlib.suppress(NotFound):
        client.dataset(dataset_id)
        return {row.id: row for row in client.collections(dataset_id)}
    return {}
