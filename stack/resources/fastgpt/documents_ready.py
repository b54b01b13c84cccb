"""The documents of a base, indexed and found, each once."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from provisioning.clients.errors import NotFound, Refused
from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import Collection
from stack.resources.base import LabResource
from stack.resources.declaration import IGNORED, OUTPUT, SECRET, STEADY, Lab
from stack.resources.fastgpt.indexing import Chain, Indexing, rows_of
from stack.resources.fastgpt.session import Managed


@dataclass(frozen=True, kw_only=True)
class DocumentsReady(Managed):
    """Waits until documents are indexed and found, and what is found reranked.

    `namesakes` counts others of their names; `unranked`: the reranker is not heard any more.
    """

    dataset_id: str
    documents: Mapping[str, str]
    deadline_minutes: Annotated[float, IGNORED]
    chain: Annotated[Chain, SECRET]
    chunks: Annotated[Mapping[str, int] | None, OUTPUT] = None
    # The first of the catalogue's; "" where no app of the base asks for one.
    reranker: str = ""
    namesakes: Annotated[int, OUTPUT, STEADY] = 0
    unranked: Annotated[bool, OUTPUT, STEADY] = False

    def create(self, lab: Lab) -> "DocumentsReady":
        """Wait for them."""
        with self.client(lab) as client:
            self._tidy(client)
            self._try_again(client)
            indexing = self._indexing(lab, client)
            chunks = indexing.follow(60 * self.deadline_minutes)
            indexing.search()
            if self.reranker:
                indexing.rerank(self.reranker)
        return replace(self, chunks=chunks, namesakes=0, unranked=False)

    def read(self, lab: Lab) -> "DocumentsReady":
        """Those that are indexed now."""
        with self.client(lab) as client:
            found = rows_of(client, self.dataset_id)
            rows = {name: found[id_] for name, id_ in self.documents.items() if id_ in found}
            chunks = {name: row.chunks for name, row in rows.items() if row.indexed}
            unranked = bool(self.reranker and chunks) and self._unranked(lab, client)
        namesakes = len(self._namesakes(found))
        return replace(self, chunks=chunks, namesakes=namesakes, unranked=unranked)

    def drift(self, lab: Lab, wanted: "DocumentsReady") -> frozenset[str]:
        """Also documents that are no longer indexed."""
        missing = wanted.documents.keys() - (self.chunks or {}).keys()
        return super().drift(lab, wanted) | ({"chunks"} if missing else set())

    def _indexing(self, lab: Lab, client: FastGptClient) -> Indexing:
        return Indexing(lab, client, self.dataset_id, self.documents, self.chain)

    def _unranked(self, lab: Lab, client: FastGptClient) -> bool:
        # A search that fails says nothing of the reranker.
        with contextlib.suppress(Refused):
            return not self._indexing(lab, client).reranked(self.reranker)
        return self.unranked

    def _namesakes(self, found: Mapping[str, Collection]) -> list[str]:
        """Ids of what is called like one of the documents, and is none of them."""
        others = found.keys() - set(self.documents.values())
        return [id_ for id_ in others if self.documents.keys() & {found[id_].name, found[id_].link}]

    def _tidy(self, client: FastGptClient) -> None:
        """Take documents out of people's folders, and namesakes away, which would be cited too."""
        found = rows_of(client, self.dataset_id)
        for ours in set(self.documents.values()) - found.keys():
            with contextlib.suppress(NotFound):
                client.collection(ours, dataset_id=self.dataset_id)
                client.take_out_of_folder(ours)
        for other in self._namesakes(found):
            client.delete_collection(other, dataset_id=self.dataset_id)

    def _try_again(self, client: FastGptClient) -> None:
        """What FastGPT gave up stays so, until it is told to begin anew."""
        found = rows_of(client, self.dataset_id)
        if any(found[ours].failed for ours in self.documents.values() if ours in found):
            client.retry_training(self.dataset_id)


class FastGptDocumentsReady(LabResource, thing=DocumentsReady, token="fastgpt:DocumentsReady"):
    """All `documents` of a base, name to id, indexed and found by a search test within a deadline.

    A search of them must be reranked by `reranker`, if one is named. Outputs: `chunks`, name to
    number of indexed chunks; `namesakes`; `unranked`.
    """
