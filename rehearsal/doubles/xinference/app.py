"""Xinference's routes (docs/facts/xinference.md §2, §3). Errors are `{"detail": text}`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from rehearsal.doubles.xinference.autostart import Autostart
from rehearsal.doubles.xinference.books import Model, Row, ServiceError
from rehearsal.doubles.xinference.catalogue import MIB, Entry
from rehearsal.doubles.xinference.inference import Inference
from rehearsal.doubles.xinference.release import Release
from rehearsal.doubles.xinference.supervisor import Supervisor

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass
class Service:
    """One server and its parts."""

    release: Release
    supervisor: Supervisor
    autostart: Autostart
    inference: Inference

    def __post_init__(self) -> None:
        self.listed: tuple[float, list[dict[str, Any]]] = (0.0, [])
        self.absent: dict[str, float] = {}
        self.absent_seconds = float(os.environ.get("XINFERENCE_MODEL_NOT_FOUND_CACHE_TTL", "10"))
        self.list_seconds = (
            float(os.environ.get("XINFERENCE_LIST_MODELS_DEBOUNCE_SECONDS", "3"))
            if self.release.successor
            else 0.0
        )
        switch = os.environ.get("XINFERENCE_AUTH_ADVANCED", "true").lower()
        self.locked = self.release.successor and switch not in ("0", "false", "no")


def application(release: Release, home: Path) -> Starlette:
    """The server for one home folder."""
    home.mkdir(parents=True, exist_ok=True)
    holder: dict[str, Service] = {}

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        supervisor = Supervisor(release, home)
        autostart = Autostart(supervisor, home)
        holder["service"] = Service(release, supervisor, autostart, Inference(supervisor))
        async with anyio.create_task_group() as group:
            group.start_soon(supervisor.watch)
            autostart.schedule()
            yield
            group.cancel_scope.cancel()

    def route(path: str, handler: Callable[[Service, Request], Awaitable[Response]]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            service = holder["service"]
            # The login itself is not rehearsed: the lab switches it off (facts §2).
            if service.locked and path not in _OPEN_PATHS:
                raise ServiceError(401, "Could not validate credentials")
            return await handler(service, request)

        return endpoint

    routes = [
        Route(path, route(path, handler), methods=[method], name=f"{method} {path}")
        for method, path, handler in _ROUTES
    ]
    handlers: Any = {ServiceError: _error, HTTPException: _not_found, ValueError: _malformed}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


async def _error(_request: Request, error: ServiceError) -> Response:
    return JSONResponse({"detail": str(error)}, error.status, headers=error.headers)


async def _not_found(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"detail": error.detail}, error.status_code)


async def _malformed(_request: Request, _error_: ValueError) -> Response:
    """A body that lacks a field: nobody catches it, and the connection is closed."""
    return PlainTextResponse("Internal Server Error", 500, headers={"Connection": "close"})


# Launching and watching


async def _launch(service: Service, request: Request) -> Response:
    payload = await request.json()
    if not payload.get("model_name"):
        raise ServiceError(400, "Invalid input. Please specify the `model_name` field.")
    if not payload.get("model_engine") and (payload.get("model_type", "LLM")) == "LLM":
        raise ServiceError(400, "Invalid input. Please specify the `model_engine` field.")
    indexes = payload.get("gpu_idx")
    indexes = [indexes] if isinstance(indexes, int) else indexes
    if indexes and len(indexes) % payload.get("replica", 1):
        raise ServiceError(400, "Invalid input. Allocated gpu must be a multiple of replica.")
    wait_ready = request.query_params.get("wait_ready", "true").lower() not in ("false", "0", "no")
    uid = await service.supervisor.launch(payload, wait_ready)
    service.absent.pop(uid, None)
    return JSONResponse({"model_uid": uid})


async def _models(service: Service, _request: Request) -> Response:
    since, data = service.listed
    if time.monotonic() - since >= service.list_seconds or not since:
        data = [
            {
                "id": model.uid,
                "object": "model",
                "created": 0,
                "owned_by": "xinference",
                **_described(service, model),
            }
            for model in service.supervisor.models.values()
            if model.ready and model.replicas[0].known
        ]
        service.listed = (time.monotonic(), data)
    return JSONResponse({"object": "list", "data": data})


async def _describe(service: Service, request: Request) -> Response:
    return JSONResponse(_described(service, service.supervisor.known_model(_uid(request))))


def _described(service: Service, model: Model) -> dict[str, Any]:
    entry, spec = model.entry, model.spec
    assert entry is not None
    assert spec is not None
    host = service.supervisor.address.partition(":")[0]
    cards = [str(card.index) for replica in model.replicas for card in replica.cards]
    shared = {
        "model_type": entry.type,
        "address": f"{host}:{model.port}",
        "accelerators": cards,
        "model_name": entry.name,
        "model_format": spec.format,
        "quantization": model.quantization,
        "model_hub": model.payload.get("download_hub") or "modelscope",
        "model_revision": None,
        "replica": model.instance.replica,
    }
    if service.release.successor:
        shared["model_engine"] = model.payload.get("model_engine")
    return {**shared, **_particular(entry, model)}


def _particular(entry: Entry, model: Model) -> dict[str, Any]:
    if entry.type == "LLM":
        assert model.spec is not None
        size = model.spec.size
        return {
            "model_lang": list(entry.languages),
            "model_ability": list(entry.abilities),
            "model_description": f"{entry.name}, as the rehearsal knows it.",
            "model_size_in_billions": int(size) if size.isdigit() else size,
            "model_family": entry.name,
            "multimodal_projector": None,
            "revision": None,
            "context_length": entry.context,
        }
    if entry.type == "embedding":
        return {
            "dimensions": entry.width,
            "max_tokens": entry.context,
            "language": list(entry.languages),
        }
    if entry.type == "rerank":
        return {"type": "normal", "language": list(entry.languages)}
    return {"model_family": entry.name, "model_ability": list(entry.abilities)}


async def _terminate(service: Service, request: Request) -> Response:
    await service.supervisor.terminate(_uid(request))
    return JSONResponse(None)


async def _cancel(service: Service, request: Request) -> Response:
    await service.supervisor.cancel(_uid(request))
    return JSONResponse(None)


async def _replicas(service: Service, request: Request) -> Response:
    instance = service.supervisor.instances.get(_uid(request))
    rows = [_row(service, row) for row in (instance.rows if instance else [])]
    return JSONResponse(rows)


def _row(service: Service, row: Row) -> dict[str, Any]:
    replica = row.replica
    told: dict[str, Any] = {
        "replica_id": replica.index,
        "replica_model_uid": replica.uid,
        "worker_address": row.address,
        "status": row.status,
        "created_ts": row.created,
        "error_message": row.error,
    }
    if service.release.successor:
        cards = [card.index for card in replica.cards]
        told |= {"model_address": row.address, "accelerators": [str(i) for i in cards]}
        told |= {"replica_uid": replica.uid, "gpu_idx": cards}
    return told


async def _instances(service: Service, request: Request) -> Response:
    uid, name = request.query_params.get("model_uid"), request.query_params.get("model_name")
    found = [
        {
            "model_name": instance.name,
            "model_uid": instance.uid,
            "model_version": None,
            "model_ability": instance.abilities,
            "replica": instance.replica,
            "status": instance.status,
            "instance_created_ts": instance.created,
            "n_worker": 1,
            "replica_statuses": [
                {**_row(service, row), "model_state": row.model_state} for row in instance.rows
            ],
        }
        for instance in service.supervisor.instances.values()
        if instance.status != "TERMINATED"
        and uid in (None, instance.uid)
        and name in (None, instance.name)
    ]
    return JSONResponse(sorted(found, key=lambda row: str(row["model_uid"])))


async def _progress(service: Service, request: Request) -> Response:
    """Unknown, failed and not yet begun look alike; READY says `loading` (facts §2)."""
    model = service.supervisor.models.get(_uid(request))
    progress = model.progress() if model else 0.0
    if not service.release.successor:
        return JSONResponse({"progress": progress})
    stage = model.stage if model else "pending"
    files = _files(model)
    replicas = [
        {
            "replica_id": replica.index,
            "replica_model_uid": replica.uid,
            "progress": progress,
            "stage": stage,
            "info": None,
            "updated_at": time.time(),
            "download_files": files,
        }
        for replica in (model.replicas if model else [])
    ]
    answer = {"progress": progress, "stage": stage, "download_files": files}
    return JSONResponse({**answer, "replicas": replicas})


def _files(model: Model | None) -> list[dict[str, Any]]:
    if model is None or model.download is None or model.stage != "downloading":
        return []
    download = model.download
    return [
        {
            "name": download.name,
            "downloaded_bytes": download.done,
            "total_bytes": download.total,
            "speed_bytes_per_second": download.rate,
            "replica_id": 0,
        }
    ]


# The server


async def _status(service: Service, _request: Request) -> Response:
    supervisor = service.supervisor
    status: dict[str, Any] = {"cpu": _processor()}
    for card in supervisor.cards:
        used = (card.total_mib - card.free_mib) * MIB
        status[f"gpu-{card.index}"] = {
            "name": card.name,
            "mem_total": card.total_mib * MIB,
            "mem_free": card.free_mib * MIB,
            "mem_used": used,
            "mem_usage": used / (card.total_mib * MIB),
            "gpu_util": 0.0,
        }
    worker = {"update_time": time.time(), "failure_remaining_count": 5, "status": status}
    uptime = int(time.time() - supervisor.started)
    return JSONResponse({"uptime": uptime, "workers": {supervisor.address: worker}})


def _processor() -> dict[str, Any]:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    free = os.sysconf("SC_AVPHYS_PAGES") * size
    total = pages * size
    return {
        "usage": min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)),
        "total": os.cpu_count(),
        "memory_used": total - free,
        "memory_available": free,
        "memory_total": total,
    }


async def _version(service: Service, _request: Request) -> Response:
    return JSONResponse({"version": service.release.text, "dirty": False, "error": None})


# Autostart


async def _autostarts(service: Service, _request: Request) -> Response:
    return JSONResponse(service.autostart.listed())


async def _autostart_summary(service: Service, _request: Request) -> Response:
    return JSONResponse(service.autostart.summary())


async def _put_autostart(service: Service, request: Request) -> Response:
    return JSONResponse(service.autostart.put(await request.json()))


async def _remove_autostart(service: Service, request: Request) -> Response:
    return JSONResponse(service.autostart.remove(_uid(request)))


# Inference


def _model_for(service: Service, uid: str) -> Model:
    """The READY model; an absent one stays absent for ten seconds, whatever happens meanwhile."""
    until = service.absent.get(uid, 0.0)
    if time.monotonic() < until:
        raise ServiceError(
            404,
            f"Model not found in the model list, uid: {uid} "
            f"(cached, retry after {service.absent_seconds}s)",
        )
    model = service.supervisor.ready_model(uid)
    if model is None:
        service.absent[uid] = time.monotonic() + service.absent_seconds
        text = str(service.supervisor.refused(f"Model not found in the model list, uid: {uid}"))
        known = list(service.supervisor.models)
        raise ServiceError(404, f"{text}. Available model uids: {known}")
    return model


async def _json(request: Request, *needed: str) -> dict[str, Any]:
    body: dict[str, Any] = await request.json()
    if missing := [name for name in needed if body.get(name) is None]:
        raise ValueError(f"field required: {', '.join(missing)}")
    return body


async def _chat(service: Service, request: Request) -> Response:
    body = await _json(request, "model", "messages")
    if not body["messages"]:
        raise ServiceError(400, "Invalid input. Please specify the prompt.")
    model = _model_for(service, body["model"])
    whole = await anyio.to_thread.run_sync(service.inference.chat, model, body)
    if not body.get("stream"):
        return JSONResponse(whole)
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))

    async def events() -> AsyncIterator[str]:
        for chunk in service.inference.chunks(whole, with_usage):
            yield f"data: {json.dumps(chunk, ensure_ascii=False)}\r\n\r\n"
        yield "data: [DONE]\r\n\r\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def _embeddings(service: Service, request: Request) -> Response:
    body = await _json(request, "model", "input")
    model = _model_for(service, body["model"])
    return JSONResponse(await anyio.to_thread.run_sync(service.inference.embeddings, model, body))


async def _rerank(service: Service, request: Request) -> Response:
    body = await _json(request, "model", "query", "documents")
    model = _model_for(service, body["model"])
    return JSONResponse(await anyio.to_thread.run_sync(service.inference.rerank, model, body))


async def _speech(service: Service, request: Request) -> Response:
    body = await _json(request, "model", "input")
    model = _model_for(service, body["model"])
    return Response(service.inference.speech(model, body), media_type="audio/wav")


async def _transcribe(service: Service, request: Request) -> Response:
    form = await request.form()
    file = form.get("file")
    if isinstance(file, str) or file is None or "model" not in form:
        raise ServiceError(422, "field required: model, file")
    model = _model_for(service, str(form["model"]))
    return JSONResponse(service.inference.transcribe(model, await file.read()))


def _uid(request: Request) -> str:
    return str(request.path_params["uid"])


_OPEN_PATHS = ("/status",)

_ROUTES: tuple[tuple[str, str, Callable[[Service, Request], Awaitable[Response]]], ...] = (
    ("GET", "/status", _status),
    ("GET", "/v1/cluster/version", _version),
    ("GET", "/v1/models", _models),
    ("POST", "/v1/models", _launch),
    ("GET", "/v1/models/instances", _instances),
    ("GET", "/v1/autostart/models", _autostarts),
    ("GET", "/v1/autostart/models/summary", _autostart_summary),
    ("POST", "/v1/autostart/models", _put_autostart),
    ("DELETE", "/v1/autostart/models/{uid}", _remove_autostart),
    ("GET", "/v1/models/{uid}", _describe),
    ("DELETE", "/v1/models/{uid}", _terminate),
    ("GET", "/v1/models/{uid}/replicas", _replicas),
    ("GET", "/v1/models/{uid}/progress", _progress),
    ("POST", "/v1/models/{uid}/cancel", _cancel),
    ("POST", "/v1/chat/completions", _chat),
    ("POST", "/v1/embeddings", _embeddings),
    ("POST", "/v1/rerank", _rerank),
    ("POST", "/v1/audio/speech", _speech),
    ("POST", "/v1/audio/transcriptions", _transcribe),
    ("POST", "/v1/audio/translations", _transcribe),
)
