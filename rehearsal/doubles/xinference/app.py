"""Xinference's routes (docs/facts/xinference.md §2, §3). Errors are `{"detail": text}`."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import isawaitable
from pathlib import Path
from typing import Any, TypeAlias

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rehearsal.doubles.xinference import inference
from rehearsal.doubles.xinference.autostart import Autostart
from rehearsal.doubles.xinference.books import ActorError, Model, Release, Replica, ServiceError
from rehearsal.doubles.xinference.catalogue import MIB
from rehearsal.doubles.xinference.supervisor import Supervisor


@dataclass(frozen=True)
class Call:
    """What was asked: the uid in its path, its query, and its body or form."""

    uid: str
    query: Mapping[str, str]
    body: dict[str, Any]


Answer: TypeAlias = Callable[[Call], object]
"""Answers with a response or with what is to be JSON, at once or later."""


def application(release: Release, home: Path) -> Starlette:
    """The server for one home folder."""
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
    return Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={ServiceError: answer_error}
    )


def _endpoint(answer: Answer, locked: bool) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        if locked:
            raise ServiceError("no login")
        uid = str(request.path_params.get("uid", ""))
        answered = answer(Call(uid, request.query_params, await _body(request)))
        answered = await answered if isawaitable(answered) else answered
        return answered if isinstance(answered, Response) else JSONResponse(answered)

    return endpoint


async def _body(request: Request) -> dict[str, Any]:
    if "form-data" in request.headers.get("content-type", ""):
        return dict(await request.form())
    return dict(await request.json()) if await request.body() else {}


def _answers(supervisor: Supervisor, autostart: Autostart) -> dict[str, Answer]:
    def infer(how: Callable[[Model, dict[str, Any]], Response]) -> Answer:
        return lambda call: anyio.to_thread.run_sync(
            how, supervisor.serving(call.body["model"]), call.body
        )

    release = supervisor.release
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
        "GET /v1/models/{uid}/progress": lambda call: _progress(
            supervisor.models.get(call.uid), release
        ),
        "POST /v1/models/{uid}/cancel": lambda call: supervisor.cancel(call.uid),
        "POST /v1/chat/completions": infer(inference.chat),
        "POST /v1/embeddings": infer(inference.embeddings),
        "POST /v1/rerank": infer(inference.rerank),
        "POST /v1/audio/speech": infer(inference.speech),
        "POST /v1/audio/transcriptions": infer(inference.transcriptions),
    }


def _status(supervisor: Supervisor) -> dict[str, Any]:
    cards = {
        f"gpu-{card.index}": {"mem_total": card.total_mib * MIB, "mem_free": card.free_mib * MIB}
        for card in supervisor.cards
    }
    return {"uptime": 1, "workers": {supervisor.address: {"status": cards}}}


async def _launch(supervisor: Supervisor, call: Call) -> dict[str, str]:
    if not call.body.get("model_name"):
        raise ServiceError("no name")
    if not call.body.get("model_engine") and call.body.get("model_type", "LLM") == "LLM":
        raise ServiceError("no engine")
    wait_ready = call.query.get("wait_ready") != "false"
    return {"model_uid": await supervisor.launch(call.body, wait_ready)}


def _serving(supervisor: Supervisor) -> list[dict[str, Any]]:
    return [
        {"id": model.uid, **_described(model, supervisor.release)}
        for model in supervisor.models.values()
        if model.ready and model.replicas[0].process != "gone"
    ]


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
    return [
        {
            "model_uid": model.uid,
            "status": model.status,
            "instance_created_ts": model.created,
            "replica_statuses": _rows(model),
        }
        for model in supervisor.book.values()
        if model.status != "TERMINATED" and query.get("model_uid") in (None, model.uid)
    ]


def _rows(model: Model | None) -> list[dict[str, Any]]:
    def row(replica: Replica) -> dict[str, Any]:
        return {"status": replica.status, "error_message": replica.error}

    return [row(replica) for replica in model.replicas] if model else []


def _progress(model: Model | None, release: Release) -> dict[str, Any]:
    """Unknown, failed and not yet begun look alike; READY says `loading` (facts §2)."""
    answer: dict[str, Any] = {"progress": model.progress() if model else 0.0}
    if not release.successor:
        return answer
    files = []
    if model and model.download and model.stage == "downloading":
        numbers = {"downloaded_bytes": model.download.done, "total_bytes": model.download.total}
        files = [{**numbers, "speed_bytes_per_second": model.download.rate}]
    return {**answer, "stage": model.stage if model else "pending", "download_files": files}
