"""Documents that are indexed and found, each once."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import pulumi

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import Collection
from provisioning.clients.http import NotFound
from stack.resources.base import LabResource
from stack.resources.declaration import IGNORED, OUTPUT, SECRET, Lab
from stack.resources.fastgpt.diagnosis import Chain
from stack.resources.fastgpt.indexing import Followed, Indexing
from stack.resources.fastgpt.session import Managed


@dataclass(frozen=True, kw_only=True)
class DocumentsReady(Managed):
    """Waits until documents are indexed and found. `namesakes` counts others of their names."""

    documents: Sequence[Followed]
    search_mode: str = "embedding"
    deadline_minutes: Annotated[float, IGNORED] = 30
    chain: Annotated[Chain | None, SECRET] = None
    generation: str | None = None
    chunks: Annotated[Mapping[str, int] | None, OUTPUT] = None
    namesakes: Annotated[int, OUTPUT] = 0

    @property
    def id(self) -> str:
        """Told by its documents alone."""
        return "documents"

    def create(self, lab: Lab) -> DocumentsReady:
        """Wait for them."""
        with self.client(lab) as client:
            self._tidy(client)
            indexing = Indexing(lab, client, self.documents, self.chain)
            chunks = indexing.follow(float(self.deadline_minutes))
            indexing.search(self.search_mode)
        return replace(self, chunks=chunks, namesakes=0)

    def read(self, lab: Lab) -> DocumentsReady:
        """Those that are indexed now."""
        with self.client(lab) as client:
            found = self._rows(client)
        rows = [(d["name"], found.get(d["collection_id"])) for d in self.documents]
        chunks = {name: row.chunks for name, row in rows if row and row.indexed}
        return replace(self, chunks=chunks, namesakes=len(self._namesakes(found)))

    def drift(self, lab: Lab, wanted: DocumentsReady) -> frozenset[str]:  # noqa: ARG002
        """Documents that are no longer indexed, or there more than once."""
        there = self.chunks or {}
        missing = any(d["name"] not in there for d in wanted.documents)
        shown = {"chunks": missing, "namesakes": bool(self.namesakes)}
        return frozenset(name for name, drifted in shown.items() if drifted)

    def _rows(self, client: FastGptClient) -> dict[str, Collection]:
        """What lies at the top of the documents' bases, by id; nothing of a base that is gone."""
        found: dict[str, Collection] = {}
        for dataset_id in sorted({d["dataset_id"] for d in self.documents}):
            with contextlib.suppress(NotFound):
                client.dataset(dataset_id)
                found |= {row.id: row for row in client.collections(dataset_id)}
        return found

    def _namesakes(self, found: Mapping[str, Collection]) -> list[Collection]:
        """What is called like one of the documents, and is none of them."""
        ours = {d["collection_id"] for d in self.documents}
        names = {d["name"] for d in self.documents}
        others = (row for row in found.values() if row.id not in ours)
        return [row for row in others if names & {row.name, row.link}]

    def _tidy(self, client: FastGptClient) -> None:
        """Take documents out of folders that people put them into, and namesakes away.

        A document that is there twice would be cited twice.
        """
        found = self._rows(client)
        for document in self.documents:
            collection_id = document["collection_id"]
            if collection_id in found:
                continue
            with contextlib.suppress(NotFound):
                client.collection(collection_id, dataset_id=document["dataset_id"])
                client.take_out_of_folder(collection_id)
        homes = {d["name"]: d["dataset_id"] for d in self.documents}
        for other in self._namesakes(found):
            home = homes.get(other.name) or homes[other.link]
            client.delete_collection(other.id, dataset_id=home)


class FastGptDocumentsReady(LabResource, thing=DocumentsReady, token="fastgpt:DocumentsReady"):
    """All documents of a base, indexed and found by a search test.

    Args:
        documents: what to follow: `dataset_id`, `collection_id`, `name` of `FastGptDocument` each.
        search_mode: `embedding`, `fullTextRecall` or `mixedRecall`.
        deadline_minutes: for all of them together.
        chain: ways to tell which link failed.
        generation: any text; a change of it makes them be looked at again.

    Outputs: `chunks`, name -> number of indexed chunks; `namesakes`.
    """

    chunks: pulumi.Output[dict[str, int]]
