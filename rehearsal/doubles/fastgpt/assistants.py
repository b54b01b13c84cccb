"""Apps of the current edition, their versions, and the doors into them
(docs/facts/fastgpt-current-measured.md §2, §4)."""

import copy
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rehearsal.doubles.fastgpt.apps import delete_key, delete_link, existing_app, list_link
from rehearsal.doubles.fastgpt.envelope import CURRENT, Call, Document, Json, named, picked
from rehearsal.doubles.fastgpt.libraries import paged
from rehearsal.doubles.fastgpt.refusals import Invalid, check
from rehearsal.doubles.fastgpt.store import now, object_id

_NOT_BY_AGENTS = {"selectDataset", "settingLLMModel"}
_REFS: Document = {"resourceRefs": {"skillIds": []}}


def create_app(call: Call) -> str:
    """With its first version. A model that is unknown is left out in silence."""
    body = call.body
    nodes = _changed(body.get("modules", []), _store)
    known = [model["model"] for model in call.service.config.models["llmModels"]]
    for item in (item for node in nodes for item in node["inputs"] if item["key"] == "model"):
        if item.get("value") not in known:
            item.pop("value", None)
    usual = {"avatar": "/icon/logo.svg", "intro": "", "parentId": None, **call.owner}
    given = picked(body, "name", "type", "intro", "avatar", "parentId")
    graph = {"modules": nodes, "edges": body.get("edges", [])}
    graph |= {"chatConfig": _chat_config(body.get("chatConfig", {}))}
    more = {"version": "v2", "inheritPermission": True, "deleteTime": None, **_REFS}
    app = call.mongo.put("apps", {**usual, **given, **graph, **more, "updateTime": now()})
    _insert_version(call, app, app["name"], is_published=True)
    return str(app["_id"])


def _changed(nodes: list[Document], change: Callable[[Document], None]) -> list[Document]:
    """Copies of the nodes but the guide, with all inputs changed."""
    copied: list[Document] = copy.deepcopy([n for n in nodes if n["flowNodeType"] != "userGuide"])
    for item in (item for node in copied for item in node["inputs"]):
        change(item)
    return copied


def _store(item: Document) -> None:
    """Of datasets only the ids are kept."""
    if item["key"] == "datasets" and isinstance(item.get("value"), list):
        item["value"] = [picked(each, "datasetId") for each in item["value"]]


def _chat_config(given: Mapping[str, Any]) -> Document:
    """With a welcome in both forms."""
    kept = {"variables": [], **given}
    if kept.get("welcomeText"):
        kept["welcomeConfig"] = {"welcomeText": kept["welcomeText"]}
    if "chatInputGuide" in kept:
        kept["chatInputGuide"] = picked(kept["chatInputGuide"], "open", "customUrl")
    kept.pop("scheduledTriggerConfig", None)
    return kept


def _show(call: Call, item: Document) -> None:
    """What an input has chosen, and what its datasets are today."""
    kinds = item["renderTypeList"]
    item["selectedType"] = kinds[0]
    if "reference" in kinds and not _NOT_BY_AGENTS & {*kinds}:
        item["renderTypeList"] = ["agentGenerated", *kinds]
    if item["key"] == "datasets" and isinstance(item.get("value"), list):
        item["value"] = [_dataset(call, each["datasetId"]) for each in item["value"]]


def _dataset(call: Call, id_: str) -> Document:
    row = call.mongo.get("datasets", id_)
    if row is None or row["deleteTime"]:
        return {"datasetId": id_, "isDeleted": True}
    told = {"vectorModel": call.service.config.vector(row["vectorModel"]), "isDeleted": False}
    return {"datasetId": id_, **picked(row, "avatar", "name"), **told}


def detail_app(call: Call) -> Document:
    """It is there until the job behind its deletion is done."""
    app = existing_app(call)
    modules = _changed(app["modules"], partial(_show, call))
    return {**app, "modules": modules, "permission": CURRENT["permissions"]["app"]}


def list_app(call: Call) -> list[Document]:
    rows = call.mongo.find("apps", parentId=call.body.get("parentId"), deleteTime=None)
    names = "_id parentId tmbId name avatar intro type updateTime pluginData inheritPermission"
    more = {"permission": CURRENT["permissions"]["app"], "sourceMember": CURRENT["member"]}
    more |= {"private": True, "hasInteractiveNode": False}
    return [{**picked(row, *names.split()), **more} for row in reversed(rows)]


