"""Apps, their versions, and the doors into them (docs/facts/fastgpt.md §4 to §6)."""

import secrets
import string

from rehearsal.doubles.fastgpt.config import Config
from rehearsal.doubles.fastgpt.envelope import SHAPES, Call, Document, known, picked
from rehearsal.doubles.fastgpt.store import now, object_id

LEAST_LIMIT = 3000


def create_app(call: Call) -> str:
    """POST /api/core/app/create {name, type, modules, edges, parentId}: the id."""
    given = picked(call.body, "name", "type", "modules", "edges", "parentId")
    if not given.get("name") or not given.get("type") or "modules" not in given:
        raise known("inheritPermissionError")
    kept = {**SHAPES["app"], **call.owner, **given, "updateTime": now()}
    app = call.mongo.put("apps", kept)
    _insert_version(call, app)
    return str(app["_id"])


def app_detail(call: Call) -> Document:
    """GET /api/core/app/detail?appId=: the graph is `modules` here."""
    return {**_app(call), "permission": SHAPES["permission"]}


def list_apps(call: Call) -> list[Document]:
    """POST /api/core/app/list {parentId}."""
    rows = call.mongo.find("apps", parentId=call.body.get("parentId"))
    shown = [{**app, "permission": SHAPES["permission"]} for app in reversed(rows)]
    return [picked(app, *SHAPES["listed"]["app"]) for app in shown]


def update_app(call: Call) -> Document:
    """PUT /api/core/app/update?appId= {name, intro, parentId}; the answer is the app before."""
    app = _app(call)
    changed = picked(call.body, "name", "intro", "parentId")
    call.mongo.put("apps", {**app, **changed, "updateTime": now()})
    return app


def publish(call: Call) -> Document:
    """POST /api/core/app/version/publish?appId= {nodes, edges, chatConfig, type}."""
    app, body = _app(call), call.body
    graph = {
        "modules": lowered_limits(call.service.config, body["nodes"]),
        "edges": body["edges"],
        "chatConfig": {**body["chatConfig"], "_id": object_id()},
    }
    kept = {**app, **SHAPES["published"], **graph, "type": body["type"], "updateTime": now()}
    _insert_version(call, call.mongo.put("apps", kept))
    return {}


def delete_app(call: Call) -> None:
    """DELETE /api/core/app/del?appId=: with chats, share links and versions, but not its keys."""
    app = _app(call)
    for table in ("chatitems", "outlinks", "app_versions"):
        call.mongo.delete(table, appId=app["_id"])
    call.mongo.delete("apps", _id=app["_id"])


def newest_version(call: Call, app_id: str) -> Document:
    """What a chat runs: the newest version, whatever was done to the app since."""
    return call.mongo.find("app_versions", appId=app_id)[-1]


def lowered_limits(config: Config, nodes: list[Document]) -> list[Document]:
    """The graph as it is saved: no dataset search may quote more than the chat models can take."""
    quoted = [model.get("quoteMaxToken", 0) for model in chat_models(config, nodes)]
    most = max([LEAST_LIMIT, *quoted])
    for item in (item for node in nodes for item in node["inputs"] if item["key"] == "limit"):
        item["value"] = min(item["value"], most)
    return nodes


def chat_models(config: Config, nodes: list[Document]) -> list[Document]:
    """The models that a graph chats with."""
    inputs = (item for node in nodes for item in node["inputs"])
    return [config.llm(item.get("value")) for item in inputs if item["key"] == "model"]


def _insert_version(call: Call, app: Document) -> None:
    graph = {"nodes": app["modules"], "edges": app["edges"]}
    told = {"appId": app["_id"], "chatConfig": app.get("chatConfig", {})}
    call.mongo.put("app_versions", {**graph, **told})


def _app(call: Call) -> Document:
    return call.mongo.existing("apps", call.query.get("appId"), "appUnExist")


def create_link(call: Call) -> str:
    """POST /api/support/outLink/create: the shareId, which is not the `_id`."""
    app = call.mongo.existing("apps", call.body.get("appId"), "appUnExist")
    alphabet = string.ascii_lowercase + string.digits
    share_id = "".join(secrets.choice(alphabet) for _ in range(24))
    given = picked(call.body, "type", "name", "responseDetail", "limit")
    kept = {**SHAPES["metered"], **call.owner, **given, "appId": app["_id"], "shareId": share_id}
    call.mongo.put("outlinks", kept)
    return share_id


def list_links(call: Call) -> list[Document]:
    """GET /api/support/outLink/list?appId=&type=: without `type` nothing matches."""
    kind = call.query.get("type")
    return call.mongo.find("outlinks", appId=_app(call)["_id"], type=kind)[::-1]


def create_key(call: Call) -> str:
    """POST /api/support/openapi/create {appId, name, limit}: the whole key, for the only time."""
    app = call.mongo.existing("apps", call.body.get("appId"), "appUnExist")
    prefix = call.service.config.system_env.get("openapiPrefix") or "fastgpt"
    alphabet = string.ascii_letters + string.digits
    key = f"{prefix}-{''.join(secrets.choice(alphabet) for _ in range(56))}"
    given = {**picked(call.body, "name", "limit"), "appId": app["_id"], "apiKey": key}
    call.mongo.put("openapis", {**SHAPES["metered"], **call.owner, **given, "createTime": now()})
    return key


def list_keys(call: Call) -> list[Document]:
    """GET /api/support/openapi/list?appId=: masked keys."""
    keys = reversed(call.mongo.find("openapis", appId=_app(call)["_id"]))
    return [{**key, "apiKey": "******" + key["apiKey"][-4:], "id": key["_id"]} for key in keys]


def update_door(table: str, missing: str, call: Call) -> Document:
    """POST /api/support/outLink/update, PUT /api/support/openapi/update {_id, name, ...}."""
    door = call.mongo.existing(table, call.body.get("_id"), missing)
    call.mongo.put(table, {**door, **call.body})
    return {}


def delete_door(table: str, missing: str, call: Call) -> None:
    """DELETE /api/support/outLink/delete?id=<_id>, /api/support/openapi/delete?id=."""
    door = call.mongo.existing(table, call.query.get("id"), missing)
    call.mongo.delete(table, _id=door["_id"])
