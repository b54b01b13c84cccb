"""Documents of the current edition, called collections: read later, in a queue
(docs/facts/fastgpt-current-measured.md §2, §5)."""

import base64
import json
import mimetypes
import re
import secrets
import time
from urllib.parse import quote, unquote

from rehearsal.doubles.fastgpt.boot import resolves
from rehearsal.doubles.fastgpt.envelope import CURRENT, Call, Document, Json, named, picked
from rehearsal.doubles.fastgpt.index import source_of
from rehearsal.doubles.fastgpt.libraries import paged, standing
from rehearsal.doubles.fastgpt.parsing import TRIES, has_failed
from rehearsal.doubles.fastgpt.refusals import Invalid
from rehearsal.doubles.fastgpt.store import now

_READ = ("txt", "md", "html", "csv", "pdf", "docx", "pptx", "xlsx")
_CUT = ("chunkSettingMode", "chunkSplitMode", "chunkSize", "indexSize", "chunkSplitter")
_SHOWN = "_id parentId tmbId name type createTime updateTime trainingType tags fileId rawLink"


def create_local_file(call: Call) -> Document:
    """Nothing is read now: `insertLen` is always 0."""
    if "data" not in call.body or call.file is None:
        raise named("unExistDataset")
    sent, content, _ = call.file
    if re.search(r"%(?![0-9A-Fa-f]{2})", sent):
        raise named("InvalidUploadFileType")
    body, name = json.loads(call.body["data"]), unquote(sent)
    source = _file(call, body, name, content)
    if not content:
        raise Invalid([CURRENT["emptyFile"]], 500)
    metadata = {**body.get("metadata", {}), "relatedImgId": source["fileId"]}
    return _queued(call, body, {**source, "metadata": metadata})


def create_text(call: Call) -> Document:
    """It becomes a file of that name."""
    source = _file(call, call.body, f"{call.body['name']}.txt", call.body["text"].encode())
    return _queued(call, call.body, {**source, **picked(call.body, "metadata")})


def create_re_training_collection(call: Call) -> Document:
    """Cut anew it is another document; the one before goes."""
    row = _existing(call, call.body["collectionId"])
    source = picked(row, "type", "name", "fileId", "file", "rawLink", "metadata")
    made = _queued(call, {**row, **call.body}, source)
    call.service.vectors.delete_whole("dataset_collections", row["_id"])
    return picked(made, "collectionId")


def presign_dataset_file_post_url(call: Call) -> Document:
    """A ticket, with which a browser would bring a file by itself."""
    name, tickets = call.body["filename"], [secrets.token_urlsafe(16) for _ in range(2)]
    base = f"{call.service.environment.domain}/api/system/file"
    told = {"url": f"{base}/u/{tickets[0]}", "previewUrl": f"{base}/d/{tickets[1]}"}
    told |= {"key": _file_id(call, call.body["datasetId"], name), **CURRENT["ticket"]}
    return {**told, "headers": {"content-type": mimetypes.guess_type(name)[0]}}


def _file(call: Call, body: Json, name: str, content: bytes) -> Document:
    file_id = _file_id(call, body["datasetId"], name)
    call.mongo.put("s3", {"_id": file_id, "content": base64.b64encode(content).decode()})
    file = {"filename": name, "contentLength": len(content)}
    return {"type": "file", "name": name, "fileId": file_id, "file": file}


def _file_id(call: Call, dataset: str, name: str) -> str:
    """The key of a new file. A Problem: of that kind none is read, or S3 is away."""
    stem, _, kind = name.rpartition(".")
    if kind.lower() not in _READ:
        raise named("InvalidUploadFileType")
    resolves(call.service.environment.s3_endpoint)
    return f"dataset/{dataset}/{quote(stem)}_{secrets.token_hex(3)}.{kind}"


def create_link(call: Call) -> Document:
    """Of the metadata nothing is kept but what cuts the page."""
    link = call.body["link"]
    metadata = picked(call.body.get("metadata", {}), "webPageSelector") | {"relatedImgId": link}
    source = {"type": "link", "name": link, "rawLink": link, "metadata": metadata}
    return _queued(call, call.body, source)


def create_collection(call: Call) -> str:
    """A folder or a virtual one, without a word of how to cut it."""
    return str(_insert(call, call.body, picked(call.body, "type", "name"))["_id"])


