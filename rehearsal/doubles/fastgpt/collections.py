"""Collections, what a dataset's texts were taken from, and their passages, called data.

docs/facts/fastgpt.md §4, docs/facts/measured.md §1.
"""

import hashlib
import json
import os
import re
import secrets
import string
from collections.abc import Callable
from functools import partial
from urllib.parse import unquote

import httpx

from rehearsal.doubles.fastgpt.auth import now
from rehearsal.doubles.fastgpt.call import Call, Unanswered
from rehearsal.doubles.fastgpt.chunks import OVERLAP, length, split
from rehearsal.doubles.fastgpt.datasets import dataset_of
from rehearsal.doubles.fastgpt.documents import file_text, html_text
from rehearsal.doubles.fastgpt.envelope import PERMISSION, Json, Problem, undefined
from rehearsal.doubles.fastgpt.store import Document
from rehearsal.doubles.fastgpt.training import queue

MOST_PER_PAGE = 30
LINK_SECONDS = 20.0
OUTSIDE_PORT = "8080"
GRIDFS_CHUNK = 261120
DEFAULT_CHUNK = 512
_IMAGE_ID = string.ascii_letters + string.digits


def create_from_file(call: Call) -> Document:
    """POST .../collection/create/localFile: a form with `file` and `data`, a JSON string.

    `metadata` in it is dropped; the collection keeps `collectionMetadata`, the file `fileMetadata`
    (docs/facts/measured.md §1 F2).
    """
    if call.upload is None:
        raise Problem("file is required")
    name = _decoded(call.upload.name)
    try:
        body = json.loads(str(call.body.get("data")))
    except ValueError as error:
        raise Problem("Unexpected token in JSON at position 0") from error
    text = file_text(name, call.upload.content)
    file = {
        "length": len(call.upload.content),
        "chunkSize": GRIDFS_CHUNK,
        "uploadDate": now(),
        "filename": name,
        "contentType": call.upload.kind,
        "metadata": {
            **(body.get("fileMetadata") or {}),
            **call.caller.owner,
            "encoding": "utf-8",
        },
    }
    image_id = "".join(secrets.choice(_IMAGE_ID) for _ in range(12))
    source = {
        "type": "file",
        "name": name,
        "fileId": call.mongo.put("dataset_files", file)["_id"],
        "metadata": {**(body.get("collectionMetadata") or {}), "relatedImgId": image_id},
    }
    return _cut_and_queued(call, body, source, text)


def create_from_text(call: Call) -> Document:
    """POST .../collection/create/text {text, name}."""
    text, name = call.body.get("text"), call.body.get("name")
    if not isinstance(text, str):
        raise undefined("split")
    if not name:
        raise Problem("dataset_collections validation failed: name: Path `name` is required.")
    source = {"type": "virtual", "name": name, "metadata": call.body.get("metadata") or {}}
    return _cut_and_queued(call, call.body, source, text)


def create_from_link(call: Call) -> Document:
    """POST .../collection/create/link {link, metadata:{webPageSelector}}.

    Its chunks pass no filter: none is too long, and none is left out because it is there already.
    """
    link = call.body.get("link")
    if not link:
        raise Problem("缺少参数")
    metadata = call.body.get("metadata") or {}
    title, text = _page(str(link), metadata.get("webPageSelector") or "")
    source = {"type": "link", "name": title or link, "rawLink": link, "metadata": metadata}
    made = _cut_and_queued(call, call.body, source, text, filtered=False)
    return {**made, "results": {"insertLen": made["results"]["insertLen"]}}


def create_empty(call: Call) -> str:
    """POST .../collection/create {datasetId, name, type: virtual|folder}: what people tidy with."""
    source = {
        "type": call.body.get("type") or "virtual",
        "name": call.body.get("name") or "",
        "metadata": call.body.get("metadata") or {},
    }
    dataset = dataset_of(call, call.body.get("datasetId"))
    return str(_insert(call, dataset, call.body, source, "")["_id"])


def _decoded(name: str) -> str:
    """A percent-encoded file name.

    Raises:
        Unanswered: a malformed one; the real one throws where nobody answers any more
            (docs/facts/measured.md §1 F7).
    """
    if re.search(r"%(?![0-9A-Fa-f]{2})", name):
        raise Unanswered
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError as error:
        raise Unanswered from error


def _page(link: str, selector: str) -> tuple[str, str]:
    """Title and text of a page; a page that cannot be had is an empty one, as in the real one."""
    try:
        url = httpx.URL(link)
        if os.environ.get("REHEARSAL_HOSTS") and url.port is None:
            # In a rehearsed container the web's ports are the outside world's one, without TLS.
            port = int(os.environ.get("REHEARSAL_OUTSIDE_PORT") or OUTSIDE_PORT)
            url = url.copy_with(scheme="http", port=port)
        answer = httpx.get(url, timeout=LINK_SECONDS, follow_redirects=True, trust_env=False)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        print("fetch link error", error, flush=True)
        return "", ""
    return html_text(answer.text, selector)


