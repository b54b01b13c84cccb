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
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from rehearsal.doubles.fastgpt import apps, chat, datasets, index
from rehearsal.doubles.fastgpt.boot import Service, hash_str
from rehearsal.doubles.fastgpt.envelope import SHAPES, Answer, Call, Document, crash, done, known

PAGES = Path(__file__).parent
Handler = Callable[[Call], Any]
Endpoint = Callable[[Request], Awaitable[Response]]
KEY, LINK = ("openapis", "openapiUnExist"), ("outlinks", "outlinkUnExist")


def _init_data(call: Call) -> Document:
    """The reranker's address and key are blanked."""
    config = call.service.config
    blank = {"requestUrl": "", "requestAuth": ""}
    rerankers = [{**model, **blank} for model in config.models["reRankModels"]]
    told = {"feConfigs": config.fe_configs, "systemVersion": "4.8.8"}
    return {**told, **config.models, "reRankModels": rerankers}


def _login(call: Call) -> Answer:
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
    (root,) = call.mongo.find("users")
    team = {**SHAPES["team"], **call.owner, "userId": root["_id"]}
    team["permission"] = SHAPES["permission"]
    return {"_id": root["_id"], "username": "root", **SHAPES["user"], "team": team}


def _plan_status(call: Call) -> Document:
    return {**SHAPES["plan"], "usedDatasetSize": len(call.service.vectors.find("modeldata"))}


def _token(call: Call) -> str:
    """Root's JWT, signed with TOKEN_KEY. It does not end: no rehearsal lasts seven days."""
    parts = ({"alg": "HS256", "typ": "JWT"}, call.owner)
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    head = ".".join(part.rstrip("=") for part in coded)
    key = call.service.environment.token_key.encode()
    return f"{head}.{hmac.new(key, head.encode(), 'sha256').hexdigest()}"


OPEN: dict[str, Handler] = {
    "GET /api/common/system/getInitData": _init_data,
    "POST /api/support/user/account/loginByPassword": _login,
    "GET /api/core/chat/outLink/init": chat.init,
    "POST /api/v1/chat/completions": chat.completions,
}
FOR_ROOT: dict[str, Handler] = {
    "GET /api/support/user/account/tokenLogin": _user,
    "GET /api/support/user/team/plan/getTeamPlanStatus": _plan_status,
    "POST /api/support/openapi/create": apps.create_key,
    "GET /api/support/openapi/list": apps.list_keys,
    "PUT /api/support/openapi/update": partial(apps.update_door, *KEY),
    "DELETE /api/support/openapi/delete": partial(apps.delete_door, *KEY),
    "POST /api/core/dataset/create": datasets.create_dataset,
    "GET /api/core/dataset/detail": datasets.dataset_detail,
    "POST /api/core/dataset/list": datasets.list_datasets,
    "PUT /api/core/dataset/update": datasets.update_dataset,
    "DELETE /api/core/dataset/delete": datasets.delete_dataset,
    "GET /api/core/dataset/training/getDatasetTrainingQueue": datasets.training_queue,
    "POST /api/core/dataset/searchTest": index.search_test,
    "POST /api/core/dataset/collection/create": datasets.create_empty,
    "POST /api/core/dataset/collection/create/localFile": datasets.create_from_file,
    "POST /api/core/dataset/collection/create/text": datasets.create_from_text,
    "POST /api/core/dataset/collection/create/link": datasets.create_from_link,
    "POST /api/core/dataset/collection/list": datasets.list_collections,
    "GET /api/core/dataset/collection/detail": datasets.collection_detail,
    "PUT /api/core/dataset/collection/update": datasets.update_collection,
    "DELETE /api/core/dataset/collection/delete": datasets.delete_collection,
    "POST /api/core/dataset/data/list": datasets.list_data,
    "POST /api/core/app/create": apps.create_app,
    "GET /api/core/app/detail": apps.app_detail,
    "POST /api/core/app/list": apps.list_apps,
    "PUT /api/core/app/update": apps.update_app,
    "DELETE /api/core/app/del": apps.delete_app,
    "POST /api/core/app/version/publish": apps.publish,
    "POST /api/support/outLink/create": apps.create_link,
    "GET /api/support/outLink/list": apps.list_links,
    "POST /api/support/outLink/update": partial(apps.update_door, *LINK),
    "DELETE /api/support/outLink/delete": partial(apps.delete_door, *LINK),
}


def build_app(service: Service) -> Starlette:
    """FastGPT as an ASGI application; nothing starts up before its first API request."""
    routes = [Route("/chat/share", _page("share.html")), Route("/", _page("index.html"))]
    for place, handler in (OPEN | FOR_ROOT).items():
        method, _, path = place.partition(" ")
        endpoint = _endpoint(service, handler, place in FOR_ROOT)
        routes.append(Route(path, endpoint, methods=[method]))
    return Starlette(routes=routes)


def _endpoint(service: Service, handler: Handler, for_root: bool) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        call = await _read(service, request)
        begun = service.waits_for()
        while not begun.is_set():
            # Without a thread: requests that hang must not keep the process from ending.
            await asyncio.sleep(0.02)
        return await run_in_threadpool(_handled, handler, call, for_root)

    return endpoint


def _handled(handler: Handler, call: Call, for_root: bool) -> Response:
    try:
        if for_root and call.headers.get("token") != _token(call):
            raise known("unAuthorization")
        result = handler(call)
        return result if isinstance(result, Response) else done(result)
    except Exception as error:
        problem = crash(error)
        answer = Answer(problem.body, 200 if problem.status_text else 500)
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
    return lambda _: FileResponse(PAGES / name)
