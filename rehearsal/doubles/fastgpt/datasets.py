"""Datasets, and their documents, called collections (docs/facts/fastgpt.md §4, §8)."""

import hashlib
import json
import re
import secrets
from urllib.parse import unquote

from rehearsal.doubles.fastgpt.chunks import split
from rehearsal.doubles.fastgpt.documents import fetched, file_text
from rehearsal.doubles.fastgpt.envelope import SHAPES, Call, Document, Json, Problem, picked
from rehearsal.doubles.fastgpt.index import queue, source_of
from rehearsal.doubles.fastgpt.store import now, object_id


def create_dataset(call: Call) -> str:
    """The id; `intro` is ignored (docs/facts/measured.md §1 F4)."""
    given = picked(call.body, "name", "type", "vectorModel", "agentModel", "parentId")
    kept = {**SHAPES["dataset"], **call.owner, **given, "updateTime": now()}
    return str(call.mongo.put("datasets", kept)["_id"])


def detail_dataset(call: Call) -> Document:
    """The models are those that the names resolve to today."""
    return _shown(call, _dataset(call, call.query.get("id")))


def list_dataset(call: Call) -> list[Document]:
    rows = call.mongo.find("datasets", parentId=call.body.get("parentId"))
    shown = [_shown(call, row) for row in reversed(rows)]
    return [picked(dataset, *SHAPES["listed"]["dataset"]) for dataset in shown]


def update_dataset(call: Call) -> None:
    """`agentModel` is an object here."""
    dataset = _dataset(call, call.body.get("id"))
    changed = picked(call.body, "name", "intro")
    if "agentModel" in call.body:
        changed["agentModel"] = call.body["agentModel"]["model"]
    call.mongo.put("datasets", {**dataset, **changed})


def delete_dataset(call: Call) -> None:
    id_ = _dataset(call, call.query.get("id"))["_id"]
    call.service.vectors.delete_whole("datasets", id_)


def get_dataset_training_queue(call: Call) -> Document:
    id_ = _dataset(call, call.query.get("datasetId"))["_id"]
    return {"rebuildingCount": 0, "trainingCount": len(call.mongo.find("trainings", datasetId=id_))}


def _dataset(call: Call, id_: Json) -> Document:
    return call.mongo.existing("datasets", id_, "unExistDataset")


def _shown(call: Call, dataset: Document) -> Document:
    config = call.service.config
    told = {"vectorModel": config.vector(dataset["vectorModel"])}
    told["agentModel"] = config.llm(dataset["agentModel"])
    return {**dataset, **told, "permission": SHAPES["permission"]}


def create_local_file(call: Call) -> Document:
    """`metadata` is dropped, `collectionMetadata` kept (docs/facts/measured.md §1 F2)."""
    assert call.file
    sent, content, kind = call.file
    if re.search(r"%(?![0-9A-Fa-f]{2})", sent):
        # The real one never answers, for it throws where nobody listens (F7).
        raise Problem("URI malformed")
    name = unquote(sent)
    body = json.loads(call.body["data"])
    text = file_text(name, content)
    metadata = {**body.get("fileMetadata", {}), **call.owner, "encoding": "utf-8"}
    told = {"filename": name, "contentType": kind, "metadata": metadata, "uploadDate": now()}
    file = {"_id": object_id(), "length": len(content), "chunkSize": 261120, **told}
    metadata = {**body.get("collectionMetadata", {}), "relatedImgId": secrets.token_hex(6)}
    source = {"type": "file", "name": name, "metadata": metadata}
    return _cut_and_queued(call, body, {**source, "fileId": file["_id"], "file": file}, text)


def create_text(call: Call) -> Document:
    source = {"type": "virtual", **picked(call.body, "name", "metadata")}
    return _cut_and_queued(call, call.body, source, call.body["text"])


def create_link(call: Call) -> Document:
    """It tells nothing but `insertLen`."""
    link = call.body["link"]
    title, text = _page(link)
    source = {"type": "link", "name": title or link, "rawLink": link}
    source |= picked(call.body, "metadata")
    made = _cut_and_queued(call, call.body, source, text)
    return {**made, "results": {"insertLen": made["results"]["insertLen"]}}


def create_document(call: Call) -> str:
    """A folder: what people tidy with."""
    return str(_insert(call, call.body, picked(call.body, "type", "name"), "")["_id"])


def _page(link: str) -> tuple[str, str]:
    """Title and text of a page; a page that cannot be had is an empty one, as in the real one."""
    try:
        return fetched(link)
    except Problem as error:
        print("fetch link error", error, flush=True)
        return "", ""


def _cut_and_queued(call: Call, body: Json, source: Document, text: str) -> Document:
    collection = _insert(call, body, source, text)
    pieces = enumerate(split(text, collection["chunkSize"]))
    data = [{"q": piece, "a": "", "chunkIndex": place} for place, piece in pieces]
    results = queue(call.service, collection, data)
    return {"collectionId": collection["_id"], "results": results}


def _insert(call: Call, body: Json, source: Document, text: str) -> Document:
    usual = {**SHAPES["collection"], **call.owner, "createTime": now(), "updateTime": now()}
    given = picked(body, "parentId", "trainingType", "chunkSize")
    given["datasetId"] = _dataset(call, body.get("datasetId"))["_id"]
    digest = hashlib.sha256(text.encode()).hexdigest()
    raw = {"rawTextLength": len(text), "hashRawText": digest}
    return call.mongo.put("dataset_collections", {**usual, **source, **given, **raw})


def _paged(call: Call, rows: list[Document], names: list[str]) -> Document:
    page = call.body["pageNum"]
    size = min(call.body["pageSize"], 30)
    data = [picked(row, *names) for row in rows[(page - 1) * size : page * size]]
    return {"pageNum": page, "pageSize": size, "total": len(rows), "data": data}


def list_document(call: Call) -> Document:
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


def detail_document(call: Call) -> Document:
    """`datasetId` is the whole dataset, as it is stored."""
    row = _collection(call, call.query.get("id"))
    told = {"datasetId": call.mongo.get("datasets", row["datasetId"])}
    return {**row, **told, **source_of(row), "permission": SHAPES["permission"]}


def update_document(call: Call) -> None:
    row = _collection(call, call.body.get("id"))
    changed = picked(call.body, "name", "parentId")
    call.mongo.put("dataset_collections", {**row, **changed, "updateTime": now()})


def delete_document(call: Call) -> None:
    """With its data, its vectors and what is still queued."""
    id_ = _collection(call, call.query.get("id"))["_id"]
    call.service.vectors.delete_whole("dataset_collections", id_)


def data_list(call: Call) -> Document:
    collection = _collection(call, call.body.get("collectionId"))
    rows = call.mongo.find("dataset_datas", collectionId=collection["_id"])
    rows.sort(key=lambda row: int(row["chunkIndex"]))
    return _paged(call, rows, SHAPES["listed"]["data"])


def _collection(call: Call, id_: Json) -> Document:
    # One that is gone is an HTTP 500, unlike a dataset (docs/facts/measured.md §1).
    return call.mongo.existing("dataset_collections", id_, "Collection is not exist")
