"""FastGPT's knowledge bases and their documents (`docs/facts/fastgpt.md §3, §4`)."""

import json
import mimetypes
from collections.abc import Mapping
from functools import partial
from typing import TypeAlias
from urllib.parse import quote

from typing_extensions import Unpack

from provisioning.clients.fastgpt.rows import Collection, CollectionDetail, Dataset, Hit, Uploaded
from provisioning.clients.fastgpt.session import Session
from provisioning.clients.http import Json, Request, pages

PAGE_SIZE = 30
UPLOAD_SECONDS = 900.0
DATASET = "/api/core/dataset"
COLLECTION = f"{DATASET}/collection"
Fields: TypeAlias = Mapping[str, Json]
"""How a document is taken in: trainingType, chunkSize, ..."""


class Datasets(Session):
    """The calls about datasets and collections."""

    def datasets(self) -> list[Dataset]:
        """All datasets at the top level."""
        return self._rows(Dataset, self._read(f"{DATASET}/list", {"parentId": None}))

    def dataset(self, dataset_id: str) -> Dataset:
        """One dataset; NotFound where it is not among FastGPT's datasets."""
        return self._one(Dataset, f"{DATASET}/detail", {"id": dataset_id}, self.datasets)

    def create_dataset(self, name: str, *, vector_model: str, agent_model: str) -> str:
        """Make a dataset without an intro; its id. Unknown models become FastGPT's first ones."""
        models = {"vectorModel": vector_model, "agentModel": agent_model}
        body = {"name": name, "parentId": None, "type": "dataset", **models}
        return str(self._call("POST", f"{DATASET}/create", json=body))

    def update_dataset(self, dataset_id: str, *, name: str, agent_model: str, intro: str) -> None:
        """Change what can be changed; the embedding model cannot."""
        # An object here, though create takes a string.
        model = {"model": agent_model}
        body = {"id": dataset_id, "name": name, "intro": intro, "agentModel": model}
        self._call("PUT", f"{DATASET}/update", json=body)

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete it with its documents; one that is not there counts as deleted."""
        self._delete(f"{DATASET}/delete", dataset_id, self.datasets)

    def collections(self, dataset_id: str) -> list[Collection]:
        """All documents of a dataset; asking also wakes the indexing."""
        body = {"datasetId": dataset_id, "pageSize": PAGE_SIZE, "parentId": None, "searchText": ""}

        def read(page: int) -> list[Collection]:
            answer = self._read(f"{COLLECTION}/list", {**body, "pageNum": page + 1})
            return self._rows(Collection, answer.get("data"))

        return list({found.id: found for found in pages(read, PAGE_SIZE)}.values())

    def collection(self, collection_id: str, *, dataset_id: str) -> CollectionDetail:
        """One document; NotFound where it is not in its dataset, or that is gone."""
        path, ours = f"{COLLECTION}/detail", partial(self._listed, dataset_id)
        return self._one(CollectionDetail, path, {"id": collection_id}, ours)

    def upload_file(self, dataset_id: str, name: str, content: bytes, fields: Fields) -> Uploaded:
        """Upload a file; its `name` is what visitors see."""
        # Here, and not for texts and links, `metadata` is overwritten (`docs/facts/measured.md §1
        # F2`).
        form = {"datasetId": dataset_id, **fields}
        form["collectionMetadata"] = form.pop("metadata", {})
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        # The server decodes the name; a bare % would never be answered.
        file = (quote(name, safe=""), content, kind)
        data = {"data": json.dumps(form, ensure_ascii=False)}
        return self._add("localFile", data=data, files={"file": file})

    def add_text(self, dataset_id: str, name: str, text: str, fields: Fields) -> Uploaded:
        """Add a text under a name."""
        body = {"datasetId": dataset_id, "name": name, "text": text, **fields}
        return self._add("text", json=body)

    def add_link(self, dataset_id: str, link: str, fields: Fields) -> Uploaded:
        """Add a web page; FastGPT fetches it before it answers, and a dead one inserts nothing."""
        return self._add("link", json={"datasetId": dataset_id, "link": link, **fields})

    def delete_collection(self, collection_id: str, *, dataset_id: str) -> None:
        """Delete a document; one that is not there counts as deleted."""
        self._delete(f"{COLLECTION}/delete", collection_id, partial(self._listed, dataset_id))

    def take_out_of_folder(self, collection_id: str) -> None:
        """Move a document to the top of its base; only there the list of documents shows it."""
        self._call("PUT", f"{COLLECTION}/update", json={"id": collection_id, "parentId": None})

    def first_passage(self, collection_id: str) -> str:
        """The beginning of a document as it was indexed; "" where there is nothing."""
        body = {"collectionId": collection_id, "pageNum": 1, "pageSize": 1, "searchText": ""}
        rows = self._read(f"{DATASET}/data/list", body).get("data")
        return self._row(Hit, rows[0]).q if rows else ""

    def search(self, dataset_id: str, text: str, *, mode: str = "embedding") -> list[Hit]:
        """A search test for up to 5,000 tokens of passages, however unlike they are."""
        asked = {"datasetId": dataset_id, "text": text, "limit": 5000, "similarity": 0}
        how = {"searchMode": mode, "usingReRank": False, "datasetSearchUsingExtensionQuery": False}
        answer = self._read(f"{DATASET}/searchTest", asked | how)
        # The docs show a list, the code answers an object.
        rows = answer.get("list") if isinstance(answer, dict) else answer
        return self._rows(Hit, rows)

    def _add(self, kind: str, **request: Unpack[Request]) -> Uploaded:
        request["seconds"] = UPLOAD_SECONDS
        return self._row(Uploaded, self._call("POST", f"{COLLECTION}/create/{kind}", **request))

    def _listed(self, dataset_id: str) -> list[Collection]:
        there = any(row.id == dataset_id for row in self.datasets())
        return self.collections(dataset_id) if there else []
