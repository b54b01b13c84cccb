"""Following FastGPT's indexing, which has no error state, and finding out why it stands still."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any

from provisioning.chunks import GROWN
from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import Collection
from provisioning.clients.http import (
    DeadlineExceeded,
    NotFound,
    Refused,
    ServiceError,
    Unauthorized,
    Unexpected,
    Unreachable,
    Waiting,
    wait_until,
)
from provisioning.clients.oneapi import NoChannel, OneApiRelay, UpstreamFailed
from provisioning.clients.xinference import XinferenceClient
from stack.resources.base import LabProvider, Props, say

SERVICE = "FastGPT"
POLL_SECONDS = 2.0
STUCK_SECONDS = 120.0
"""Indexing without a new chunk for so long is looked into."""
SEARCH_SECONDS = 60.0
SEARCH_LENGTH = 200


def indexed(row: Collection) -> bool:
    """Whether a document has chunks, and none is waited for."""
    return row.chunks > 0 and row.waiting == 0


class Indexing:
    """Follows some documents until they are indexed, and finds out why they are not."""

    def __init__(self, provider: LabProvider, client: FastGptClient, props: Props) -> None:
        self._provider = provider
        self._client = client
        self._props = props
        self._documents = [{k: str(v) for k, v in d.items()} for d in props["documents"]]
        self._moved = (-1, client.clock.monotonic())

    def follow(self) -> dict[str, int]:
        """Chunks by document, once all are indexed."""
        try:
            return wait_until(
                f"{len(self._documents)} documents to be indexed",
                self._look,
                service=SERVICE,
                deadline=60 * float(self._props["deadline_minutes"]),
                advice="read `docker logs fastgpt` on the server: a model that fails is logged as "
                "`Embedding Error`, and as `[Error]` with what it answered; or run `pulumi up` "
                "again to go on waiting",
                every=POLL_SECONDS,
                clock=self._client.clock,
                progress=say("documents"),
            )
        except DeadlineExceeded as error:
            reason = self._reason(self._rows())
            raise DeadlineExceeded(
                SERVICE, error.waited_for, error.last_seen, reason or error.advice
            ) from None

    def search(self) -> None:
        """Have every document found by its own beginning."""
        for document in self._documents:
            text = self._beginning(document)
            wait_until(
                f"a search to find {document['name']}",
                self._search_of(document, text),
                service=SERVICE,
                deadline=SEARCH_SECONDS,
                advice="the document is indexed, but its vectors are not found: is the embedding "
                "model of the base still the one that OneAPI serves under its name?",
                every=POLL_SECONDS,
                clock=self._client.clock,
                tolerate=(Unreachable, Refused),
            )

    def _search_of(self, document: Mapping[str, str], text: str) -> Callable[[], bool | Waiting]:
        def look() -> bool | Waiting:
            hits = self._client.search(
                document["dataset_id"], text, mode=str(self._props["search_mode"])
            )
            if any(hit.collection_id == document["collection_id"] for hit in hits):
                return True
            return Waiting(f"{len(hits)} other passages for {text[:60]!r}")

        return look

    def _beginning(self, document: Mapping[str, str]) -> str:
        try:
            text = self._client.first_passage(document["collection_id"])
        except (Refused, Unexpected):
            text = ""
        return (text or PurePosixPath(document["name"]).stem)[:SEARCH_LENGTH]

    def _look(self) -> dict[str, int] | Waiting:
        rows = self._rows()
        self._wake()
        if all(indexed(row) for row in rows.values()):
            return {d["name"]: rows[d["collection_id"]].chunks for d in self._documents}
        done = sum(row.chunks for row in rows.values())
        left = sum(row.waiting for row in rows.values())
        now = self._client.clock.monotonic()
        if done != self._moved[0]:
            self._moved = (done, now)
        elif now - self._moved[1] >= STUCK_SECONDS:
            self._moved = (done, now)
            reason = self._reason(rows)
            if reason:
                raise Refused(SERVICE, "index documents", reason)
        unfinished = [row.name for row in rows.values() if not indexed(row)]
        return Waiting(f"{done} of {done + left} chunks; still at {', '.join(unfinished[:3])}")

    def _wake(self) -> None:
        for dataset_id in sorted({d["dataset_id"] for d in self._documents}):
            self._client.training_queue(dataset_id)

    def _rows(self) -> dict[str, Collection]:
        rows = {
            row.id: row
            for dataset_id in sorted({d["dataset_id"] for d in self._documents})
            for row in self._client.collections(dataset_id)
        }
        for document in self._documents:
            if document["collection_id"] not in rows:
                said = "it is not in its base any more; `pulumi up --refresh` uploads it again"
                raise NotFound(SERVICE, f"index {document['name']}", said)
        return {d["collection_id"]: rows[d["collection_id"]] for d in self._documents}

    def _reason(self, rows: Mapping[str, Collection]) -> str:
        """Which link of the chain failed; "" where none is found."""
        known = self._client.init_data()
        for document in self._documents:
            if indexed(rows[document["collection_id"]]):
                continue
            model = self._client.dataset(document["dataset_id"]).vector_model
            if model not in known.vector:
                return f"embedding model {model} is not in FastGPT's config.json"
            found = self._client.collection(
                document["collection_id"], dataset_id=document["dataset_id"]
            )
            if found.text_length == 0:
                return f"{document['name']}: no text was found in it (a scanned document?)"
            longest = GROWN * found.chunk_size if found.training == "chunk" else 0
            if reason := self._reason_in_chain(model, longest):
                return f"{document['name']}: {reason}"
        return ""

    def _reason_in_chain(self, model: str, longest: int) -> str:
        chain = self._props.get("chain") or {}
        if not chain.get("oneapi") or not chain.get("relay_key"):
            return self._reason_in_xinference(chain, model, listed_only=True)
        relay = OneApiRelay(
            self._provider.address(chain["oneapi"]),
            str(chain["relay_key"]),
            transport=self._provider.transport,
            clock=self._client.clock,
        )
        try:
            with relay:
                relay.probe("embedding", model)
                return _refusal_of_length(relay, model, longest) if longest else ""
        except NoChannel as error:
            return f"OneAPI has no channel for embedding model {model} ({error.answer})"
        except Unauthorized as error:
            return f"OneAPI does not accept FastGPT's key ({error.answer})"
        except UpstreamFailed as error:
            told = self._reason_in_xinference(chain, model, listed_only=False)
            return told or f"what serves {model} fails ({error.answer})"
        except ServiceError as error:
            return f"OneAPI: {error.answer}"

    def _reason_in_xinference(
        self, chain: Mapping[str, Any], model: str, *, listed_only: bool
    ) -> str:
        if not chain.get("xinference"):
            return ""
        client = XinferenceClient(
            self._provider.address(chain["xinference"]),
            transport=self._provider.transport,
            clock=self._client.clock,
        )
        with client:
            state = client.state(model)
        if state.standing == "serving" or (listed_only and state.standing == "absent"):
            return ""
        return f"Xinference does not serve {model} ({state})"


def _refusal_of_length(relay: OneApiRelay, model: str, longest: int) -> str:
    """How a model that embeds a short text refuses one of `longest` characters; "" if not."""
    try:
        relay.embed(model, "字" * longest)
    except UpstreamFailed as error:
        if error.status != HTTPStatus.TOO_MANY_REQUESTS:
            return (
                f"{model} embeds a short text, but none of {longest} characters, which a chunk may "
                f"come to ({error.answer}); FastGPT tries such a chunk for ever. Lower chunkSize"
            )
    return ""