def _cut_and_queued(
    call: Call, body: Json, source: Document, text: str, *, filtered: bool = True
) -> Document:
    dataset = dataset_of(call, body.get("datasetId"))
    collection = _insert(call, dataset, body, source, text)
    separator, overlap = "", OVERLAP
    if filtered:
        separator = body.get("chunkSplitter") or ""
        overlap = OVERLAP if collection["trainingType"] == "chunk" else 0
    pieces = split(text, collection["chunkSize"], separator, overlap)
    chunks = [{"q": piece, "chunkIndex": place} for place, piece in enumerate(pieces)]
    results = queue(call.service, dataset, collection, chunks, filtered=filtered)
    return {"collectionId": collection["_id"], "results": results}


def _insert(call: Call, dataset: Document, body: Json, source: Document, text: str) -> Document:
    given = {name: body[name] for name in ("chunkSplitter", "qaPrompt") if body.get(name)}
    kept = {
        "parentId": body.get("parentId") or None,
        **call.caller.owner,
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
    return call.mongo.put("dataset_collections", kept)


def _paged(call: Call, rows: list[Document], shown: Callable[[Document], Document]) -> Document:
    page = int(call.body.get("pageNum") or 1)
    size = min(int(call.body.get("pageSize") or 10), MOST_PER_PAGE)
    data = [shown(row) for row in rows[(page - 1) * size : page * size]]
    return {"pageNum": page, "pageSize": size, "total": len(rows), "data": data}


def list_collections(call: Call) -> Document:
    """POST .../collection/list {datasetId, pageNum, pageSize, parentId, searchText}.

    It wakes the queue.
    """
    dataset = dataset_of(call, call.body.get("datasetId"))
    rows = call.mongo.find("dataset_collections", datasetId=dataset["_id"])
    wanted = str(call.body.get("searchText") or "").lower()
    if wanted:
        rows = [row for row in rows if wanted in row["name"].lower()]
    else:
        rows = [row for row in rows if row["parentId"] == call.body.get("parentId")]
    call.service.queue.wake()
    return _paged(call, rows[::-1], partial(_listed, call))


def _listed(call: Call, row: Document) -> Document:
    names = "_id parentId tmbId name type forbid createTime updateTime trainingType fileId rawLink"
    of_it = {"collectionId": row["_id"]}
    return {
        **{name: row[name] for name in names.split() if name in row},
        "dataAmount": len(call.mongo.find("dataset_datas", **of_it)),
        "trainingAmount": len(call.mongo.find("trainings", **of_it)),
        "permission": PERMISSION,
    }


def collection_detail(call: Call) -> Document:
    """GET .../collection/detail?id=: `datasetId` is the whole dataset, as it is stored."""
    row = _collection(call, call.query.get("id"))
    source = row.get("fileId") or row.get("rawLink")
    file = call.mongo.get("dataset_files", row["fileId"]) if "fileId" in row else None
    return {
        **row,
        "datasetId": call.mongo.get("datasets", row["datasetId"]),
        "sourceName": row["name"],
        "permission": PERMISSION,
        **({"sourceId": source} if source else {}),
        **({"file": file} if file else {}),
    }


def update_collection(call: Call) -> None:
    """PUT .../collection/update {id, name, parentId}."""
    row = _collection(call, call.body.get("id"))
    changed = {name: call.body[name] for name in ("name", "parentId") if name in call.body}
    kept = {**row, **changed, "updateTime": now()}
    call.mongo.put("dataset_collections", kept)


def delete_collection(call: Call) -> None:
    """DELETE .../collection/delete?id=: with its data, its vectors and what is still queued."""
    row = _collection(call, call.query.get("id"))
    call.service.vectors.delete("modeldata", collection_id=row["_id"])
    call.mongo.delete("dataset_collections", _id=row["_id"])
    for table in ("trainings", "dataset_datas"):
        call.mongo.delete(table, collectionId=row["_id"])


def list_data(call: Call) -> Document:
    """POST /api/core/dataset/data/list {collectionId, pageNum, pageSize}."""
    collection = _collection(call, call.body.get("collectionId"))
    rows = call.mongo.find("dataset_datas", collectionId=collection["_id"])
    rows.sort(key=lambda row: int(row["chunkIndex"]))
    names = ("_id", "datasetId", "collectionId", "q", "a", "chunkIndex")
    return _paged(call, rows, lambda row: {name: row[name] for name in names})


def _collection(call: Call, id_: Json) -> Document:
    # One that is gone is an HTTP 500, unlike a dataset (docs/facts/measured.md §1).
    return call.mongo.existing("dataset_collections", id_, "Collection is not exist")
