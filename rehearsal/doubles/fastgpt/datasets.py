"""Datasets, their queue, and embedding anew (docs/facts/fastgpt.md §4, §8)."""

from rehearsal.doubles.fastgpt.apps import NEW
from rehearsal.doubles.fastgpt.auth import now
from rehearsal.doubles.fastgpt.call import Call
from rehearsal.doubles.fastgpt.envelope import PERMISSION, Json, Problem
from rehearsal.doubles.fastgpt.store import Document


def create_dataset(call: Call) -> str:
    """POST /api/core/dataset/create: the id.

    Model names are kept as given, known or not; `intro` is ignored (docs/facts/measured.md §1 F4).
    """
    body = call.body
    config = call.service.config
    vector_model = body.get("vectorModel") or config.vector(None).get("model")
    agent_model = body.get("agentModel") or config.dataset_llm().get("model")
    config.vector(vector_model)
    config.llm(agent_model)
    if not body.get("name"):
        raise Problem("datasets validation failed: name: Path `name` is required.")
    kept = {
        "parentId": body.get("parentId"),
        **call.caller.owner,
        "type": body.get("type") or "dataset",
        "status": "active",
        "avatar": body.get("avatar") or "/icon/logo.svg",
        "name": body["name"],
        "vectorModel": vector_model,
        "agentModel": agent_model,
        "intro": "",
        "updateTime": now(),
        **NEW,
    }
    return str(call.mongo.put("datasets", kept)["_id"])


def dataset_detail(call: Call) -> Document:
    """GET /api/core/dataset/detail?id=: the models are those that the names resolve to today."""
    return _shown(call, dataset_of(call, call.query.get("id")))


def list_datasets(call: Call) -> list[Document]:
    """POST /api/core/dataset/list {parentId}."""
    parent = call.body.get("parentId")
    rows = call.mongo.find("datasets", teamId=call.caller.team_id, parentId=parent)
    names = ["_id", "avatar", "name", "intro", "type", "permission", "vectorModel"]
    names += ["defaultPermission", "inheritPermission"]
    return [
        {name: dataset[name] for name in names}
        for dataset in (_shown(call, row) for row in reversed(rows))
    ]


def update_dataset(call: Call) -> None:
    """PUT /api/core/dataset/update: session only; `agentModel` is an object here."""
    body = call.body
    dataset = dataset_of(call, body.get("id"))
    names = ("name", "intro", "avatar", "parentId")
    changed = {name: body[name] for name in names if name in body}
    agent_model = body.get("agentModel")
    if isinstance(agent_model, dict) and agent_model.get("model"):
        changed["agentModel"] = agent_model["model"]
    call.mongo.put("datasets", {**dataset, **changed})


def delete_dataset(call: Call) -> None:
    """DELETE /api/core/dataset/delete?id=: with all that is in it."""
    _drop(call, dataset_of(call, call.query.get("id"))["_id"])


def _drop(call: Call, dataset_id: str) -> None:
    call.service.vectors.delete("modeldata", dataset_id=dataset_id)
    for child in call.mongo.find("datasets", parentId=dataset_id):
        _drop(call, child["_id"])
    for table in ("trainings", "dataset_datas", "dataset_collections"):
        call.mongo.delete(table, datasetId=dataset_id)
    call.mongo.delete("datasets", _id=dataset_id)


def training_queue(call: Call) -> Document:
    """GET /api/core/dataset/training/getDatasetTrainingQueue?datasetId=."""
    dataset = dataset_of(call, call.query.get("datasetId"))
    waiting = call.mongo.find("trainings", datasetId=dataset["_id"])
    return {"rebuildingCount": 0, "trainingCount": len(waiting)}


def dataset_of(call: Call, id_: Json) -> Document:
    """The dataset with that id, as it is stored.

    Raises:
        Problem: `unExistDataset`.
    """
    return call.mongo.existing("datasets", id_, "unExistDataset")


def _shown(call: Call, dataset: Document) -> Document:
    return {
        **dataset,
        "vectorModel": call.service.config.vector(dataset["vectorModel"]),
        "agentModel": call.service.config.llm(dataset["agentModel"]),
        "permission": PERMISSION,
    }
