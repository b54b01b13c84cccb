"""Apps, their versions and their share links (facts/fastgpt.md §5, §6)."""

from __future__ import annotations

import copy
import secrets
import string
import time
from typing import TYPE_CHECKING, Any

from rehearsal.doubles.fastgpt.auth import Identity, now, owned, session
from rehearsal.doubles.fastgpt.call import Call
from rehearsal.doubles.fastgpt.config import Config
from rehearsal.doubles.fastgpt.envelope import Json, Problem, known
from rehearsal.doubles.fastgpt.store import Document, checked_id, delete_where, find, insert

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

SHARE_ID_LENGTH = 24
LEAST_LIMIT = 3000
SHARE_ALPHABET = string.ascii_lowercase + string.digits

# Apps


def create_app(service: Service, call: Call) -> str:
    """POST /api/core/app/create {name, type, modules, edges, ...}: the id.

    `chatConfig` and `intro` are ignored, and what is missing is called a permission error.
    """
    identity = session(service, call)
    body = call.body
    if not body.get("name") or not body.get("type") or not isinstance(body.get("modules"), list):
        raise known("inheritPermissionError")
    app = insert(
        service.mongo,
        "apps",
        {
            "teamId": identity.team_id,
            "tmbId": identity.tmb_id,
            "parentId": body.get("parentId"),
            "name": body["name"],
            "type": body["type"],
            "avatar": body.get("avatar") or "/icon/logo.svg",
            "intro": "",
            "modules": body["modules"],
            "edges": body.get("edges") or [],
            "chatConfig": {},
            "version": "v2",
            "updateTime": now(),
        },
    )
    if body["type"] not in ("folder", "httpPlugin"):
        _insert_version(service, app)
    return str(app["_id"])


def app_detail(service: Service, call: Call) -> Document:
    """GET /api/core/app/detail?appId=: the graph is `modules` here."""
    app = _app(service, session(service, call), call.query.get("appId"))
    return {**app, "permission": {"value": 4294967295, "isOwner": True}}


def list_apps(service: Service, call: Call) -> list[Document]:
    """POST /api/core/app/list {parentId, type?, searchKey?}."""
    identity = session(service, call)
    body = call.body
    rows = find(service.mongo, "apps", teamId=identity.team_id)
    if body.get("searchKey"):
        wanted = str(body["searchKey"]).lower()
        rows = [app for app in rows if wanted in app["name"].lower()]
    else:
        rows = [app for app in rows if app["parentId"] == body.get("parentId")]
    if body.get("type"):
        wanted_types = body["type"] if isinstance(body["type"], list) else [body["type"]]
        rows = [app for app in rows if app["type"] in wanted_types]
    names = ("_id", "tmbId", "avatar", "type", "name", "intro", "updateTime", "parentId")
    permission = {"value": 4294967295, "isOwner": True}
    return [
        {**{name: app[name] for name in names}, "permission": permission} for app in reversed(rows)
    ]


def update_app(service: Service, call: Call) -> None:
    """PUT /api/core/app/update?appId=: the graph is `nodes` here, and is not published."""
    app = _app(service, session(service, call), call.query.get("appId"))
    body = call.body
    names = ("name", "avatar", "intro", "type", "edges", "chatConfig", "parentId", "teamTags")
    changed = {name: body[name] for name in names if name in body}
    if isinstance(body.get("nodes"), list):
        changed["modules"] = lowered_limits(service.config, body["nodes"])
    service.mongo.put("apps", app["_id"], {**app, **changed, "updateTime": now()})


def publish(service: Service, call: Call) -> None:
    """POST /api/core/app/version/publish?appId= {nodes, edges, chatConfig, type}."""
    app = _app(service, session(service, call), call.query.get("appId"))
    body = call.body
    changed = {
        "modules": lowered_limits(service.config, body.get("nodes") or []),
        "edges": body.get("edges") or [],
        "chatConfig": body.get("chatConfig") or {},
        "type": body.get("type") or app["type"],
        "updateTime": now(),
    }
    published = {**app, **changed}
    _insert_version(service, published)
    service.mongo.put("apps", app["_id"], published)


