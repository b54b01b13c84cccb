"""Xinference's routes (docs/facts/xinference.md §2, §3). Errors are `{"detail": text}`."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from inspect import isawaitable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rehearsal.doubles.xinference import inference
from rehearsal.doubles.xinference.books import MIB, ActorError, Model, Release, ServiceError
from rehearsal.doubles.xinference.supervisor import Autostart, Supervisor


class Call(NamedTuple):
    """What was asked: the uid in its path, its query, and its body or form."""

    uid: str
    query: Mapping[str, str]
    body: dict[str, Any]


Answer: TypeAlias = Callable[[Call], object]
"""Answers with a response or with what is to be JSON, at once or later."""


def application(release: Release, home: Path) -> Starlette:
    home.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(release, home)
    autostart = Autostart(supervisor, home)
    # The login itself is not rehearsed: the lab switches it off (facts §2).
    locked = release.successor and os.environ.get("XINFERENCE_AUTH_ADVANCED") != "0"

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(supervisor.watch)
            autostart.schedule()
            yield
            group.cancel_scope.cancel()

    async def answer_error(_request: Request, error: Any) -> Response:  # noqa: ANN401
        actor = isinstance(error, ActorError)
        text = supervisor.prefixed(str(error)) if actor else str(error)
        headers = {"Retry-After": "30"} if error.status == 503 and not actor else None
        return JSONResponse({"detail": text}, error.status, headers)

    routes = []
    for place, answer in _answers(supervisor, autostart).items():
        method, _, path = place.partition(" ")
        endpoint = _endpoint(answer, locked and path != "/status")
        routes.append(Route(path, endpoint, methods=[method]))
    errors = {ServiceError: answer_error}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=errors)


def _endpoint(answer: Answer, locked: bool) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        if locked:
            raise ServiceError("no login")
        uid, body = str(request.path_params.get("uid", "")), {}
        if "form-data" in request.headers.get("content-type", ""):
            body = dict(await request.form())
        elif await request.body():
            body = dict(await request.json())
        answered = answer(Call(uid, request.query_params, body))
        answered = await answered if isawaitable(answered) else answered
        return answered if isinstance(answered, Response) else JSONResponse(answered)

    return endpoint


def _answers(supervisor: Supervisor, autostart: Autostart) -> dict[str, Answer]:
    def infer(how: Callable[[Model, dict[str, Any]], Response]) -> Answer:
        serving = supervisor.serving
        return lambda call: run_in_threadpool(how, serving(call.body["model"]), call.body)

    release, models = supervisor.release, supervisor.models
    return {
        "GET /status": lambda _: _status(supervisor),
        "GET /v1/cluster/version": lambda _: {"version": release.text},
        "GET /v1/models": lambda _: {"data": _serving(supervisor)},
        "POST /v1/models": lambda call: _launch(supervisor, call),
        "GET /v1/models/instances": lambda call: _instances(supervisor, call.query),
        "GET /v1/autostart/models": lambda _: autostart.listed(),
        "POST /v1/autostart/models": lambda call: autostart.put(call.body),
        "DELETE /v1/autostart/models/{uid}": lambda call: autostart.remove(call.uid),
        "GET /v1/models/{uid}": lambda call: _described(supervisor.described(call.uid), release),
        "DELETE /v1/models/{uid}": lambda call: supervisor.terminate(call.uid),
        "GET /v1/models/{uid}/replicas": lambda call: _rows(supervisor.book.get(call.uid)),
        "GET /v1/models/{uid}/progress": lambda call: _progress(models.get(call.uid), release),
        "POST /v1/models/{uid}/cancel": lambda call: supervisor.cancel(call.uid),
        "POST /v1/chat/completions": infer(inference.chat),
        "POST /v1/embeddings": infer(inference.embeddings),
        "POST /v1/rerank": infer(inference.rerank),
        "POST /v1/audio/speech": infer(inference.speech),
        "POST /v1/audio/transcriptions": infer(inference.transcriptions),
    }


def _status(supervisor: Supervisor) -> dict[str, Any]:
    cards = {}
    for card in supervisor.cards:
        sizes = {"mem_total": card.total_mib * MIB, "mem_free": card.free_mib * MIB}
        cards[f"gpu-{card.index}"] = sizes
    return {"uptime": 1, "workers": {supervisor.address: {"status": cards}}}


async def _launch(supervisor: Supervisor, call: Call) -> dict[str, str]:
    if not call.body.get("model_name"):
        raise ServiceError("no name")
    if not call.body.get("model_engine") and call.body.get("model_type", "LLM") == "LLM":
        raise ServiceError("no engine")
    wait_ready = call.query.get("wait_ready") != "false"
    return {"model_uid": await supervisor.launch(call.body, wait_ready)}


def _serving(supervisor: Supervisor) -> list[dict[str, Any]]:
    ready = [model for model in supervisor.models.values() if model.ready]
    serving = [model for model in ready if model.replicas[0].process != "gone"]
    return [{"id": model.uid, **_described(model, supervisor.release)} for model in serving]


def _described(model: Model, release: Release) -> dict[str, Any]:
    size = model.spec.size
    told: dict[str, Any] = {
        "model_type": model.entry.type,
        "accelerators": [str(card.index) for each in model.replicas for card in each.cards],
        "model_name": model.entry.name,
        "model_format": model.spec.format,
        "quantization": model.quantization,
        "replica": model.copies,
    }
    if release.successor:
        told["model_engine"] = model.payload.get("model_engine")
    if size:
        told["model_size_in_billions"] = int(size) if size.isdigit() else size
    return told


def _instances(supervisor: Supervisor, query: Mapping[str, str]) -> list[dict[str, Any]]:
    def row(model: Model) -> dict[str, Any]:
        told = {"model_uid": model.uid, "status": model.status, "replica_statuses": _rows(model)}
        return {**told, "instance_created_ts": model.created}

    known = [each for each in supervisor.book.values() if each.status != "TERMINATED"]
    return [row(model) for model in known if query.get("model_uid") in (None, model.uid)]


def _rows(model: Model | None) -> list[dict[str, Any]]:
    rows = model.replicas if model else []
    return [{"status": row.status, "error_message": row.error} for row in rows]


def _progress(model: Model | None, release: Release) -> dict[str, Any]:
    """Unknown, failed and not yet begun look alike; READY says `loading` (facts §2)."""
    answer: dict[str, Any] = {"progress": model.progress() if model else 0.0}
    if not release.successor:
        return answer
    files = []
    if model and (load := model.download) and model.stage == "downloading":
        numbers = {"downloaded_bytes": load.done, "total_bytes": load.total}
        files = [{**numbers, "speed_bytes_per_second": load.rate}]
    return {**answer, "stage": model.stage if model else "pending", "download_files": files}
