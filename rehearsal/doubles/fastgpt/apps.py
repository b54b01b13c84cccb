"""Apps, their versions, and the doors into them (docs/facts/fastgpt.md §4 to §6)."""

import secrets
from functools import partial

from rehearsal.doubles.fastgpt.config import Config
from rehearsal.doubles.fastgpt.envelope import SHAPES, Call, Document, named, picked
from rehearsal.doubles.fastgpt.store import now, object_id


def create_app(call: Call) -> str:
    given = picked(call.body, "name", "type", "modules", "edges", "parentId")
    if not given.get("name") or not given.get("type") or "modules" not in given:
        raise named("inheritPermissionError")
    kept = {**SHAPES["app"], **call.owner, **given, "updateTime": now()}
    app = call.mongo.put("apps", kept)
    _insert_version(call, app)
    return str(app["_id"])


def detail_app(call: Call) -> Document:
    """The graph is `modules` here."""
    return {**existing_app(call), "permission": SHAPES["permission"]}


def list_app(call: Call) -> list[Document]:
    rows = call.mongo.find("apps", parentId=call.body.get("parentId"))
    shown = [{**app, "permission": SHAPES["permission"]} for app in reversed(rows)]
    return [picked(app, *SHAPES["listed"]["app"]) for app in shown]


def update_app(call: Call) -> Document:
    """The answer is the app before."""
    app = existing_app(call)
    changed = picked(call.body, "name", "intro", "parentId")
    call.mongo.put("apps", {**app, **changed, "updateTime": now()})
    return app


def version_publish(call: Call) -> Document:
    app, body = existing_app(call), call.body
    nodes = body["nodes"]
    # No dataset search may quote more than the chat models can take.
    quoted = (model.get("quoteMaxToken", 0) for model in chat_models(call.service.config, nodes))
    most = max(3000, 0, *quoted)
    for item in (item for node in nodes for item in node["inputs"] if item["key"] == "limit"):
        item["value"] = min(item["value"], most)
    graph = {"modules": nodes, "chatConfig": {**body["chatConfig"], "_id": object_id()}}
    graph |= picked(body, "edges", "type")
    kept = {**app, **SHAPES["published"], **graph, "updateTime": now()}
    _insert_version(call, call.mongo.put("apps", kept))
    return {}


def del_app(call: Call) -> None:
    """With chats, share links and versions, but not its keys."""
    call.mongo.delete_whole("apps", existing_app(call)["_id"])


def newest_version(call: Call, app_id: str) -> Document:
    """What a chat runs: the newest published version, whatever was done to the app since."""
    versions = call.mongo.find("app_versions", appId=app_id)
    return [each for each in versions if each.get("isPublish", True)][-1]


def chat_models(config: Config, nodes: list[Document]) -> list[Document]:
    inputs = (item for node in nodes for item in node["inputs"])
    return [config.llm(item.get("value")) for item in inputs if item["key"] == "model"]


def _insert_version(call: Call, app: Document) -> None:
    graph = {"nodes": app["modules"], "edges": app["edges"]}
    told = {"appId": app["_id"], "chatConfig": app.get("chatConfig", {})}
    call.mongo.put("app_versions", {**graph, **told})


def existing_app(call: Call) -> Document:
    id_ = call.query.get("appId") or call.body.get("appId")
    return call.mongo.existing("apps", id_, "appUnExist")


def create_link(call: Call) -> str:
    """The shareId, which is not the `_id`."""
    given = picked(call.body, "type", "name", "responseDetail", "limit")
    given |= {"appId": existing_app(call)["_id"], "shareId": secrets.token_hex(12)}
    kept = call.mongo.put("outlinks", {**SHAPES["metered"], **call.owner, **given})
    return str(kept["shareId"])


def list_link(call: Call) -> list[Document]:
    """Without `type` nothing matches."""
    kind = call.query.get("type")
    return call.mongo.find("outlinks", appId=existing_app(call)["_id"], type=kind)[::-1]


def create_key(call: Call) -> str:
    """The whole key, for the only time."""
    prefix = call.service.config.system_env.get("openapiPrefix") or "fastgpt"
    key = f"{prefix}-{secrets.token_hex(28)}"
    given = {**picked(call.body, "name", "limit"), "apiKey": key}
    given |= {"appId": existing_app(call)["_id"]}
    call.mongo.put("openapis", {**SHAPES["metered"], **call.owner, **given, "createTime": now()})
    return key


def list_key(call: Call) -> list[Document]:
    keys = reversed(call.mongo.find("openapis", appId=existing_app(call)["_id"]))
    return [{**key, "apiKey": "******" + key["apiKey"][-4:], "id": key["_id"]} for key in keys]


def update_door(table: str, missing: str, call: Call) -> Document:
    door = call.mongo.existing(table, call.body.get("_id"), missing)
    call.mongo.put(table, {**door, **call.body})
    return {}


def delete_door(table: str, missing: str, call: Call) -> None:
    door = call.mongo.existing(table, call.query.get("id"), missing)
    call.mongo.delete(table, _id=door["_id"])


update_key = partial(update_door, "openapis", "openapiUnExist")
delete_key = partial(delete_door, "openapis", "openapiUnExist")
update_link = partial(update_door, "outlinks", "outlinkUnExist")
delete_link = partial(delete_door, "outlinks", "outlinkUnExist")
