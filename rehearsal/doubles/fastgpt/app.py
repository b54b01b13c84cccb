"""The routes of FastGPT, and how a request becomes a call and an answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.responses import StreamingResponse as Stream
from starlette.routing import Route

from rehearsal.doubles.fastgpt import (
    apps,
    auth,
    chat,
    collections,
    datasets,
    search,
)
from rehearsal.doubles.fastgpt.boot import Service
from rehearsal.doubles.fastgpt.call import Call, NotConnected, Unanswered, Upload
from rehearsal.doubles.fastgpt.envelope import UNCHECKED, Json, Problem, crash, done
from rehearsal.doubles.fastgpt.upstream import UpstreamError

PAGES = Path(__file__).parent
Handler = Callable[[Service, Call], Any]

DATASET = "/api/core/dataset"
COLLECTION = DATASET + "/collection"
ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", "/api/support/user/account/tokenLogin", auth.token_login),
    ("GET", "/api/support/user/team/plan/getTeamPlanStatus", auth.plan_status),
    ("POST", "/api/support/openapi/create", auth.create_key),
    ("GET", "/api/support/openapi/list", auth.list_keys),
    ("PUT", "/api/support/openapi/update", auth.update_key),
    ("DELETE", "/api/support/openapi/delete", auth.delete_key),
    ("POST", DATASET + "/create", datasets.create_dataset),
    ("GET", DATASET + "/detail", datasets.dataset_detail),
    ("POST", DATASET + "/list", datasets.list_datasets),
    ("PUT", DATASET + "/update", datasets.update_dataset),
    ("DELETE", DATASET + "/delete", datasets.delete_dataset),
    ("GET", DATASET + "/training/getDatasetTrainingQueue", datasets.training_queue),
    ("POST", DATASET + "/searchTest", search.search_test),
    ("POST", COLLECTION + "/create", collections.create_empty),
    ("POST", COLLECTION + "/create/localFile", collections.create_from_file),
    ("POST", COLLECTION + "/create/text", collections.create_from_text),
    ("POST", COLLECTION + "/create/link", collections.create_from_link),
    ("POST", COLLECTION + "/list", collections.list_collections),
    ("GET", COLLECTION + "/detail", collections.collection_detail),
    ("PUT", COLLECTION + "/update", collections.update_collection),
    ("DELETE", COLLECTION + "/delete", collections.delete_collection),
    ("POST", DATASET + "/data/list", collections.list_data),
    ("POST", "/api/core/app/create", apps.create_app),
    ("GET", "/api/core/app/detail", apps.app_detail),
    ("POST", "/api/core/app/list", apps.list_apps),
    ("PUT", "/api/core/app/update", apps.update_app),
    ("DELETE", "/api/core/app/del", apps.delete_app),
    ("POST", "/api/core/app/version/publish", apps.publish),
    ("POST", "/api/support/outLink/create", apps.create_link),
    ("GET", "/api/support/outLink/list", apps.list_links),
    ("POST", "/api/support/outLink/update", apps.update_link),
    ("DELETE", "/api/support/outLink/delete", apps.delete_link),
    ("GET", "/api/core/chat/outLink/init", chat.init),
]


def build_app(service: Service) -> Starlette:
    """FastGPT as an ASGI application; nothing starts up before its first API request."""
    table = [
        *ROUTES,
        ("GET", "/api/common/system/getInitData", _init_data),
    ]
    routes = [
        Route(path, _endpoint(service, handler, _enveloped), methods=[method])
        for method, path, handler in table
    ]
    routes += [
        Route(
            "/api/support/user/account/loginByPassword",
            _endpoint(service, auth.login, _logged_in),
            methods=["POST"],
        ),
        Route(
            "/api/v1/chat/completions",
            _endpoint(service, chat.completions, _completed),
            methods=["POST"],
        ),
        Route("/chat/share", _page("share.html")),
        Route("/", _page("index.html")),
    ]
    return Starlette(routes=routes, exception_handlers={404: _not_found})


def _init_data(service: Service, call: Call) -> dict[str, Any]:
    """GET /api/common/system/getInitData: no login; the reranker's address and key are blanked."""
    config = service.config
    rerankers = config.rerank_models
    if not isinstance(rerankers, list):
        raise Problem("global.reRankModels.map is not a function")
    return {
        "feConfigs": config.fe_configs,
        "llmModels": config.llm_models,
        "vectorModels": config.vector_models,
        "reRankModels": [{**model, "requestUrl": "", "requestAuth": ""} for model in rerankers],
        "audioSpeechModels": config.speech_models,
        "systemVersion": config.version,
        **({"whisperModel": config.whisper_model} if config.whisper_model else {}),
    }


class _Json(JSONResponse):
    media_type = "application/json; charset=utf-8"


def _enveloped(result: Json) -> Response:
    return _Json(done(result))


def _logged_in(result: tuple[dict[str, Any], str]) -> Response:
    data, token = result
    answer = _Json(done(data))
    answer.headers["Set-Cookie"] = (
        f"{auth.COOKIE}={token}; Path=/; HttpOnly; Max-Age={auth.SESSION_SECONDS}; Samesite=Strict;"
    )
    return answer


def _completed(result: dict[str, Any] | chat.Streamed) -> Response:
    if isinstance(result, dict):
        return _Json(result)
    answer = Stream(result.lines)
    if result.begun:
        answer.headers["content-type"] = "text/event-stream;charset=utf-8"
    return answer


def _refused(problem: Problem) -> Response:
    answer = _Json(problem.body(), problem.http)
    if problem.status_text == "unAuthorization":
        answer.headers["Set-Cookie"] = f"{auth.COOKIE}=; Path=/; Max-Age=0"
    return answer


def _endpoint(
    service: Service, handler: Handler, answer: Callable[[Any], Response]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            call = await _read(request)
        except ValueError:
            return PlainTextResponse("Invalid JSON", 400)
        await _set(service.waits_for())
        while True:
            try:
                return await run_in_threadpool(_handled, service, handler, answer, call)
            except NotConnected:
                await _set(service.ready)
            except Unanswered:
                await asyncio.Event().wait()

    return endpoint


async def _set(event: threading.Event) -> None:
    """Wait without a thread: requests that hang must not keep the process from ending."""
    while not event.is_set():
        await asyncio.sleep(0.02)


def _handled(
    service: Service, handler: Handler, answer: Callable[[Any], Response], call: Call
) -> Response:
    try:
        return answer(handler(service, call))
    except Problem as problem:
        return _refused(problem)
    except UpstreamError as error:
        return _refused(Problem(error.told))
    except UNCHECKED as error:
        return _refused(crash(error))


async def _read(request: Request) -> Call:
    body: Any = {}
    upload = None
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        body, upload = await _form(request)
    elif kind.startswith("application/json"):
        raw = await request.body()
        body = await request.json() if raw else {}
    return Call(
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
