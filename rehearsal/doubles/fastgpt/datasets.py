"""Datasets, and their documents, called collections (docs/facts/fastgpt.md §4, §8)."""

import hashlib
import json
import os
import re
import secrets
from urllib.parse import unquote

import httpx

from rehearsal.doubles.fastgpt.chunks import split
from rehearsal.doubles.fastgpt.documents import file_text, html_text
from rehearsal.doubles.fastgpt.envelope import SHAPES, Call, Document, Json, Problem, picked
from rehearsal.doubles.fastgpt.index import queue, source_of
from rehearsal.doubles.fastgpt.store import now, object_id

MOST_PER_PAGE = 30
LINK_SECONDS = 20.0


def create_dataset(call: Call) -> str:
    """POST /api/core/dataset/create: the id; `intro` is ignored (docs/facts/measured.md §1 F4)."""
    given = picked(call.body, "name", "type", "vectorModel", "agentModel", "parentId")
    kept = {**SHAPES["dataset"], **call.owner, **given, "updateTime": now()}
    return str(call.mongo.put("datasets", kept)["_id"])


def dataset_detail(call: Call) -> Document:
    """GET /api/core/dataset/detail?id=: the models are those that the names resolve to today."""
    return _shown(call, _dataset(call, call.query.get("id")))


def list_datasets(call: Call) -> list[Document]:
    """POST /api/core/dataset/list {parentId}."""
    rows = call.mongo.find("datasets", parentId=call.body.get("parentId"))
    shown = [_shown(call, row) for row in reversed(rows)]
    return [picked(dataset, *SHAPES["listed"]["dataset"]) for dataset in shown]


def update_dataset(call: Call) -> None:
    """PUT /api/core/dataset/update {id, name, intro, agentModel: {model}}: an object here."""
    dataset = _dataset(call, call.body.get("id"))
    changed = picked(call.body, "name", "intro")
    if "agentModel" in call.body:
        changed["agentModel"] = call.body["agentModel"]["model"]
    call.mongo.put("datasets", {**dataset, **changed})


def delete_dataset(call: Call) -> None:
    """DELETE /api/core/dataset/delete?id=: with all that is in it."""
    id_ = _dataset(call, call.query.get("id"))["_id"]
    call.service.vectors.delete("modeldata", dataset_id=id_)
    for table in ("trainings", "dataset_datas", "dataset_collections"):
        call.mongo.delete(table, datasetId=id_)
    call.mongo.delete("datasets", _id=id_)


def training_queue(call: Call) -> Document:
    """GET /api/core/dataset/training/getDatasetTrainingQueue?datasetId=."""
    id_ = _dataset(call, call.query.get("datasetId"))["_id"]
    waiting = len(call.mongo.find("trainings", datasetId=id_))
    return {"rebuildingCount": 0, "trainingCount": waiting}


def _dataset(call: Call, id_: Json) -> Document:
    return call.mongo.existing("datasets", id_, "unExistDataset")


def _shown(call: Call, dataset: Document) -> Document:
    config = call.service.config
    told = {"vectorModel": config.vector(dataset["vectorModel"])}
    told["agentModel"] = config.llm(dataset["agentModel"])
    return {**dataset, **told, "permission": SHAPES["permission"]}


def create_from_file(call: Call) -> Document:
    """POST .../collection/create/localFile: a form with `file` and `data`, a JSON string.

    `metadata` in it is dropped, `collectionMetadata` kept (docs/facts/measured.md §1 F2).
    """
    assert call.file
    sent, content, kind = call.file
    if re.search(r"%(?![0-9A-Fa-f]{2})", sent):
        # The real one never answers, for it throws where nobody listens (F7).
        raise Problem("URI malformed")
    name = unquote(sent)
    body = json.loads(call.body["data"])
    text = file_text(name, content)
    metadata = {**body.get("fileMetadata", {}), **call.owner, "encoding": "utf-8"}
    file = {"_id": object_id(), "filename": name, "contentType": kind, "metadata": metadata}
    size: Document = {"length": len(content), "chunkSize": 261120, "uploadDate": now()}
    metadata = {**body.get("collectionMetadata", {}), "relatedImgId": secrets.token_hex(6)}
    source = {"type": "file", "name": name, "metadata": metadata}
    source |= {"fileId": file["_id"], "file": {**file, **size}}
    return _cut_and_queued(call, body, source, text)


def create_from_text(call: Call) -> Document:
    """POST .../collection/create/text {text, name, metadata}."""
    source = {"type": "virtual", **picked(call.body, "name", "metadata")}
    return _cut_and_queued(call, call.body, source, call.body["text"])


def create_from_link(call: Call) -> Document:
    """POST .../collection/create/link {link, metadata}: it tells nothing but `insertLen`."""
    link = call.body["link"]
    title, text = _page(link)
    source = {"type": "link", "name": title or link, "rawLink": link}
    source |= picked(call.body, "metadata")
    made = _cut_and_queued(call, call.body, source, text)
    return {**made, "results": {"insertLen": made["results"]["insertLen"]}}


