"""Documents that are indexed and found, each once."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import Collection
from provisioning.clients.http import NotFound
from stack.resources.base import LabResource
from stack.resources.declaration import IGNORED, OUTPUT, SECRET, Lab
from stack.resources.fastgpt.diagnosis import Chain, Diagnosis
from stack.resources.fastgpt.indexing import Followed, Indexing, rows_of
from stack.resources.fastgpt.session import Managed


@dataclass(frozen=True, kw_only=True)
class DocumentsReady(Managed):
    """Waits until documents are indexed and found. `namesakes` counts others of their names."""

    documents: Sequence[Followed]
    deadline_minutes: Annotated[float, IGNORED]
    chain: Annotated[Chain, SECRET]
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
            indexing = Indexing(client, self.documents, Diagnosis(lab, client, self.chain))
            chunks = indexing.follow(60 * self.deadline_minutes)
            indexing.search()
        return replace(self, chunks=chunks, namesakes=0)

    def read(self, lab: Lab) -> DocumentsReady:
        """Those that are indexed now."""
        with self.client(lab) as client:
            found = rows_of(client, self.documents)
        rows = [(d["name"], found.get(d["collection_id"])) for d in self.documents]
        chunks = {name: row.chunks for name, row in rows if row and row.indexed}
        return replace(self, chunks=chunks, namesakes=len(self._namesakes(found)))

    def drift(self, lab: Lab, wanted: DocumentsReady) -> frozenset[str]:  # noqa: ARG002
        """Documents that are no longer indexed, or there more than once."""
        there = self.chunks or {}
        missing = any(d["name"] not in there for d in wanted.documents)
        shown = {"chunks": missing, "namesakes": bool(self.namesakes)}
        return frozenset(name for name, drifted in shown.items() if drifted)

    def _namesakes(self, found: Mapping[str, Collection]) -> list[tuple[str, str]]:
        """What is called like one of the documents, and is none of them: its id, and its base's."""
        ours = {d["collection_id"] for d in self.documents}
        homes = {d["name"]: d["dataset_id"] for d in self.documents}
        others = (row for row in found.values() if row.id not in ours)
        named = ((row.id, homes.get(row.name) or homes.get(row.link)) for row in others)
        return [(id_, home) for id_, home in named if home]

    def _tidy(self, client: FastGptClient) -> None:
        """Take documents out of folders that people put them into, and namesakes away.

        A document that is there twice would be cited twice.
        """
        found = rows_of(client, self.documents)
        for document in self.documents:
            collection_id = document["collection_id"]
            if collection_id not in found:
                with contextlib.suppress(NotFound):
                    client.collection(collection_id, dataset_id=document["dataset_id"])
                    client.take_out_of_folder(collection_id)
        for other, home in self._namesakes(found):
            client.delete_collection(other, dataset_id=home)


class FastGptDocumentsReady(LabResource, thing=DocumentsReady, token="fastgpt:DocumentsReady"):
    """All documents of a base, indexed and found by a search test; one deadline for all.

    Outputs: `chunks`, name -> number of indexed chunks; `namesakes`.
    """
