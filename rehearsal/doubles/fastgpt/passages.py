"""The passages of a collection, called data (facts/fastgpt.md §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rehearsal.doubles.fastgpt.admission import queue
from rehearsal.doubles.fastgpt.auth import session_or_key
from rehearsal.doubles.fastgpt.call import Call
from rehearsal.doubles.fastgpt.envelope import Json, Problem
from rehearsal.doubles.fastgpt.store import Document, existing, find
from rehearsal.doubles.fastgpt.training import index_texts, write_data

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

MOST_PUSHED = 200
MOST_PER_PAGE = 30


def push_data(service: Service, call: Call) -> Document:
    """POST /api/core/dataset/data/pushData {collectionId, trainingMode, data}, 200 at most."""
    session_or_key(service, call)
    data = call.body.get("data")
    if not isinstance(data, list):
        raise Problem("collectionId or data is empty")
    if len(data) > MOST_PUSHED:
        raise Problem("Data is too long, max 200")
    collection = collection_of(service, call.body.get("collectionId"))
    dataset = existing(service.mongo, "datasets", collection["datasetId"], "unExistDataset")
    asked = {"trainingType": call.body.get("trainingMode") or "chunk"}
    prompt = {"qaPrompt": call.body.get("prompt")}
    return queue(service, dataset, {**collection, **asked, **prompt}, data)


def list_data(service: Service, call: Call) -> Document:
    """POST /api/core/dataset/data/list {collectionId, pageNum, pageSize, searchText}."""
    session_or_key(service, call)
    body = call.body
    collection = collection_of(service, body.get("collectionId"))
    page = int(body.get("pageNum") or 1)
    size = min(int(body.get("pageSize") or 10), MOST_PER_PAGE)
    wanted = str(body.get("searchText") or "").lower()
    rows = [
        row
        for row in find(service.mongo, "dataset_datas", collectionId=collection["_id"])
        if wanted in row["q"].lower() or wanted in row["a"].lower()
    ]
    rows.sort(key=lambda row: row["chunkIndex"])
    names = ("_id", "datasetId", "collectionId", "q", "a", "chunkIndex")
    shown = rows[(page - 1) * size : page * size]
    data = [{name: row[name] for name in names} for row in shown]
    return {"pageNum": page, "pageSize": size, "total": len(rows), "data": data}


def data_detail(service: Service, call: Call) -> Document:
    """GET /api/core/dataset/data/detail?id=."""
    session_or_key(service, call)
    row = _passage(service, call.query.get("id"))
    names = ("q", "a", "chunkIndex", "indexes", "datasetId", "collectionId")
    return {"id": row["_id"], **{name: row[name] for name in names}}


def update_data(service: Service, call: Call) -> None:
    """PUT /api/core/dataset/data/update {id, q, a?, indexes?}: embedded again at once."""
    session_or_key(service, call)
    row = _passage(service, call.body.get("id"))
    dataset = existing(service.mongo, "datasets", row["datasetId"], "unExistDataset")
    q, a = call.body.get("q") or row["q"], call.body.get("a", row["a"]) or ""
    model = service.config.vector(dataset["vectorModel"])
    texts = index_texts(q, a, call.body.get("indexes"))
    vectors = [service.upstream.embedding(model, text, storing=True) for text in texts]
    write_data(service.mongo, service.vectors, {**row, "q": q, "a": a}, texts, vectors)


def delete_data(service: Service, call: Call) -> None:
    """DELETE /api/core/dataset/data/delete?id=."""
    session_or_key(service, call)
    row = _passage(service, call.query.get("id"))
    for index in row["indexes"]:
        service.vectors.delete("modeldata", index["dataId"])
    service.mongo.delete("dataset_datas", row["_id"])


def collection_of(service: Service, id_: Json) -> Document:
    """The collection with that id, as it is stored.

    Raises:
        Problem: there is none; an HTTP 500, unlike a dataset's (measured.md §1).
    """
    return existing(service.mongo, "dataset_collections", id_, "Collection is not exist")


def _passage(service: Service, id_: Json) -> Document:
    return existing(service.mongo, "dataset_datas", id_, "core.dataset.error.Data not found")
