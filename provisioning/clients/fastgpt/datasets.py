"""FastGPT's knowledge bases and their documents (`docs/facts/fastgpt.md §3, §4`,
`docs/facts/fastgpt-current-measured.md §5`)."""

import json
import mimetypes
from abc import abstractmethod
from collections.abc import Iterable
from functools import partial
from urllib.parse import quote

from typing_extensions import Unpack

from provisioning.clients.fastgpt.rows import (
    Collection,
    CollectionDetail,
    Dataset,
    Hit,
    Intake,
    Uploaded,
)
from provisioning.clients.fastgpt.session import Session
from provisioning.clients.http import Json, Request, pages

PAGE_SIZE = 30
UPLOAD_SECONDS = 900.0
# A reranker reads up to a hundred passages, on a CPU too.
SEARCH_SECONDS = 120.0
DATASET = "/api/core/dataset"
COLLECTION = f"{DATASET}/collection"


class Datasets(Session):
    """The calls about datasets and collections."""

    @abstractmethod
    def _agent_model(self, name: str) -> Json:
        """The model that processes files, as an update takes it."""

    @abstractmethod
    def _fields(self, intake: Intake, *, file: bool) -> dict[str, Json]:
        """How a document is taken in, as FastGPT says it."""

    @abstractmethod
    def _page(self, dataset_id: str, page: int) -> Iterable[Json]:
        """A page of `PAGE_SIZE` documents at the top of a dataset, from 0."""

    @abstractmethod
    def first_passage(self, collection_id: str) -> str:
        """The beginning of a document as it was indexed; "" where there is nothing."""

    @abstractmethod
    def add_text(self, dataset_id: str, name: str, text: str, intake: Intake) -> Uploaded:
        """Add a text under a name."""

    @abstractmethod
    def training_errors(self, collection_id: str) -> list[str]:
        """Why parts of a document were given up; none where FastGPT does not tell."""

    @abstractmethod
    def retry_training(self, dataset_id: str) -> None:
        """Have what was given up in a dataset tried again."""

    def datasets(self) -> list[Dataset]:
        """All datasets at the top level."""
        return self._rows(Dataset, self._read(f"{DATASET}/list", {"parentId": None}))

    def dataset(self, dataset_id: str) -> Dataset:
        """One dataset; NotFound where it is not among FastGPT's datasets."""
        return self._one(Dataset, f"{DATASET}/detail", {"id": dataset_id}, self.datasets)

    def create_dataset(self, name: str, *, vector_model: str, agent_model: str) -> str:
        """Make a dataset without an intro; its id. Unknown models become FastGPT's own choice."""
        models = {"vectorModel": vector_model, "agentModel": agent_model}
        card = {"name": name, "intro": "", "avatar": "/icon/logo.svg"}
        body = {**card, "parentId": None, "type": "dataset", **models}
        return str(self._call("POST", f"{DATASET}/create", json=body))

    def update_dataset(self, dataset_id: str, *, name: str, agent_model: str, intro: str) -> None:
        """Change what can be changed; the embedding model cannot."""
        model = self._agent_model(agent_model)
        body = {"id": dataset_id, "name": name, "intro": intro, "agentModel": model}
        self._call("PUT", f"{DATASET}/update", json=body)

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete it with its documents; one that is not there counts as deleted."""
        self._delete(f"{DATASET}/delete", dataset_id, self.datasets)

    def collections(self, dataset_id: str) -> list[Collection]:
        """All documents of a dataset; asking also wakes the indexing."""

        def read(page: int) -> list[Collection]:
            return self._rows(Collection, self._page(dataset_id, page))

        return list({found.id: found for found in pages(read, PAGE_SIZE)}.values())

    def collection(self, collection_id: str, *, dataset_id: str) -> CollectionDetail:
        """One document; NotFound where it is not in its dataset, or that is gone."""
        path, ours = f"{COLLECTION}/detail", partial(self._listed, dataset_id)
        return self._one(CollectionDetail, path, {"id": collection_id}, ours)

    def upload_file(self, dataset_id: str, name: str, content: bytes, intake: Intake) -> Uploaded:
        """Upload a file; its `name` is what visitors see."""
        form = {"datasetId": dataset_id, **self._fields(intake, file=True)}
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        # The server decodes the name; 4.8.8 would never answer a bare %.
        file = (quote(name, safe=""), content, kind)
        data = {"data": json.dumps(form, ensure_ascii=False)}
        return self._add("localFile", data=data, files={"file": file})

    def add_link(self, dataset_id: str, link: str, intake: Intake) -> Uploaded:
        """Add a web page, which FastGPT fetches itself."""
        fields = self._fields(intake, file=False)
        return self._add("link", json={"datasetId": dataset_id, "link": link, **fields})

    def delete_collection(self, collection_id: str, *, dataset_id: str) -> None:
        """Delete a document; one that is not there counts as deleted."""
        self._delete(f"{COLLECTION}/delete", collection_id, partial(self._listed, dataset_id))

    def rename_collection(self, collection_id: str, name: str) -> None:
        """Another name for a document."""
        self._call("PUT", f"{COLLECTION}/update", json={"id": collection_id, "name": name})

    def take_out_of_folder(self, collection_id: str) -> None:
        """Move a document to the top of its base; only there the list of documents shows it."""
        self._call("PUT", f"{COLLECTION}/update", json={"id": collection_id, "parentId": None})

    def search(self, dataset_id: str, text: str, *, mode: str = "embedding") -> list[Hit]:
        """A search test for up to 5,000 tokens of passages, however unlike they are."""
        answer = self._searched(dataset_id, text, searchMode=mode, usingReRank=False)
        # The docs show a list, the code answers an object.
        rows = answer.get("list") if isinstance(answer, dict) else answer
        return self._rows(Hit, rows)

    def reranks(self, dataset_id: str, text: str, reranker: str) -> bool:
        """Whether a search test is reranked: a failure of the reranker is told by that alone.

        4.8.8 knows no name of one, and takes its first.
        """
        how = {"searchMode": "embedding", "usingReRank": True, "rerankModel": reranker}
        found = self._searched(dataset_id, text, **how)
        return isinstance(found, dict) and found.get("usingReRank") is True

    def _searched(self, dataset_id: str, text: str, **how: Json) -> Json:
        asked = {"datasetId": dataset_id, "text": text, "limit": 5000, "similarity": 0}
        how["datasetSearchUsingExtensionQuery"] = False
        return self._read(f"{DATASET}/searchTest", asked | how, seconds=SEARCH_SECONDS)

    def _add(self, kind: str, **request: Unpack[Request]) -> Uploaded:
        request["seconds"] = UPLOAD_SECONDS
        return self._row(Uploaded, self._call("POST", f"{COLLECTION}/create/{kind}", **request))

    def _listed(self, dataset_id: str) -> list[Collection]:
        there = any(row.id == dataset_id for row in self.datasets())
        return self.collections(dataset_id) if there else []
