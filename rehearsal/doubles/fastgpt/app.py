"""The routes of FastGPT, and how a request becomes a call and an answer."""

import asyncio
import base64
import hmac
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from rehearsal.doubles.fastgpt import apps, chat, datasets, index
from rehearsal.doubles.fastgpt.boot import Service, hash_str
from rehearsal.doubles.fastgpt.config import VERSION
from rehearsal.doubles.fastgpt.envelope import SHAPES, Answer, Call, Document, crash, done, known

PAGES = Path(__file__).parent
Handler = Callable[[Call], Any]
Who = Callable[[Call], None] | None
Endpoint = Callable[[Request], Awaitable[Response]]

DATASET = "/api/core/dataset"
COLLECTION = DATASET + "/collection"
KEY = ("openapis", "openapiUnExist")
LINK = ("outlinks", "outlinkUnExist")


def _init_data(call: Call) -> Document:
    """GET /api/common/system/getInitData: no login; the reranker's address and key are blanked."""
    config = call.service.config
    blank = {"requestUrl": "", "requestAuth": ""}
    rerankers = [{**model, **blank} for model in config.models["reRankModels"]]
    told = {"feConfigs": config.fe_configs, "systemVersion": VERSION}
    return {**told, **config.models, "reRankModels": rerankers}


def _login(call: Call) -> Answer:
    """POST /api/support/user/account/loginByPassword."""
    username, password = call.body.get("username"), call.body.get("password")
    if not username or not password:
        raise known("缺少参数")
    users = call.mongo.find("users", username=username)
    if not users:
        raise known("用户未注册")
    if users[0]["password"] != hash_str(password):
        raise known("密码错误")
    token = _token(call)
    answer = done({"user": _user(call), "token": token})
    kept = "Path=/; HttpOnly; Max-Age=604800; Samesite=Strict;"
    answer.headers["Set-Cookie"] = f"fastgpt_token={token}; {kept}"
    return answer


def _user(call: Call) -> Document:
    """GET /api/support/user/account/tokenLogin."""
    (root,) = call.mongo.find("users")
    team = {**SHAPES["team"], **call.owner, "userId": root["_id"]}
    team["permission"] = SHAPES["permission"]
    return {"_id": root["_id"], "username": "root", **SHAPES["user"], "team": team}


def _plan_status(call: Call) -> Document:
    """GET /api/support/user/team/plan/getTeamPlanStatus: counts the vectors in PostgreSQL."""
    return {**SHAPES["plan"], "usedDatasetSize": len(call.service.vectors.find("modeldata"))}


def _token(call: Call) -> str:
    """Root's JWT, signed with TOKEN_KEY. It does not end: no rehearsal lasts seven days."""
    parts = ({"alg": "HS256", "typ": "JWT"}, call.owner)
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    head = ".".join(part.rstrip("=") for part in coded)
    key = call.service.environment.token_key.encode()
    return f"{head}.{hmac.new(key, head.encode(), 'sha256').hexdigest()}"


def _session(call: Call) -> None:
    """Refuse whoever is not root in a session of this TOKEN_KEY."""
    if call.headers.get("token") != _token(call):
        raise known("unAuthorization")


