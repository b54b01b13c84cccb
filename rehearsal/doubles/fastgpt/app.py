"""The routes of FastGPT, and how a request becomes a call and an answer."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from rehearsal.doubles.fastgpt import apps, auth, chat, collections, datasets, search
from rehearsal.doubles.fastgpt.auth import anybody, session, session_or_key
from rehearsal.doubles.fastgpt.boot import Service
from rehearsal.doubles.fastgpt.call import Call, Identity, NotConnected, Unanswered, Upload
from rehearsal.doubles.fastgpt.envelope import FAILURES, Answer, Problem, crash, done

PAGES = Path(__file__).parent
Handler = Callable[[Call], Any]
Who = Callable[[Call], Identity]

DATASET = "/api/core/dataset"
COLLECTION = DATASET + "/collection"


def _init_data(call: Call) -> dict[str, Any]:
    """GET /api/common/system/getInitData: no login; the reranker's address and key are blanked."""
    config = call.service.config
    rerankers = config.models["reRankModels"]
    if not isinstance(rerankers, list):
        raise Problem("global.reRankModels.map is not a function")
    blanked = [{**model, "requestUrl": "", "requestAuth": ""} for model in rerankers]
    told = {"feConfigs": config.fe_configs, "systemVersion": config.version}
    return {**told, **config.models, "reRankModels": blanked}


ROUTES: list[tuple[str, str, Who, Handler]] = [
    ("GET", "/api/common/system/getInitData", anybody, _init_data),
    ("POST", "/api/support/user/account/loginByPassword", anybody, auth.login),
    ("GET", "/api/support/user/account/tokenLogin", session, auth.token_login),
    ("GET", "/api/support/user/team/plan/getTeamPlanStatus", session, auth.plan_status),
    ("POST", "/api/support/openapi/create", session, auth.create_key),
    ("GET", "/api/support/openapi/list", session, auth.list_keys),
    ("PUT", "/api/support/openapi/update", session, auth.update_key),
    ("DELETE", "/api/support/openapi/delete", session, auth.delete_key),
    ("POST", DATASET + "/create", session_or_key, datasets.create_dataset),
    ("GET", DATASET + "/detail", session_or_key, datasets.dataset_detail),
    ("POST", DATASET + "/list", session_or_key, datasets.list_datasets),
    ("PUT", DATASET + "/update", session, datasets.update_dataset),
    ("DELETE", DATASET + "/delete", session_or_key, datasets.delete_dataset),
    ("GET", DATASET + "/training/getDatasetTrainingQueue", session_or_key, datasets.training_queue),
    ("POST", DATASET + "/searchTest", session_or_key, search.search_test),
    ("POST", COLLECTION + "/create", session_or_key, collections.create_empty),
    ("POST", COLLECTION + "/create/localFile", session_or_key, collections.create_from_file),
    ("POST", COLLECTION + "/create/text", session_or_key, collections.create_from_text),
    ("POST", COLLECTION + "/create/link", session_or_key, collections.create_from_link),
    ("POST", COLLECTION + "/list", session_or_key, collections.list_collections),
    ("GET", COLLECTION + "/detail", session_or_key, collections.collection_detail),
    ("PUT", COLLECTION + "/update", session_or_key, collections.update_collection),
    ("DELETE", COLLECTION + "/delete", session_or_key, collections.delete_collection),
    ("POST", DATASET + "/data/list", session_or_key, collections.list_data),
    ("POST", "/api/core/app/create", session, apps.create_app),
    ("GET", "/api/core/app/detail", session, apps.app_detail),
    ("POST", "/api/core/app/list", session, apps.list_apps),
    ("PUT", "/api/core/app/update", session, apps.update_app),
    ("DELETE", "/api/core/app/del", session, apps.delete_app),
    ("POST", "/api/core/app/version/publish", session, apps.publish),
    ("POST", "/api/support/outLink/create", session, apps.create_link),
    ("GET", "/api/support/outLink/list", session, apps.list_links),
    ("POST", "/api/support/outLink/update", session, apps.update_link),
    ("DELETE", "/api/support/outLink/delete", session, apps.delete_link),
    ("GET", "/api/core/chat/outLink/init", anybody, chat.init),
    ("POST", "/api/v1/chat/completions", anybody, chat.completions),
]


def build_app(service: Service) -> Starlette:
    """FastGPT as an ASGI application; nothing starts up before its first API request."""
    routes = [
        Route(path, _endpoint(service, who, handler), methods=[method])
        for method, path, who, handler in ROUTES
    ]
    pages = [Route("/chat/share", _page("share.html")), Route("/", _page("index.html"))]
    return Starlette(routes=[*routes, *pages], exception_handlers={404: _not_found})


def _endpoint(
    service: Service, who: Who, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            call = await _read(service, request)
        except ValueError:
            return PlainTextResponse("Invalid JSON", 400)
        await _set(service.waits_for())
        while True:
            try:
                return await run_in_threadpool(_handled, who, handler, call)
            except NotConnected:
                await _set(service.ready)
            except Unanswered:
                await asyncio.Event().wait()

    return endpoint


async def _set(event: threading.Event) -> None:
    """Wait without a thread: requests that hang must not keep the process from ending."""
    while not event.is_set():
        await asyncio.sleep(0.02)


def _handled(who: Who, handler: Handler, call: Call) -> Response:
    try:
        result = handler(replace(call, caller=who(call)))
        return result if isinstance(result, Response) else Answer(done(result))
    except FAILURES as error:
        problem = crash(error)
        answer = Answer(problem.body(), problem.http)
        if problem.status_text == "unAuthorization":
            answer.headers["Set-Cookie"] = f"{auth.COOKIE}=; Path=/; Max-Age=0"
        return answer


async def _read(service: Service, request: Request) -> Call:
    body: Any = {}
    upload = None
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        body, upload = await _form(request)
    elif kind.startswith("application/json"):
        body = await request.json() if await request.body() else {}
    return Call(
        service=service,
        query=dict(request.query_params),
        body=body if isinstance(body, dict) else {},
        headers=dict(request.headers),
        cookies=request.cookies,
        upload=upload,
    )


async def _form(request: Request) -> tuple[dict[str, Any], Upload | None]:
    async with request.form() as form:
        body = {name: value for name, value in form.items() if isinstance(value, str)}
        file = form.get("file")
        if not isinstance(file, UploadFile):
            return body, None
        # multer takes a file name for Latin-1: one that is not percent-encoded arrives garbled.
        name = (file.filename or "").encode().decode("latin-1")
        return body, Upload(name, await file.read(), file.content_type or "")


def _page(name: str) -> Callable[[Request], Response]:
    return lambda _: HTMLResponse((PAGES / name).read_text(encoding="utf-8"))


async def _not_found(request: Request, error: Exception) -> Response:
    return HTMLResponse("<!DOCTYPE html><title>404: This page could not be found</title>", 404)
