"""Apps, their versions and their share links (docs/facts/fastgpt.md §5, §6)."""

import copy
import secrets
import string
import time

from rehearsal.doubles.fastgpt.auth import now
from rehearsal.doubles.fastgpt.call import Call
from rehearsal.doubles.fastgpt.config import Config
from rehearsal.doubles.fastgpt.envelope import PERMISSION, Problem, known
from rehearsal.doubles.fastgpt.store import Document, object_id

SHARE_ID_LENGTH = 24
NEW = {"defaultPermission": 0, "inheritPermission": True, "__v": 0}
"""What the schemas of apps and datasets add."""
LEAST_LIMIT = 3000
SHARE_ALPHABET = string.ascii_lowercase + string.digits

# Apps


def create_app(call: Call) -> str:
    """POST /api/core/app/create {name, type, modules, edges, ...}: the id.

    `chatConfig` and `intro` are ignored, and what is missing is called a permission error.
    """
    body = call.body
    if not body.get("name") or not body.get("type") or not isinstance(body.get("modules"), list):
        raise known("inheritPermissionError")
    app = call.mongo.put(
        "apps",
        {
            **call.caller.owner,
            "parentId": body.get("parentId"),
            "name": body["name"],
            "type": body["type"],
            "avatar": body.get("avatar") or "/icon/logo.svg",
            "intro": "",
            "modules": body["modules"],
            "edges": body.get("edges") or [],
            "version": "v2",
            "teamTags": [],
            "updateTime": now(),
            **NEW,
        },
    )
    _insert_version(call, app)
    return str(app["_id"])


def app_detail(call: Call) -> Document:
    """GET /api/core/app/detail?appId=: the graph is `modules` here."""
    return {**_app(call), "permission": PERMISSION}


def list_apps(call: Call) -> list[Document]:
    """POST /api/core/app/list {parentId}."""
    rows = call.mongo.find("apps", parentId=call.body.get("parentId"))
    names = ["_id", "tmbId", "avatar", "type", "name", "intro", "updateTime"]
    names += ["defaultPermission", "inheritPermission"]
    return [{**{name: app[name] for name in names}, "permission": PERMISSION} for app in rows[::-1]]


def update_app(call: Call) -> Document:
    """PUT /api/core/app/update?appId=: the graph is `nodes` here, and is not published.

    The answer is the app as it was before.
    """
    app = _app(call)
    body = call.body
    names = ("name", "avatar", "intro", "type", "edges", "chatConfig", "parentId", "teamTags")
    changed = {name: body[name] for name in names if name in body}
    if isinstance(body.get("nodes"), list):
        changed["modules"] = lowered_limits(call.service.config, body["nodes"])
    if isinstance(changed.get("chatConfig"), dict):
        changed["chatConfig"] = {**changed["chatConfig"], "_id": object_id()}
    call.mongo.put("apps", {**app, **changed, "updateTime": now()})
    return app


def publish(call: Call) -> Document:
    """POST /api/core/app/version/publish?appId= {nodes, edges, chatConfig, type}."""
    app = _app(call)
    body = call.body
    chat_config = body.get("chatConfig") or {}
    changed = {
        "modules": lowered_limits(call.service.config, body.get("nodes") or []),
        "edges": body.get("edges") or [],
        "chatConfig": {**chat_config, "_id": object_id()},
        "scheduledTriggerConfig": chat_config.get("scheduledTriggerConfig"),
        "scheduledTriggerNextTime": None,
        "type": body.get("type") or app["type"],
        "updateTime": now(),
    }
    published = {**app, **changed}
    _insert_version(call, call.mongo.put("apps", published))
    return {}


def delete_app(call: Call) -> None:
    """DELETE /api/core/app/del?appId=: with chats, share links and versions, but not its keys."""
    app = _app(call)
    for table in ("chats", "chatitems", "outlinks", "app_versions"):
        call.mongo.delete(table, appId=app["_id"])
    call.mongo.delete("apps", _id=app["_id"])