ROUTES: list[tuple[str, str, Who, Handler]] = [
    ("GET", "/api/common/system/getInitData", None, _init_data),
    ("POST", "/api/support/user/account/loginByPassword", None, _login),
    ("GET", "/api/support/user/account/tokenLogin", _session, _user),
    ("GET", "/api/support/user/team/plan/getTeamPlanStatus", _session, _plan_status),
    ("POST", "/api/support/openapi/create", _session, apps.create_key),
    ("GET", "/api/support/openapi/list", _session, apps.list_keys),
    ("PUT", "/api/support/openapi/update", _session, partial(apps.update_door, *KEY)),
    ("DELETE", "/api/support/openapi/delete", _session, partial(apps.delete_door, *KEY)),
    ("POST", DATASET + "/create", _session, datasets.create_dataset),
    ("GET", DATASET + "/detail", _session, datasets.dataset_detail),
    ("POST", DATASET + "/list", _session, datasets.list_datasets),
    ("PUT", DATASET + "/update", _session, datasets.update_dataset),
    ("DELETE", DATASET + "/delete", _session, datasets.delete_dataset),
    ("GET", DATASET + "/training/getDatasetTrainingQueue", _session, datasets.training_queue),
    ("POST", DATASET + "/searchTest", _session, index.search_test),
    ("POST", COLLECTION + "/create", _session, datasets.create_empty),
    ("POST", COLLECTION + "/create/localFile", _session, datasets.create_from_file),
    ("POST", COLLECTION + "/create/text", _session, datasets.create_from_text),
    ("POST", COLLECTION + "/create/link", _session, datasets.create_from_link),
    ("POST", COLLECTION + "/list", _session, datasets.list_collections),
    ("GET", COLLECTION + "/detail", _session, datasets.collection_detail),
    ("PUT", COLLECTION + "/update", _session, datasets.update_collection),
    ("DELETE", COLLECTION + "/delete", _session, datasets.delete_collection),
    ("POST", DATASET + "/data/list", _session, datasets.list_data),
    ("POST", "/api/core/app/create", _session, apps.create_app),
    ("GET", "/api/core/app/detail", _session, apps.app_detail),
    ("POST", "/api/core/app/list", _session, apps.list_apps),
    ("PUT", "/api/core/app/update", _session, apps.update_app),
    ("DELETE", "/api/core/app/del", _session, apps.delete_app),
    ("POST", "/api/core/app/version/publish", _session, apps.publish),
    ("POST", "/api/support/outLink/create", _session, apps.create_link),
    ("GET", "/api/support/outLink/list", _session, apps.list_links),
    ("POST", "/api/support/outLink/update", _session, partial(apps.update_door, *LINK)),
    ("DELETE", "/api/support/outLink/delete", _session, partial(apps.delete_door, *LINK)),
    ("GET", "/api/core/chat/outLink/init", None, chat.init),
    ("POST", "/api/v1/chat/completions", None, chat.completions),
]


def build_app(service: Service) -> Starlette:
    """FastGPT as an ASGI application; nothing starts up before its first API request."""
    routes = [Route("/chat/share", _page("share.html")), Route("/", _page("index.html"))]
    for method, path, who, handler in ROUTES:
        routes.append(Route(path, _endpoint(service, who, handler), methods=[method]))
    return Starlette(routes=routes)


def _endpoint(service: Service, who: Who, handler: Handler) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        call = await _read(service, request)
        begun = service.waits_for()
        while not begun.is_set():
            # Without a thread: requests that hang must not keep the process from ending.
            await asyncio.sleep(0.02)
        return await run_in_threadpool(_handled, who, handler, call)

    return endpoint


def _handled(who: Who, handler: Handler, call: Call) -> Response:
    try:
        if who:
            who(call)
        result = handler(call)
        return result if isinstance(result, Response) else done(result)
    except Exception as error:
        problem = crash(error)
        answer = Answer(problem.body(), 200 if problem.status_text else 500)
        if problem.status_text == "unAuthorization":
            answer.headers["Set-Cookie"] = "fastgpt_token=; Path=/; Max-Age=0"
        return answer


async def _read(service: Service, request: Request) -> Call:
    body: Document = {}
    file = None
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        async with request.form() as form:
            body = dict(form)
            # multer takes a file name for Latin-1: one that is not percent-encoded arrives garbled.
            sent = body["file"]
            name = sent.filename.encode().decode("latin-1")
            file = (name, await sent.read(), sent.content_type or "")
    elif kind.startswith("application/json"):
        body = await request.json()
    return Call(service, request.query_params, body, request.headers, file)


def _page(name: str) -> Callable[[Request], Response]:
    return lambda _: HTMLResponse((PAGES / name).read_text(encoding="utf-8"))
