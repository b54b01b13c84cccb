"""Datasets of the current edition: deleted later, and what failed in them
(docs/facts/fastgpt-current-measured.md §2, §5)."""

from rehearsal.doubles.fastgpt import index
from rehearsal.doubles.fastgpt.envelope import CURRENT, Call, Document, Json, Problem, named, picked
from rehearsal.doubles.fastgpt.parsing import TRIES, has_failed
from rehearsal.doubles.fastgpt.store import now

_FOUND = "q id datasetId collectionId updateTime sourceName sourceId chunkIndex score"
_DATA = ("_id", "datasetId", "collectionId", "q", "a", "chunkIndex")
_TASK = (*_DATA, "teamId", "tmbId", "mode", "errorMsg")


def create_dataset(call: Call) -> str:
    """A model name that is unknown is kept as it is."""
    config = call.service.config
    if not config.models["vectorModels"]:
        raise Problem("System not embedding model")
    models = {"vectorModel": config.vector(None)["model"], "agentModel": config.llm(None)["model"]}
    usual = {"parentId": None, "inheritPermission": True, "deleteTime": None, **call.owner}
    given = picked(call.body, "name", "type", "intro", "avatar", "parentId", *models)
    row = {**usual, **models, **given, "updateTime": now()}
    return str(call.mongo.put("datasets", row)["_id"])


def detail_dataset(call: Call) -> Document:
    """It is there until the job behind its deletion is done."""
    row = call.mongo.existing("datasets", call.query["id"], "unExistDataset")
    return {**_shown(call, row), "status": "active", "__v": 0}


def list_dataset(call: Call) -> list[Document]:
    rows = call.mongo.find("datasets", parentId=call.body.get("parentId"), deleteTime=None)
    names = "_id avatar name intro type vectorModel inheritPermission tmbId updateTime permission"
    shown = (picked(_shown(call, row), *names.split()) for row in reversed(rows))
    return [{**row, "private": True, "sourceMember": CURRENT["member"]} for row in shown]


def update_dataset(call: Call) -> None:
    changed = picked(call.body, "name", "intro", "avatar", "agentModel", "parentId")
    call.mongo.put("datasets", {**standing(call, call.body["id"]), **changed})


def delete_dataset(call: Call) -> None:
    row = standing(call, call.query.get("id"))
    call.mongo.put("datasets", {**row, "deleteTime": now()})


def standing(call: Call, id_: Json) -> Document:
    """A dataset that is not being deleted."""
    row = call.mongo.existing("datasets", id_, "unExistDataset")
    if row["deleteTime"]:
        raise named("unExistDataset")
    return row


def _shown(call: Call, row: Document) -> Document:
    """With the models that the names resolve to today, their secrets included."""
    config = call.service.config
    told = {"vectorModel": config.vector(row["vectorModel"])}
    told |= {"agentModel": config.llm(row["agentModel"])}
    return {**row, **told, "permission": CURRENT["permissions"]["dataset"]}


def search_test(call: Call) -> Document:
    """`usingReRank` says whether it was so: a failure of the reranker is swallowed."""
    found = index.search_test(call)
    rows = [picked(row, *_FOUND.split(), *(["a"] if row["a"] else [])) for row in found["list"]]
    shown = picked(found, "duration", "limit", "searchMode", "usingReRank", "similarity")
    return {"similarity": 0, **shown, "list": rows}


def data_v2_list(call: Call) -> Document:
    rows = call.mongo.find("dataset_datas", collectionId=call.body.get("collectionId"))
    page = paged(call, sorted(rows, key=lambda row: int(row["chunkIndex"])))
    return {**page, "list": [picked({"a": "", **row}, *_DATA) for row in page["list"]]}


def paged(call: Call, rows: list[Document]) -> Document:
    size = call.body.get("pageSize", 10)
    start = call.body.get("offset", (call.body.get("pageNum", 1) - 1) * size)
    return {"total": len(rows), "list": rows[start : start + size]}


def get_dataset_training_queue(call: Call) -> Document:
    tasks = call.mongo.find("trainings", datasetId=call.query.get("datasetId"))
    return {"rebuildingCount": 0, "trainingCount": len(tasks)}


def has_dataset_training_error(call: Call) -> Document:
    tasks = call.mongo.find("trainings", datasetId=call.query.get("datasetId"))
    return {"hasError": any(map(has_failed, tasks))}


def get_training_error(call: Call) -> Document:
    """The final ones only."""
    tasks = call.mongo.find("trainings", collectionId=call.body.get("collectionId"))
    page = paged(call, [task for task in tasks if has_failed(task)])
    more = {"a": "", "weight": 0, "indexes": [], "retryCount": 0, "billId": ""}
    more |= {"expireAt": now(), "lockTime": now()}
    return {**page, "list": [{**more, **picked(task, *_TASK)} for task in page["list"]]}


def rebuild_embedding(call: Call) -> None:
    """Make all vectors anew, by another model. A Problem: it is the same one, or none."""
    row, model = standing(call, call.body["datasetId"]), call.body["vectorModel"]
    known = {each["model"] for each in call.service.config.models["vectorModels"]}
    if model not in known - {row["vectorModel"]}:
        raise Problem("vectorModel 不合法")
    call.mongo.set("datasets", row["_id"], vectorModel=model)
    for data in call.mongo.find("dataset_datas", datasetId=row["_id"]):
        task = {**call.owner, **picked(data, *_DATA[1:]), "mode": "chunk", "model": model}
        call.mongo.put("trainings", {**task, "lockTime": 0, "retryCount": TRIES})
    for table in ("dataset_datas", "modeldata"):
        call.mongo.delete(table, datasetId=row["_id"])
    call.service.queue.wake()


def update_training_data(call: Call) -> None:
    """Try those anew that have failed, of a dataset or of a collection."""
    for task in call.mongo.find("trainings", **picked(call.body, "datasetId", "collectionId")):
        call.mongo.put("trainings", {**task, "retryCount": TRIES, "lockTime": 0})
    call.service.queue.wake()