def update_app(call: Call) -> Document:
    """The answer is the document before the change."""
    app = existing_app(call)
    changed = picked(call.body, "name", "intro", "avatar", "type", "parentId")
    call.mongo.put("apps", {**app, **changed, "updateTime": now()})
    config = {**app["chatConfig"], "_id": object_id()}
    return {**app, "scheduledTriggerConfig": {}, "chatConfig": config, "__v": 0}


def version_publish(call: Call) -> None:
    """What is left out is saved as empty. Raises Invalid: a node or setting has another form."""
    body = call.body
    issues = []
    for place, node in enumerate(body.get("nodes", [])):
        issues += check(node, {"name": "string"}, ("nodes", place))
    config = body.get("chatConfig", {})
    needed = dict.fromkeys(("questionGuide", "scheduledTriggerConfig"), "object?")
    if issues := issues + check(config, needed, ("chatConfig",)):
        raise Invalid(issues)
    app = existing_app(call)
    graph = {"modules": _changed(body.get("nodes", []), _store), "edges": body.get("edges", [])}
    app |= {**graph, "chatConfig": _chat_config(config), "updateTime": now()}
    is_published = bool(body.get("isPublish"))
    version = _insert_version(call, app, body.get("versionName", ""), is_published)
    call.mongo.put("apps", {**app, "pluginData": {"nodeVersion": version["_id"]}})


def del_app(call: Call) -> list[str]:
    app = existing_app(call)
    call.mongo.put("apps", {**app, "deleteTime": now()})
    return [app["_id"]]


def _insert_version(call: Call, app: Document, name: str, is_published: bool) -> Document:
    told = {"appId": app["_id"], "tmbId": app["tmbId"], "time": now(), "versionName": name}
    graph = {"nodes": app["modules"], **picked(app, "edges", "chatConfig")}
    return call.mongo.put("app_versions", {**told, **graph, "isPublish": is_published, **_REFS})


def version_list(call: Call) -> Document:
    page = paged(call, call.mongo.find("app_versions", appId=existing_app(call)["_id"])[::-1])
    names, more = "_id appId versionName time isPublish tmbId", {"sourceMember": CURRENT["member"]}
    return {**page, "list": [{**picked(row, *names.split()), **more} for row in page["list"]]}


def version_detail(call: Call) -> Document:
    row = call.mongo.existing("app_versions", call.query.get("versionId"), "appUnExist")
    return {**row, "nodes": _changed(row["nodes"], partial(_show, call))}


def create_link(call: Call) -> str:
    """The shareId, which is not the `_id`; fields of 4.8.8 are dropped."""
    given = picked(call.body, "type", "name", *CURRENT["link"])
    limit = {**CURRENT["link"]["limit"], **call.body.get("limit", {})}
    given |= {"appId": existing_app(call)["_id"], "shareId": secrets.token_hex(12), "limit": limit}
    kept = call.mongo.put("outlinks", {**CURRENT["link"], **call.owner, **given})
    return str(kept["shareId"])


def create_key(call: Call) -> str:
    """One key of the team for all apps."""
    key = f"fastgpt-{secrets.token_hex(28)}"
    limit = {**CURRENT["key"]["limit"], **call.body.get("limit", {})}
    given = {"name": call.body["name"], "limit": limit, "apiKey": key, "createTime": now()}
    call.mongo.put("openapis", {**CURRENT["key"], **call.owner, **given})
    return key


def list_key(call: Call) -> list[Document]:
    keys = reversed(call.mongo.find("openapis"))
    return [{**key, "apiKey": "******" + key["apiKey"][-4:]} for key in keys]


def health(call: Call) -> Document:
    """Whether a key is one, and what is used up of it."""
    keys = call.mongo.find("openapis", apiKey=call.query.get("apiKey"))
    if not keys:
        raise named("unAuthApiKey")
    most = keys[0]["limit"]["maxUsagePoints"]
    return {"valid": True, **picked(keys[0], "usagePoints"), "maxUsagePoints": most}


def copy_key(call: Call) -> str:
    """The whole key, again."""
    id_ = call.body.get("id")
    return str(call.mongo.existing("openapis", id_, "openapiUnExist")["apiKey"])


def _update(table: str, missing: str, call: Call) -> Json:
    """What is left out stays."""
    door = call.mongo.existing(table, call.body.get("_id"), missing)
    limit = {**door["limit"], **call.body.get("limit", {})}
    call.mongo.put(table, {**door, **picked(call.body, "name", *CURRENT["link"]), "limit": limit})
    return door.get("shareId")


__all__ = ["delete_key", "delete_link", "list_link"]
update_link = partial(_update, "outlinks", "outlinkUnExist")
update_key = partial(_update, "openapis", "openapiUnExist")
