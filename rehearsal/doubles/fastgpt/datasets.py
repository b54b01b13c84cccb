"""Datasets, their queue, and embedding anew (docs/facts/fastgpt.md §4, §8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rehearsal.doubles.fastgpt.apps import NEW
from rehearsal.doubles.fastgpt.auth import now, session, session_or_key
from rehearsal.doubles.fastgpt.call import Call
from rehearsal.doubles.fastgpt.envelope import PERMISSION, Json, Problem
from rehearsal.doubles.fastgpt.store import Document

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service


def create_dataset(service: Service, call: Call) -> str:
    """POST /api/core/dataset/create: the id.

    Model names are kept as given, known or not; `intro` is ignored (docs/facts/measured.md §1 F4).
    """
    identity = session_or_key(service, call)
    body = call.body
    config = service.config
    vector_model = body.get("vectorModel") or config.vector(None).get("model")
    agent_model = body.get("agentModel") or config.dataset_llm().get("model")
    config.vector(vector_model)
    config.llm(agent_model)
    if not body.get("name"):
        raise Problem("datasets validation failed: name: Path `name` is required.")
    kept = {
        "parentId": body.get("parentId"),
        "teamId": identity.team_id,
        "tmbId": identity.tmb_id,
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
    return str(service.mongo.put("datasets", kept)["_id"])


def dataset_detail(service: Service, call: Call) -> Document:
    """GET /api/core/dataset/detail?id=: the models are those that the names resolve to today."""
    session_or_key(service, call)
    return _shown(service, dataset_of(service, call.query.get("id")))


def list_datasets(service: Service, call: Call) -> list[Document]:
    """POST /api/core/dataset/list {parentId}."""
    identity = session_or_key(service, call)
    parent = call.body.get("parentId")
    rows = service.mongo.find("datasets", teamId=identity.team_id, parentId=parent)
    names = ["_id", "avatar", "name", "intro", "type", "permission", "vectorModel"]
    names += ["defaultPermission", "inheritPermission"]
    return [
        {name: dataset[name] for name in names}
        for dataset in (_shown(service, row) for row in reversed(rows))
    ]


def update_dataset(service: Service, call: Call) -> None:
    """PUT /api/core/dataset/update: session only; `agentModel` is an object here."""
    session(service, call)
    body = call.body
    dataset = dataset_of(service, body.get("id"))
    names = ("name", "intro", "avatar", "parentId")
    changed = {name: body[name] for name in names if name in body}
    agent_model = body.get("agentModel")
    if isinstance(agent_model, dict) and agent_model.get("model"):
        changed["agentModel"] = agent_model["model"]
    service.mongo.put("datasets", {**dataset, **changed})


def delete_dataset(service: Service, call: Call) -> None:
    """DELETE /api/core/dataset/delete?id=: with all that is in it."""
    session_or_key(service, call)
    _drop(service, dataset_of(service, call.query.get("id"))["_id"])


def _drop(service: Service, dataset_id: str) -> None:
    service.vectors.delete("modeldata", dataset_id=dataset_id)
    for child in service.mongo.find("datasets", parentId=dataset_id):
        _drop(service, child["_id"])
    for table in ("trainings", "dataset_datas", "dataset_collections"):
        service.mongo.delete(table, datasetId=dataset_id)
    service.mongo.delete("datasets", _id=dataset_id)


def training_queue(service: Service, call: Call) -> Document:
    """GET /api/core/dataset/training/getDatasetTrainingQueue?datasetId=."""
    session_or_key(service, call)
    mongo, id_ = service.mongo, dataset_of(service, call.query.get("datasetId"))["_id"]
    return {
        "rebuildingCount": 0,
        "trainingCount": len(mongo.find("trainings", datasetId=id_)),
    }


def dataset_of(service: Service, id_: Json) -> Document:
    """The dataset with that id, as it is stored.

    Raises:
        Problem: `unExistDataset`.
    """
    return service.mongo.existing("datasets", id_, "unExistDataset")


def _shown(service: Service, dataset: Document) -> Document:
    return {
        **dataset,
        "vectorModel": service.config.vector(dataset["vectorModel"]),
        "agentModel": service.config.llm(dataset["agentModel"]),
        "permission": PERMISSION,
    }