def newest_version(call: Call, app: Document) -> Document:
    """What a chat runs: the newest version, whatever was done to the app since."""
    return call.mongo.find("app_versions", appId=app["_id"])[-1]


def chat_models(config: Config, version: Document) -> list[str]:
    """The names of the models that the graph of a version chats with."""
    models = [_input(node, "model") for node in version["nodes"] or []]
    return [str(config.llm(model.get("value")).get("name")) for model in models if model]


def lowered_limits(config: Config, nodes: list[Document]) -> list[Document]:
    """The graph as it is saved: no dataset search may quote more than the chat models can take."""
    nodes = copy.deepcopy(nodes)
    models = [_input(node, "model") for node in nodes if node.get("flowNodeType") == "chatNode"]
    chosen = [config.llm(model.get("value")) for model in models if model]
    if any("quoteMaxToken" not in model for model in chosen):
        # Math.max(3000, undefined) is NaN, and nothing is greater than NaN.
        return nodes
    most = max([LEAST_LIMIT, *(model["quoteMaxToken"] for model in chosen)])
    for node in nodes:
        limit = _input(node, "limit") if node.get("flowNodeType") == "datasetSearchNode" else None
        if limit and isinstance(limit.get("value"), int | float):
            limit["value"] = min(limit["value"], most)
    return nodes


def _insert_version(call: Call, app: Document) -> None:
    version = {"appId": app["_id"], "nodes": app["modules"], "edges": app["edges"]}
    version["chatConfig"] = app.get("chatConfig") or {}
    call.mongo.put("app_versions", {**version, "time": time.time_ns()})


def _input(node: Document, key: str) -> Document | None:
    found: list[Document] = [item for item in node.get("inputs") or [] if item.get("key") == key]
    return found[0] if found else None


def _app(call: Call) -> Document:
    return call.mongo.existing("apps", call.query.get("appId"), "appUnExist")


# Share links


def create_link(call: Call) -> str:
    """POST /api/support/outLink/create: the shareId, which is not the `_id`."""
    body = call.body
    app = call.mongo.existing("apps", body.get("appId"), "appUnExist")
    for name in ("type", "name"):
        if not body.get(name):
            raise Problem(f"outlinks validation failed: {name}: Path `{name}` is required.")
    share_id = "".join(secrets.choice(SHARE_ALPHABET) for _ in range(SHARE_ID_LENGTH))
    call.mongo.put(
        "outlinks",
        {
            "shareId": share_id,
            **call.caller.owner,
            "appId": app["_id"],
            "type": body["type"],
            "name": body["name"],
            "responseDetail": bool(body.get("responseDetail")),
            "limit": {"maxUsagePoints": -1, **(body.get("limit") or {})},
            "usagePoints": 0,
            "__v": 0,
        },
    )
    return share_id


def list_links(call: Call) -> list[Document]:
    """GET /api/support/outLink/list?appId=&type=: without `type` nothing matches."""
    app = _app(call)
    kind = call.query.get("type")
    return list(reversed(call.mongo.find("outlinks", appId=app["_id"], type=kind)))


def update_link(call: Call) -> Document:
    """POST /api/support/outLink/update {_id, name, responseDetail, limit}: `limit` as a whole."""
    link = call.mongo.existing("outlinks", call.body.get("_id"), "outlinkUnExist")
    changed = {name: call.body[name] for name in ("name", "responseDetail") if name in call.body}
    if "limit" in call.body:
        changed["limit"] = {"maxUsagePoints": -1, **call.body["limit"]}
    call.mongo.put("outlinks", {**link, **changed})
    return {}


def delete_link(call: Call) -> None:
    """DELETE /api/support/outLink/delete?id=<_id>."""
    link = call.mongo.existing("outlinks", call.query.get("id"), "outlinkUnExist")
    call.mongo.delete("outlinks", _id=link["_id"])
