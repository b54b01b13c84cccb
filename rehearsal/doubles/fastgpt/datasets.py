"""Datasets, their collections and data (facts/fastgpt.md §4, §8)."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httpx

from rehearsal.doubles.fastgpt.auth import Identity, now, owned, session, session_or_key
from rehearsal.doubles.fastgpt.call import Call
from rehearsal.doubles.fastgpt.chunks import split
from rehearsal.doubles.fastgpt.config import BUILT_IN_FE_CONFIGS
from rehearsal.doubles.fastgpt.documents import file_text, html_text
from rehearsal.doubles.fastgpt.envelope import Json, Problem
from rehearsal.doubles.fastgpt.store import (
    Document,
    checked_id,
    delete_where,
    find,
    insert,
    object_id,
)
from rehearsal.doubles.fastgpt.training import index_texts, write_data
from rehearsal.doubles.language import count_tokens

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

MOST_PUSHED = 200
MOST_PER_PAGE = 30
LARGEST_UPLOAD = int(BUILT_IN_FE_CONFIGS["uploadFileMaxSize"]) * 1024 * 1024
LINK_SECONDS = 20.0
OUTSIDE_PORT = "8080"

# Datasets


def create_dataset(service: Service, call: Call) -> str:
    """POST /api/core/dataset/create: the id. Model names are kept as given, known or not."""
    identity = session_or_key(service, call)
    body = call.body
    vector_model = body.get("vectorModel") or service.config.vector(None)["model"]
    agent_model = body.get("agentModel") or service.config.dataset_llm(None)["model"]
    service.config.vector(vector_model)
    service.config.dataset_llm(agent_model)
    if not body.get("name"):
        raise Problem("datasets validation failed: name: Path `name` is required.")
    kept = {
        "teamId": identity.team_id,
        "tmbId": identity.tmb_id,
        "parentId": body.get("parentId"),
        "type": body.get("type") or "dataset",
        "name": body["name"],
        "intro": body.get("intro") or "",
        "avatar": body.get("avatar") or "/icon/logo.svg",
        "vectorModel": vector_model,
        "agentModel": agent_model,
        "updateTime": now(),
    }
    return str(insert(service.mongo, "datasets", kept)["_id"])


def dataset_detail(service: Service, call: Call) -> Document:
    """GET /api/core/dataset/detail?id=: the models are those that the names resolve to today."""
    dataset = _dataset(service, session_or_key(service, call), call.query.get("id"))
    return _shown_dataset(service, dataset)


def list_datasets(service: Service, call: Call) -> list[Document]:
    """POST /api/core/dataset/list {parentId}; its API key branch is broken at this version."""
    identity = session(service, call)
    parent = call.body.get("parentId")
    rows = find(service.mongo, "datasets", teamId=identity.team_id, parentId=parent)
    return [_listed_dataset(service, dataset) for dataset in reversed(rows)]


def update_dataset(service: Service, call: Call) -> None:
    """PUT /api/core/dataset/update: session only; `agentModel` is an object here."""
    identity = session(service, call)
    body = call.body
    dataset = _dataset(service, identity, body.get("id"))
    names = ("name", "intro", "avatar", "parentId")
    changed = {name: body[name] for name in names if name in body}
    agent_model = body.get("agentModel")
    if isinstance(agent_model, dict) and agent_model.get("model"):
        changed["agentModel"] = agent_model["model"]
    kept = {**dataset, **changed, "updateTime": now()}
    service.mongo.put("datasets", dataset["_id"], kept)


def delete_dataset(service: Service, call: Call) -> None:
    """DELETE /api/core/dataset/delete?id=: with all that is in it."""
    identity = session_or_key(service, call)
    dataset = _dataset(service, identity, call.query.get("id"))
    _drop_dataset(service, dataset["_id"])


def _drop_dataset(service: Service, dataset_id: str) -> None:
    for child in find(service.mongo, "datasets", parentId=dataset_id):
        _drop_dataset(service, child["_id"])
    for table in ("trainings", "dataset_datas", "dataset_collections"):
        delete_where(service.mongo, table, datasetId=dataset_id)
    delete_where(service.vectors, "modeldata", dataset_id=dataset_id)
    service.mongo.delete("datasets", dataset_id)


def training_queue(service: Service, call: Call) -> Document:
    """GET /api/core/dataset/training/getDatasetTrainingQueue?datasetId=."""
    identity = session_or_key(service, call)
    dataset = _dataset(service, identity, call.query.get("datasetId"))
    mongo, id_ = service.mongo, dataset["_id"]
    return {
        "rebuildingCount": len(find(mongo, "dataset_datas", datasetId=id_, rebuilding=True)),
        "trainingCount": len(find(mongo, "trainings", datasetId=id_)),
    }


def rebuild_embedding(service: Service, call: Call) -> None:
    """POST /api/core/dataset/training/rebuildEmbedding {datasetId, vectorModel}."""
    identity = session(service, call)
    mongo = service.mongo
    dataset = _dataset(service, identity, call.body.get("datasetId"))
    model = call.body.get("vectorModel")
    service.config.vector(model)
    if model == dataset["vectorModel"]:
        raise Problem("vectorModel 未发生变化")
    if find(mongo, "trainings", datasetId=dataset["_id"]):
        raise Problem("数据集正在训练或者重建中，请稍后再试")
    mongo.put("datasets", dataset["_id"], {**dataset, "vectorModel": model})
    for data in find(mongo, "dataset_datas", datasetId=dataset["_id"]):
        mongo.put("dataset_datas", data["_id"], {**data, "rebuilding": True})
        names = ("teamId", "tmbId", "datasetId", "collectionId", "q", "a", "indexes", "chunkIndex")
        task = {name: data[name] for name in names} | {"dataId": data["_id"], "mode": "chunk"}
        insert(mongo, "trainings", {**task, "model": model, "lockTime": 0})
    service.queue.wake()


def _dataset(service: Service, identity: Identity, id_: Json) -> Document:
    dataset = service.mongo.get("datasets", checked_id(id_, "datasets"))
    return owned(dataset, identity, "unAuthDataset")


def _shown_dataset(service: Service, dataset: Document) -> Document:
    return {
        **dataset,
        "vectorModel": service.config.vector(dataset["vectorModel"]),
        "agentModel": service.config.dataset_llm(dataset["agentModel"]),
        "permission": {"value": 4294967295, "isOwner": True},
        "status": "active",
    }


def _listed_dataset(service: Service, dataset: Document) -> Document:
    shown = _shown_dataset(service, dataset)
    names = ("_id", "parentId", "avatar", "name", "intro", "type", "permission", "vectorModel")
    return {name: shown[name] for name in names}


# Collections


def create_from_file(service: Service, call: Call) -> Document:
    """POST .../collection/create/localFile: a form with `file` and `data`, a JSON string."""
    if call.upload is None:
        raise Problem("file is required")
    check_size(len(call.upload.content))
    name = decode_uri_component(call.upload.name)
    try:
        body = json.loads(str(call.body.get("data")))
    except ValueError as error:
        raise Problem("Unexpected token in JSON at position 0") from error
    identity = session_or_key(service, call)
    dataset = _dataset(service, identity, body.get("datasetId"))
    text = file_text(name, call.upload.content)
    source = {"type": "file", "name": name, "fileId": object_id()}
    return _create(service, identity, dataset, body, source, text)


def create_from_text(service: Service, call: Call) -> Document:
    """POST .../collection/create/text {text, name, ...}."""
    identity = session_or_key(service, call)
    dataset = _dataset(service, identity, call.body.get("datasetId"))
    text, name = call.body.get("text"), call.body.get("name")
    if not isinstance(text, str):
        raise Problem("Cannot read properties of undefined (reading 'split')")
    if not name:
        raise Problem("dataset_collections validation failed: name: Path `name` is required.")
    source = {"type": "virtual", "name": name}
    return _create(service, identity, dataset, call.body, source, text)


def create_from_link(service: Service, call: Call) -> Document:
    """POST .../collection/create/link {link, metadata:{webPageSelector}}."""
    identity = session_or_key(service, call)
    dataset = _dataset(service, identity, call.body.get("datasetId"))
    link = call.body.get("link")
    if not link:
        raise Problem("缺少参数")
    selector = (call.body.get("metadata") or {}).get("webPageSelector") or ""
    title, text = _page(str(link), selector)
    source = {"type": "link", "name": title or link, "rawLink": link}
    made = _create(service, identity, dataset, call.body, source, text)
    return {"collectionId": made["collectionId"]}


def create_empty(service: Service, call: Call) -> str:
    """POST .../collection/create {datasetId, name, type: virtual|folder}."""
    identity = session_or_key(service, call)
    dataset = _dataset(service, identity, call.body.get("datasetId"))
    source = {"type": call.body.get("type") or "virtual", "name": call.body.get("name") or ""}
    return str(_insert_collection(service, identity, dataset, call.body, source, "")["_id"])


def check_size(size: int) -> None:
    """Refuse an upload over the built-in limit.

    Raises:
        Problem: what multer says.
    """
    if size > LARGEST_UPLOAD:
        raise Problem("File too large")


def decode_uri_component(text: str) -> str:
    """JavaScript's: a stray `%` throws.

    Raises:
        Problem: `URI malformed`.
    """
    pieces = text.split("%")[1:]
    hexadecimal = all(len(piece) >= 2 and _is_hex(piece[:2]) for piece in pieces)
    try:
        if hexadecimal:
            return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise Problem("URI malformed") from error
    raise Problem("URI malformed")


def _is_hex(text: str) -> bool:
    return all(digit in "0123456789abcdefABCDEF" for digit in text)


def _page(link: str, selector: str) -> tuple[str, str]:
    """Title and text of a page; a page that cannot be had is an empty one, as in the real one."""
    try:
        url = _outside(link)
        answer = httpx.get(url, timeout=LINK_SECONDS, follow_redirects=True, trust_env=False)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        print("fetch link error", error, flush=True)
        return "", ""
    return html_text(answer.text, selector)


def _outside(link: str) -> str:
    """In a rehearsed container the web's own ports are the outside world's one, without TLS."""
    url = httpx.URL(link)
    if not os.environ.get("REHEARSAL_HOSTS") or url.port is not None:
        return link
    port = int(os.environ.get("REHEARSAL_OUTSIDE_PORT") or OUTSIDE_PORT)
    return str(url.copy_with(scheme="http", port=port))


def _create(
    service: Service,
    identity: Identity,
    dataset: Document,
    body: Json,
    source: Document,
    text: str,
) -> Document:
    mode = body.get("trainingType") or "chunk"
    size = int(body.get("chunkSize") or 512)
    collection = _insert_collection(service, identity, dataset, body, source, text)
    pieces = split(text, size, body.get("chunkSplitter") or "")
    data = [{"q": piece, "a": "", "chunkIndex": place} for place, piece in enumerate(pieces)]
    results = _queue(service, dataset, collection, mode, data, body.get("qaPrompt"))
    return {"collectionId": collection["_id"], "results": results}


def _insert_collection(
    service: Service, identity: Identity, dataset: Document, body: Json, source: Document, text: str
) -> Document:
    kept = {
        "teamId": identity.team_id,
        "tmbId": identity.tmb_id,
        "datasetId": dataset["_id"],
        "parentId": body.get("parentId"),
        **source,
        "trainingType": body.get("trainingType") or "chunk",
        "chunkSize": int(body.get("chunkSize") or 512),
        "chunkSplitter": body.get("chunkSplitter"),
        "qaPrompt": body.get("qaPrompt"),
        "metadata": body.get("metadata") or {},
        "rawTextLength": len(text),
        "hashRawText": hashlib.sha256(text.encode()).hexdigest(),
        "createTime": now(),
        "updateTime": now(),
    }
    return insert(service.mongo, "dataset_collections", kept)


def _queue(
    service: Service,
    dataset: Document,
    collection: Document,
    mode: str,
    data: list[Document],
    prompt: str | None = None,
) -> Document:
    """Put into the queue what can be; the rest is counted in the answer."""
    if mode == "qa":
        model = service.config.dataset_llm(dataset["agentModel"])
        most = model.get("maxContext")
    else:
        model = service.config.vector(dataset["vectorModel"])
        most = model.get("maxToken")
    results: Document = {"insertLen": 0, "overToken": [], "repeat": [], "error": []}
    seen: set[str] = set()
    for item in data:
        text = f"{item.get('q') or ''}{item.get('a') or ''}"
        if not item.get("q"):
            results["error"].append(item)
        elif isinstance(most, int | float) and count_tokens(text) > most:
            results["overToken"].append(item)
        elif text in seen:
            results["repeat"].append(item)
        else:
            seen.add(text)
            results["insertLen"] += 1
            insert(service.mongo, "trainings", _task(dataset, collection, mode, item, prompt))
    service.queue.wake()
    return results


def _task(
    dataset: Document, collection: Document, mode: str, item: Document, prompt: str | None
) -> Document:
    return {
        "teamId": collection["teamId"],
        "tmbId": collection["tmbId"],
        "datasetId": dataset["_id"],
        "collectionId": collection["_id"],
        "mode": mode,
        "model": dataset["agentModel"] if mode == "qa" else dataset["vectorModel"],
        "prompt": prompt,
        "q": item["q"],
        "a": item.get("a") or "",
        "indexes": item.get("indexes"),
        "chunkIndex": item.get("chunkIndex") or 0,
        "lockTime": 0,
    }


def list_collections(service: Service, call: Call) -> Document:
    """POST .../collection/list, also a GET of that name wakes the queue."""
    identity = session_or_key(service, call)
    body = call.body
    dataset = _dataset(service, identity, body.get("datasetId"))
    page = int(body.get("pageNum") or 1)
    size = min(int(body.get("pageSize") or 10), MOST_PER_PAGE)
    wanted = str(body.get("searchText") or "").lower()
    rows = [
        row
        for row in find(service.mongo, "dataset_collections", datasetId=dataset["_id"])
        if (wanted in row["name"].lower() if wanted else row["parentId"] == body.get("parentId"))
    ]
    rows.reverse()
    service.queue.wake()
    shown = rows[(page - 1) * size : page * size]
    data = [_listed_collection(service, row) for row in shown]
    return {"pageNum": page, "pageSize": size, "total": len(rows), "data": data}


def _listed_collection(service: Service, row: Document) -> Document:
    names = ("_id", "parentId", "tmbId", "name", "type", "fileId", "rawLink", "updateTime")
    mongo, id_ = service.mongo, row["_id"]
    return {
        **{name: row[name] for name in names if name in row},
        "dataAmount": len(find(mongo, "dataset_datas", collectionId=id_)),
        "trainingAmount": len(find(mongo, "trainings", collectionId=id_)),
        "permission": {"value": 4294967295, "isOwner": True},
    }


def collection_detail(service: Service, call: Call) -> Document:
    """GET .../collection/detail?id=."""
    identity = session_or_key(service, call)
    row = _collection(service, identity, call.query.get("id"))
    source = row.get("fileId") or row.get("rawLink") or ""
    permission = {"value": 4294967295, "isOwner": True}
    return {**row, "sourceName": row["name"], "sourceId": source, "permission": permission}


def update_collection(service: Service, call: Call) -> None:
    """PUT .../collection/update {id, name, parentId}."""
    identity = session_or_key(service, call)
    row = _collection(service, identity, call.body.get("id"))
    changed = {name: call.body[name] for name in ("name", "parentId") if name in call.body}
    kept = {**row, **changed, "updateTime": now()}
    service.mongo.put("dataset_collections", row["_id"], kept)


def delete_collection(service: Service, call: Call) -> None:
    """DELETE .../collection/delete?id=: with its data, its vectors and what is still queued."""
    identity = session_or_key(service, call)
    row = _collection(service, identity, call.query.get("id"))
    service.mongo.delete("dataset_collections", row["_id"])
    for table in ("trainings", "dataset_datas"):
        delete_where(service.mongo, table, collectionId=row["_id"])
    delete_where(service.vectors, "modeldata", collection_id=row["_id"])


def _collection(service: Service, identity: Identity, id_: Json) -> Document:
    row = service.mongo.get("dataset_collections", checked_id(id_, "dataset_collections"))
    return owned(row, identity, "unAuthDatasetCollection")


# Data


def push_data(service: Service, call: Call) -> Document:
    """POST /api/core/dataset/data/pushData {collectionId, trainingMode, data}, 200 at most."""
    identity = session_or_key(service, call)
    data = call.body.get("data")
    if not isinstance(data, list):
        raise Problem("collectionId or data is empty")
    if len(data) > MOST_PUSHED:
        raise Problem("Data is too long, max 200")
    collection = _collection(service, identity, call.body.get("collectionId"))
    dataset = _dataset(service, identity, collection["datasetId"])
    mode = call.body.get("trainingMode") or "chunk"
    return _queue(service, dataset, collection, mode, data, call.body.get("prompt"))


def list_data(service: Service, call: Call) -> Document:
    """POST /api/core/dataset/data/list {collectionId, pageNum, pageSize, searchText}."""
    identity = session_or_key(service, call)
    body = call.body
    collection = _collection(service, identity, body.get("collectionId"))
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
    row = _data(service, session_or_key(service, call), call.query.get("id"))
    names = ("q", "a", "chunkIndex", "indexes", "datasetId", "collectionId")
    return {"id": row["_id"], **{name: row[name] for name in names}}


def update_data(service: Service, call: Call) -> None:
    """PUT /api/core/dataset/data/update {id, q, a?, indexes?}: embedded again at once."""
    identity = session_or_key(service, call)
    row = _data(service, identity, call.body.get("id"))
    dataset = _dataset(service, identity, row["datasetId"])
    q, a = call.body.get("q") or row["q"], call.body.get("a", row["a"]) or ""
    model = service.config.vector(dataset["vectorModel"])
    texts = index_texts(q, a, call.body.get("indexes"))
    vectors = [service.upstream.embedding(model, text, storing=True) for text in texts]
    write_data(service.mongo, service.vectors, {**row, "q": q, "a": a}, texts, vectors)


def delete_data(service: Service, call: Call) -> None:
    """DELETE /api/core/dataset/data/delete?id=."""
    row = _data(service, session_or_key(service, call), call.query.get("id"))
    for index in row["indexes"]:
        service.vectors.delete("modeldata", index["dataId"])
    service.mongo.delete("dataset_datas", row["_id"])


def _data(service: Service, identity: Identity, id_: Json) -> Document:
    row = service.mongo.get("dataset_datas", checked_id(id_, "dataset_datas"))
    return owned(row, identity, "unAuthDatasetData")
