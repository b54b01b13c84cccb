"""Following FastGPT's indexing, and why it stands still: few errors of it are told, and late."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import TypedDict

import pulumi
from typing_extensions import NotRequired

from provisioning import remote
from provisioning.chunks import GROWN
from provisioning.clients.errors import (
    DeadlineExceeded,
    NotFound,
    Refused,
    ServiceError,
    Unauthorized,
    Unexpected,
    Unreachable,
)
from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import Collection
from provisioning.clients.oneapi import NoChannel, OneApiRelay, UpstreamFailed
from provisioning.clients.waiting import Waiting
from provisioning.clients.xinference import XinferenceClient
from stack.resources.declaration import Endpoint, Lab
from stack.resources.fastgpt.document import no_text
from stack.resources.fastgpt.session import NOT_RERANKED, SERVICE, wait

STUCK_SECONDS = 60.0
"""Indexing without a new chunk for so long is looked into."""
SEARCH_SECONDS = 60.0
SEARCH_LENGTH = 200
LOG_LINES = 500
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


class Chain(TypedDict):
    """Read-only ways to find out which link of the chain to the model failed."""

    oneapi: Endpoint
    relay_key: pulumi.Input[str]
    xinference: NotRequired[Endpoint]
    xinference_key: NotRequired[pulumi.Input[str]]


@dataclass
class Indexing:
    """Follows documents of one base, by name their id, and finds out why they are not indexed."""

    lab: Lab
    client: FastGptClient
    dataset_id: str
    documents: Mapping[str, str]
    chain: Chain
    # Chunks when they last were more, and when that was.
    _moved: tuple[int, float] = field(default=(-1, 0.0), init=False)
    # Documents without a chunk, as the last look found them.
    _blank: frozenset[str] = field(default=frozenset(), init=False)

    def follow(self, seconds: float) -> dict[str, int]:
        """Chunks by document, once all are indexed; the error names the link that failed."""
        try:
            return wait(
                f"{len(self.documents)} documents to be indexed",
                self._look,
                clock=self.client.clock,
                deadline=seconds,
                advice=f"{self.client.stuck_advice}; or run `pulumi up` again to go on waiting",
            )
        except DeadlineExceeded as error:
            advice = self._reason(self._rows()) or self._logged() or error.advice
            raise DeadlineExceeded(SERVICE, error.waited_for, error.last_seen, advice) from None

    def search(self) -> None:
        """Have every document found by its own beginning."""
        for name, collection_id in self.documents.items():
            text = ""
            with contextlib.suppress(Refused, Unexpected):
                text = self.client.first_passage(collection_id)
            beginning = (text or PurePosixPath(name).stem)[:SEARCH_LENGTH]
            wait(
                f"a search to find {name}",
                partial(self._search, collection_id, beginning),
                clock=self.client.clock,
                deadline=SEARCH_SECONDS,
                advice="the document is indexed, but its vectors are not found: is the embedding "
                "model of the base still the one that OneAPI serves under its name?",
                tolerate=(Unreachable, Refused),
            )

    def rerank(self, reranker: str) -> None:
        """Have a search reranked."""
        wait(
            f"{reranker} to rerank what a search finds",
            lambda: self.reranked(reranker) or Waiting("FastGPT searched without it"),
            clock=self.client.clock,
            deadline=SEARCH_SECONDS,
            advice=NOT_RERANKED,
            tolerate=(Unreachable, Refused),
        )

    def reranked(self, reranker: str) -> bool:
        """Whether a search is."""
        text = PurePosixPath(next(iter(self.documents))).stem
        return self.client.reranks(self.dataset_id, text, reranker)

    def _search(self, collection_id: str, text: str) -> bool | Waiting:
        hits = self.client.search(self.dataset_id, text)
        if any(hit.collection_id == collection_id for hit in hits):
            return True
        return Waiting(f"{len(hits)} other passages for {text[:60]!r}")

    def _look(self) -> dict[str, int] | Waiting:
        rows = self._rows()
        self._refuse_given_up(rows)
        unfinished = [name for name, row in rows.items() if not row.indexed]
        if not unfinished:
            return {name: row.chunks for name, row in rows.items()}
        done = sum(row.chunks for row in rows.values())
        left = sum(row.waiting for row in rows.values())
        now, (before, since) = self.client.clock.monotonic(), self._moved
        stuck = done == before and now - since >= STUCK_SECONDS
        if stuck or done != before:
            # Said once, then after as long again.
            self._moved = (done, now)
        if stuck and (reason := self._reason(rows)):
            said = "; ".join(filter(None, [reason, self._logged()]))
            raise Refused(SERVICE, "index documents", said)
        seen = f"{done} of {done + left} chunks; still at {', '.join(unfinished[:3])}"
        return Waiting(f"{seen}; {self._logged() or self.client.stuck_advice}" if stuck else seen)

    def _logged(self) -> str:
        """What FastGPT's log says of a failing embedding, in words of ours; "" if nothing."""
        log = ""
        with contextlib.suppress(ServiceError):
            log = remote.last_log(self.lab.server(self.chain["oneapi"]), "fastgpt", LOG_LINES)
        told = list(self.client.embedding_failed.finditer(_COLOUR.sub("", log)))
        if not told:
            return ""
        model = told[-1].groupdict().get("model")
        which = f"embedding model {model}" if model else "an embedding"
        return f"FastGPT logs that {which} failed: `docker logs fastgpt` on the server says how"

    def _refuse_given_up(self, rows: Mapping[str, Collection]) -> None:
        for name, row in rows.items():
            if row.failed:
                told = "; ".join(self.client.training_errors(row.id)) or "it does not say why"
                again = "`pulumi up` has it tried again"
                if row.link:
                    again = f"FastGPT must reach the page from the server; {again}"
                raise Refused(SERVICE, f"index {name}", f"FastGPT gave it up: {told}; {again}")
            # A chunk that is just being moved is in neither count.
            if row.empty and name in self._blank:
                raise Refused(SERVICE, f"index {name}", no_text(link=bool(row.link)))
        self._blank = frozenset(name for name, row in rows.items() if row.empty)

    def _rows(self) -> dict[str, Collection]:
        """The documents' rows, by name; NotFound where one is not in its base."""
        rows = rows_of(self.client, self.dataset_id)
        for name, collection_id in self.documents.items():
            if collection_id not in rows:
                said = "it is not in its base any more; `pulumi up --refresh` uploads it again"
                raise NotFound(SERVICE, f"index {name}", said)
        return {name: rows[collection_id] for name, collection_id in self.documents.items()}

    def _reason(self, rows: Mapping[str, Collection]) -> str:
        """Which link failed for the first document that tells; "" where none is found."""
        model = self.client.dataset(self.dataset_id).vector_model
        for name, row in rows.items():
            if row.indexed:
                continue
            found = self.client.collection(row.id, dataset_id=self.dataset_id)
            longest = GROWN * found.chunk_size if found.training == "chunk" else 0
            if reason := self._reason_in_oneapi(model, longest):
                return f"{name}: {reason}"
        return ""

    def _reason_in_oneapi(self, model: str, longest: int) -> str:
        address, key = self.lab.address(self.chain["oneapi"]), str(self.chain["relay_key"])
        try:
            with OneApiRelay(address, key, **self.lab.options) as relay:
                relay.probe("embedding", model)
                return _refusal_of_length(relay, model, longest) if longest else ""
        except NoChannel as error:
            return f"OneAPI has no channel for embedding model {model} ({error.answer})"
        except Unauthorized as error:
            return f"OneAPI does not accept FastGPT's key ({error.answer})"
        except UpstreamFailed as error:
            told = self._reason_in_xinference(model)
            return told or f"what serves {model} fails ({error.answer})"
        except ServiceError as error:
            return f"OneAPI: {error.answer}"

    def _reason_in_xinference(self, model: str) -> str:
        if "xinference" not in self.chain:
            return ""
        address = self.lab.address(self.chain["xinference"])
        key = str(self.chain["xinference_key"])
        with XinferenceClient(address, key, **self.lab.options) as client:
            state = client.state(model)
        serving = state.standing == "serving"
        return "" if serving else f"Xinference does not serve {model} ({state})"


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


def rows_of(client: FastGptClient, dataset_id: str) -> dict[str, Collection]:
    """What lies at the top of a base, by id; nothing where the base is gone."""
    with contextlib.suppress(NotFound):
        client.dataset(dataset_id)
        return {row.id: row for row in client.collections(dataset_id)}
    return {}