def _queued(call: Call, body: Json, source: Document) -> Document:
    _ = call.service.vectors  # A Problem without PostgreSQL.
    is_custom = body.get("chunkSettingMode") == "custom"
    preset = CURRENT["presets"]["custom" if is_custom else "auto"]
    cut = {**preset, **picked(body, *_CUT), "trainingType": body.get("trainingType", "chunk")}
    row = _insert(call, body, {**source, **cut})
    task = {**picked(row, "teamId", "tmbId", "datasetId"), "collectionId": row["_id"]}
    task |= {"mode": "parse", "q": "", "a": "", "chunkIndex": 0, "lockTime": 0, "retryCount": TRIES}
    call.mongo.put("trainings", task)
    call.service.queue.wake()
    return {"collectionId": row["_id"], "results": {"insertLen": 0}}


def _insert(call: Call, body: Json, source: Document) -> Document:
    # A dataset that is being deleted takes documents still.
    call.mongo.existing("datasets", body.get("datasetId"), "unExistDataset")
    moment = now()
    usual = {**call.owner, "createTime": moment, "updateTime": moment, "parentId": None}
    given = picked(body, "datasetId", "parentId", "tags")
    return call.mongo.put("dataset_collections", {**usual, **source, **given})


def list_v2(call: Call) -> Document:
    """The newest first; failed tasks stay counted."""
    dataset = standing(call, call.body.get("datasetId"))["_id"]
    of_it = {"datasetId": dataset, "parentId": call.body.get("parentId")}
    rows = call.mongo.find("dataset_collections", **of_it)[::-1]
    page = paged(call, sorted(rows, key=lambda row: str(row["updateTime"]), reverse=True))
    shown = []
    for row in page["list"]:
        told = {**picked(row, *_SHOWN.split()), "permission": CURRENT["permissions"]["dataset"]}
        shown.append({**told, "dataAmount": _amount(call, row), **_progress(call, row)})
    return {**page, "list": shown}


def _amount(call: Call, row: Document) -> int:
    return len(call.mongo.find("dataset_datas", collectionId=row["_id"]))


def _progress(call: Call, row: Document) -> Document:
    """An embedding that fails is running until its last try."""
    tasks = call.mongo.find("trainings", collectionId=row["_id"])
    failed = sum(map(has_failed, tasks))
    told = {"trainingAmount": len(tasks), "activeTrainingAmount": len(tasks) - failed}
    told |= {"finalErrorAmount": failed, "hasError": bool(failed)}
    status = "running" if len(tasks) > failed else "error" if failed else "ready"
    mode = {"slowestTrainingMode": min(task["mode"] for task in tasks)} if tasks else {}
    return {**told, **mode, "slowestTrainingStatus": status}


def detail_collection(call: Call) -> Document:
    row = _existing(call, call.query.get("id"))
    progress = _progress(call, row)
    told = {"dataset": call.mongo.get("datasets", row["datasetId"]), **source_of(row)}
    told |= {"indexAmount": _amount(call, row), "errorCount": progress["finalErrorAmount"]}
    return {**row, **told, **progress, "permission": CURRENT["permissions"]["dataset"]}


def training_detail(call: Call) -> Document:
    """How many tasks of each mode wait, are in work, and have failed."""
    row = _existing(call, call.query.get("collectionId"))
    told = {key: dict.fromkeys(CURRENT["modes"], 0) for key in CURRENT["taskCounts"]}
    for task in call.mongo.find("trainings", collectionId=row["_id"]):
        # One that waits for its next try is locked, as one in work is.
        locked = task["lockTime"] > time.time()
        key = "errorCounts" if has_failed(task) else "trainingCounts" if locked else "queuedCounts"
        told[key][task["mode"]] += 1
    told |= {**picked(row, "trainingType"), "advancedTraining": CURRENT["advancedTraining"]}
    return {**told, "trainedCount": _amount(call, row)}


def update_collection(call: Call) -> None:
    row = _existing(call, call.body.get("id"))
    changed = picked(call.body, "name", "parentId", "tags", "forbid")
    call.mongo.set("dataset_collections", row["_id"], **changed, updateTime=now())


def delete_collection(call: Call) -> None:
    """Refused without a JSON body, even an empty one."""
    if not call.headers.get("content-type", "").startswith("application/json"):
        raise Invalid([CURRENT["noBody"]])
    for id_ in call.body.get("collectionIds") or [call.query.get("id")]:
        call.service.vectors.delete_whole("dataset_collections", _existing(call, id_)["_id"])


def _existing(call: Call, id_: Json) -> Document:
    if row := call.mongo.get("dataset_collections", id_):
        return row
    raise named("unExistCollection")