def delete_app(service: Service, call: Call) -> None:
    """DELETE /api/core/app/del?appId=: with chats, share links and versions, but not its keys."""
    app = _app(service, session(service, call), call.query.get("appId"))
    for table in ("chats", "chatitems", "outlinks", "app_versions"):
        delete_where(service.mongo, table, appId=app["_id"])
    service.mongo.delete("apps", app["_id"])


def newest_version(service: Service, app: Document) -> Document:
    """What a chat runs: the newest version, whatever was done to the app since."""
    versions = find(service.mongo, "app_versions", appId=app["_id"])
    if not versions:
        return {name: app[key] for name, key in _VERSION.items()}
    return max(versions, key=lambda version: int(version["time"]))


def lowered_limits(config: Config, nodes: list[Document]) -> list[Document]:
    """The graph as it is saved: no dataset search may quote more than the chat models can take."""
    nodes = copy.deepcopy(nodes)
    models = [_input(node, "model") for node in nodes if node.get("flowNodeType") == "chatNode"]
    quotes: list[Any] = [
        config.llm(model.get("value")).get("quoteMaxToken") for model in models if model
    ]
    # Math.max(3000, undefined) is NaN, and nothing is greater than NaN.
    most = None if None in quotes else max([LEAST_LIMIT, *quotes])
    for node in nodes:
        limit = _input(node, "limit") if node.get("flowNodeType") == "datasetSearchNode" else None
        if limit and most is not None and isinstance(limit.get("value"), int | float):
            limit["value"] = min(limit["value"], most)
    return nodes


_VERSION = {"nodes": "modules", "edges": "edges", "chatConfig": "chatConfig"}


def _insert_version(service: Service, app: Document) -> None:
    graph = {name: app[key] for name, key in _VERSION.items()}
    insert(service.mongo, "app_versions", {"appId": app["_id"], **graph, "time": time.time_ns()})


def _input(node: Document, key: str) -> Document | None:
    found: list[Document] = [item for item in node.get("inputs") or [] if item.get("key") == key]
    return found[0] if found else None


def _app(service: Service, identity: Identity, id_: Json) -> Document:
    app = service.mongo.get("apps", checked_id(id_, "apps"))
    return owned(app, identity, "appUnExist" if app is None else "unAuthApp")


# Share links


def create_link(service: Service, call: Call) -> str:
    """POST /api/support/outLink/create: the shareId, which is not the `_id`."""
    identity = session(service, call)
    body = call.body
    app = _app(service, identity, body.get("appId"))
    for name in ("type", "name"):
        if not body.get(name):
            raise Problem(f"outlinks validation failed: {name}: Path `{name}` is required.")
    share_id = "".join(secrets.choice(SHARE_ALPHABET) for _ in range(SHARE_ID_LENGTH))
    insert(
        service.mongo,
        "outlinks",
        {
            "shareId": share_id,
            "teamId": identity.team_id,
            "tmbId": identity.tmb_id,
            "appId": app["_id"],
            "type": body["type"],
            "name": body["name"],
            "responseDetail": bool(body.get("responseDetail")),
            "limit": body.get("limit") or {},
            "usagePoints": 0,
            "lastTime": None,
        },
    )
    return share_id


def list_links(service: Service, call: Call) -> list[Document]:
    """GET /api/support/outLink/list?appId=&type=: without `type` nothing matches."""
    app = _app(service, session(service, call), call.query.get("appId"))
    kind = call.query.get("type")
    return list(reversed(find(service.mongo, "outlinks", appId=app["_id"], type=kind)))


def update_link(service: Service, call: Call) -> None:
    """POST /api/support/outLink/update {_id, name, responseDetail, limit}: `limit` as a whole."""
    link = _link(service, session(service, call), call.body.get("_id"))
    names = ("name", "responseDetail", "limit", "app")
    changed = {name: call.body[name] for name in names if name in call.body}
    service.mongo.put("outlinks", link["_id"], {**link, **changed})


def delete_link(service: Service, call: Call) -> None:
    """DELETE /api/support/outLink/delete?id=<_id>."""
    link = _link(service, session(service, call), call.query.get("id"))
    service.mongo.delete("outlinks", link["_id"])


def _link(service: Service, identity: Identity, id_: Json) -> Document:
    link = service.mongo.get("outlinks", checked_id(id_, "outlinks"))
    return owned(link, identity, "outlinkUnExist")