def create_empty(call: Call) -> str:
    """POST .../collection/create {datasetId, name, type: folder}: what people tidy with."""
    return str(_insert(call, call.body, picked(call.body, "type", "name"), "")["_id"])


def _page(link: str) -> tuple[str, str]:
    """Title and text of a page; a page that cannot be had is an empty one, as in the real one."""
    try:
        url = httpx.URL(link)
        if os.environ.get("REHEARSAL_HOSTS") and url.port is None:
            # In a rehearsed container the web's ports are the outside world's one, without TLS.
            port = int(os.environ.get("REHEARSAL_OUTSIDE_PORT") or 8080)
            url = url.copy_with(scheme="http", port=port)
        answer = httpx.get(url, timeout=LINK_SECONDS, follow_redirects=True, trust_env=False)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        print("fetch link error", error, flush=True)
        return "", ""
    return html_text(answer.text)


def _cut_and_queued(call: Call, body: Json, source: Document, text: str) -> Document:
    collection = _insert(call, body, source, text)
    pieces = enumerate(split(text, collection["chunkSize"]))
    data = [{"q": piece, "a": "", "chunkIndex": place} for place, piece in pieces]
    results = queue(call.service, collection, data)
    return {"collectionId": collection["_id"], "results": results}


def _insert(call: Call, body: Json, source: Document, text: str) -> Document:
    kept = {
        **SHAPES["collection"],
        **call.owner,
        **source,
        "datasetId": _dataset(call, body.get("datasetId"))["_id"],
        "parentId": body.get("parentId"),
        "trainingType": body.get("trainingType", "chunk"),
        "chunkSize": body.get("chunkSize", 512),
        "rawTextLength": len(text),
        "hashRawText": hashlib.sha256(text.encode()).hexdigest(),
        "createTime": now(),
        "updateTime": now(),
    }
    return call.mongo.put("dataset_collections", kept)


def _paged(call: Call, rows: list[Document], names: list[str]) -> Document:
    page = call.body["pageNum"]
    size = min(call.body["pageSize"], MOST_PER_PAGE)
    data = [picked(row, *names) for row in rows[(page - 1) * size : page * size]]
    return {"pageNum": page, "pageSize": size, "total": len(rows), "data": data}


def list_collections(call: Call) -> Document:
    """POST .../collection/list {datasetId, pageNum, pageSize, parentId}: it wakes the queue."""
    dataset = _dataset(call, call.body.get("datasetId"))["_id"]
    of_it = {"datasetId": dataset, "parentId": call.body.get("parentId")}
    rows = call.mongo.find("dataset_collections", **of_it)[::-1]
    call.service.queue.wake()
    page = _paged(call, rows, SHAPES["listed"]["collection"])
    for row in page["data"]:
        row["dataAmount"] = len(call.mongo.find("dataset_datas", collectionId=row["_id"]))
        row["trainingAmount"] = len(call.mongo.find("trainings", collectionId=row["_id"]))
        row["permission"] = SHAPES["permission"]
    return page


def collection_detail(call: Call) -> Document:
    """GET .../collection/detail?id=: `datasetId` is the whole dataset, as it is stored."""
    row = _collection(call, call.query.get("id"))
    told = {"datasetId": call.mongo.get("datasets", row["datasetId"])}
    return {**row, **told, **source_of(row), "permission": SHAPES["permission"]}


def update_collection(call: Call) -> None:
    """PUT .../collection/update {id, name, parentId}."""
    row = _collection(call, call.body.get("id"))
    changed = picked(call.body, "name", "parentId")
    call.mongo.put("dataset_collections", {**row, **changed, "updateTime": now()})


def delete_collection(call: Call) -> None:
    """DELETE .../collection/delete?id=: with its data, its vectors and what is still queued."""
    id_ = _collection(call, call.query.get("id"))["_id"]
    call.service.vectors.delete("modeldata", collection_id=id_)
    call.mongo.delete("dataset_collections", _id=id_)
    for table in ("trainings", "dataset_datas"):
        call.mongo.delete(table, collectionId=id_)


def list_data(call: Call) -> Document:
    """POST /api/core/dataset/data/list {collectionId, pageNum, pageSize}."""
    collection = _collection(call, call.body.get("collectionId"))
    rows = call.mongo.find("dataset_datas", collectionId=collection["_id"])
    rows.sort(key=lambda row: int(row["chunkIndex"]))
    return _paged(call, rows, SHAPES["listed"]["data"])


def _collection(call: Call, id_: Json) -> Document:
    # One that is gone is an HTTP 500, unlike a dataset (docs/facts/measured.md §1).
    return call.mongo.existing("dataset_collections", id_, "Collection is not exist")
