"""Collections, what a dataset's texts were taken from, and their passages, called data.

docs/facts/fastgpt.md §4, docs/facts/measured.md §1.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import string
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httpx

from rehearsal.doubles.fastgpt.admission import queue
from rehearsal.doubles.fastgpt.auth import Identity, now, session_or_key
from rehearsal.doubles.fastgpt.call import Call, Unanswered
from rehearsal.doubles.fastgpt.chunks import OVERLAP, length, split
from rehearsal.doubles.fastgpt.datasets import dataset_of
from rehearsal.doubles.fastgpt.documents import file_text, html_text
from rehearsal.doubles.fastgpt.envelope import PERMISSION, Json, Problem
from rehearsal.doubles.fastgpt.store import Document, object_id

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

MOST_PER_PAGE = 30
LINK_SECONDS = 20.0
OUTSIDE_PORT = "8080"
GRIDFS_CHUNK = 261120
DEFAULT_CHUNK = 512
_IMAGE_ID = string.ascii_letters + string.digits
_SHOWN = ("_id", "parentId", "tmbId", "name", "type", "forbid", "createTime", "updateTime")
_SHOWN_IF_ANY = ("trainingType", "fileId", "rawLink")


def create_from_file(service: Service, call: Call) -> Document:
    """POST .../collection/create/localFile: a form with `file` and `data`, a JSON string.

    `metadata` in it is dropped; the collection keeps `collectionMetadata`, the file `fileMetadata`
    (docs/facts/measured.md §1 F2).
    """
    if call.upload is None:
        raise Problem("file is required")
    name = decode_uri_component(call.upload.name)
    try:
        body = json.loads(str(call.body.get("data")))
    except ValueError as error:
        raise Problem("Unexpected token in JSON at position 0") from error
    identity = session_or_key(service, call)
    dataset = dataset_of(service, body.get("datasetId"))
    text = file_text(name, call.upload.content)
    image_id = "".join(secrets.choice(_IMAGE_ID) for _ in range(12))
    file = {
        "_id": object_id(),
        "length": len(call.upload.content),
        "chunkSize": GRIDFS_CHUNK,
        "uploadDate": now(),
        "filename": name,
        "contentType": call.upload.kind,
        "metadata": {
            **(body.get("fileMetadata") or {}),
            "teamId": identity.team_id,
            "tmbId": identity.tmb_id,
            "encoding": "utf-8",
        },
    }
    service.mongo.put("dataset_files", file)
    source = {
        "type": "file",
        "name": name,
        "fileId": file["_id"],
        "metadata": {**(body.get("collectionMetadata") or {}), "relatedImgId": image_id},
    }
    return _cut_and_queued(service, identity, dataset, body, source, text)


def create_from_text(service: Service, call: Call) -> Document:
    """POST .../collection/create/text {text, name}."""
    identity = session_or_key(service, call)
    dataset = dataset_of(service, call.body.get("datasetId"))
    text, name = call.body.get("text"), call.body.get("name")
    if not isinstance(text, str):
        raise Problem("Cannot read properties of undefined (reading 'split')")
    if not name:
        raise Problem("dataset_collections validation failed: name: Path `name` is required.")
    source = {"type": "virtual", "name": name, "metadata": call.body.get("metadata") or {}}
    return _cut_and_queued(service, identity, dataset, call.body, source, text)


def create_from_link(service: Service, call: Call) -> Document:
    """POST .../collection/create/link {link, metadata:{webPageSelector}}.

    Its chunks pass no filter: none is too long, and none is left out because it is there already.
    """
    identity = session_or_key(service, call)
    dataset = dataset_of(service, call.body.get("datasetId"))
    link = call.body.get("link")
    if not link:
        raise Problem("缺少参数")
    metadata = call.body.get("metadata") or {}
    title, text = _page(str(link), metadata.get("webPageSelector") or "")
    source = {"type": "link", "name": title or link, "rawLink": link, "metadata": metadata}
    collection = _insert(service, identity, dataset, call.body, source, text)
    pieces = split(text, collection["chunkSize"])
    queue(service, dataset, collection, _chunks(pieces), filtered=False)
    return {"collectionId": collection["_id"], "results": {"insertLen": len(pieces)}}


def create_empty(service: Service, call: Call) -> str:
    """POST .../collection/create {datasetId, name, type: virtual|folder}: what people tidy with."""
    identity = session_or_key(service, call)
    dataset = dataset_of(service, call.body.get("datasetId"))
    source = {
        "type": call.body.get("type") or "virtual",
        "name": call.body.get("name") or "",
        "metadata": call.body.get("metadata") or {},
    }
    return str(_insert(service, identity, dataset, call.body, source, "")["_id"])


def decode_uri_component(text: str) -> str:
    """A percent-encoded file name.

    Raises:
        Unanswered: a malformed one; the real one throws where nobody answers any more
            (docs/facts/measured.md §1 F7).
    """
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise Unanswered
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise Unanswered from error


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


def _cut_and_queued(
    service: Service,
    identity: Identity,
    dataset: Document,
    body: Json,
    source: Document,
    text: str,
) -> Document:
    collection = _insert(service, identity, dataset, body, source, text)
    overlap = OVERLAP if collection["trainingType"] == "chunk" else 0
    pieces = split(text, collection["chunkSize"], body.get("chunkSplitter") or "", overlap)
    results = queue(service, dataset, collection, _chunks(pieces))
    return {"collectionId": collection["_id"], "results": results}


def _chunks(pieces: list[str]) -> list[Document]:
    return [{"q": piece, "chunkIndex": place} for place, piece in enumerate(pieces)]


def _insert(
    service: Service, identity: Identity, dataset: Document, body: Json, source: Document, text: str
) -> Document:
    given = {name: body[name] for name in ("chunkSplitter", "qaPrompt") if body.get(name)}
    kept = {
        "parentId": body.get("parentId") or None,
        "teamId": identity.team_id,
        "tmbId": identity.tmb_id,
        "datasetId": dataset["_id"],
        **source,
        "forbid": False,
        "trainingType": body.get("trainingType") or "chunk",
        "chunkSize": int(body.get("chunkSize") or DEFAULT_CHUNK),
        **given,
        "tags": [],
        "rawTextLength": length(text),
        "hashRawText": hashlib.sha256(text.encode()).hexdigest(),
        "createTime": now(),
        "updateTime": now(),
        "__v": 0,
    }
    return service.mongo.put("dataset_collections", kept)


def list_collections(service: Service, call: Call) -> Document:
    """POST .../collection/list, also a GET of that name wakes the queue."""
    session_or_key(service, call)
    body = call.body
    dataset = dataset_of(service, body.get("datasetId"))
    page = int(body.get("pageNum") or 1)
    size = min(int(body.get("pageSize") or 10), MOST_PER_PAGE)
    wanted = str(body.get("searchText") or "").lower()
    rows = [
        row
        for row in service.mongo.find("dataset_collections", datasetId=dataset["_id"])
        if (wanted in row["name"].lower() if wanted else row["parentId"] == body.get("parentId"))
    ]
    rows.reverse()
    service.queue.wake()
    data = [_listed(service, row) for row in rows[(page - 1) * size : page * size]]
    return {"pageNum": page, "pageSize": size, "total": len(rows), "data": data}


def _listed(service: Service, row: Document) -> Document:
    mongo, id_ = service.mongo, row["_id"]
    return {
        **{name: row[name] for name in _SHOWN},
        **{name: row[name] for name in _SHOWN_IF_ANY if name in row},
        "dataAmount": len(mongo.find("dataset_datas", collectionId=id_)),
        "trainingAmount": len(mongo.find("trainings", collectionId=id_)),
        "permission": PERMISSION,
    }


def collection_detail(service: Service, call: Call) -> Document:
    """GET .../collection/detail?id=: `datasetId` is the whole dataset, as it is stored."""
    session_or_key(service, call)
    row = _collection(service, call.query.get("id"))
    source = row.get("fileId") or row.get("rawLink")
    file = service.mongo.get("dataset_files", row["fileId"]) if "fileId" in row else None
    return {
        **row,
        "datasetId": service.mongo.get("datasets", row["datasetId"]),
        "sourceName": row["name"],
        "permission": PERMISSION,
        **({"sourceId": source} if source else {}),
        **({"file": file} if file else {}),
    }


def update_collection(service: Service, call: Call) -> None:
    """PUT .../collection/update {id, name, parentId}."""
    session_or_key(service, call)
    row = _collection(service, call.body.get("id"))
    changed = {name: call.body[name] for name in ("name", "parentId") if name in call.body}
    kept = {**row, **changed, "updateTime": now()}
    service.mongo.put("dataset_collections", kept)


def delete_collection(service: Service, call: Call) -> None:
    """DELETE .../collection/delete?id=: with its data, its vectors and what is still queued."""
    session_or_key(service, call)
    row = _collection(service, call.query.get("id"))
    service.vectors.delete("modeldata", collection_id=row["_id"])
    service.mongo.delete("dataset_collections", _id=row["_id"])
    for table in ("trainings", "dataset_datas"):
        service.mongo.delete(table, collectionId=row["_id"])


def list_data(service: Service, call: Call) -> Document:
    """POST /api/core/dataset/data/list {collectionId, pageNum, pageSize, searchText}."""
    session_or_key(service, call)
    body = call.body
    collection = _collection(service, body.get("collectionId"))
    page = int(body.get("pageNum") or 1)
    size = min(int(body.get("pageSize") or 10), MOST_PER_PAGE)
    wanted = str(body.get("searchText") or "").lower()
    rows = [
        row
        for row in service.mongo.find("dataset_datas", collectionId=collection["_id"])
        if wanted in row["q"].lower() or wanted in row["a"].lower()
    ]
    rows.sort(key=lambda row: row["chunkIndex"])
    names = ("_id", "datasetId", "collectionId", "q", "a", "chunkIndex")
    shown = rows[(page - 1) * size : page * size]
    data = [{name: row[name] for name in names} for row in shown]
    return {"pageNum": page, "pageSize": size, "total": len(rows), "data": data}


def _collection(service: Service, id_: Json) -> Document:
    # One that is gone is an HTTP 500, unlike a dataset (docs/facts/measured.md §1).
    return service.mongo.existing("dataset_collections", id_, "Collection is not exist")
