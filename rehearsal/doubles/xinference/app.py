"""Xinference's routes (docs/facts/xinference.md §2, §3). Errors are `{"detail": text}`."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rehearsal.doubles.xinference import inference
from rehearsal.doubles.xinference.autostart import Autostart
from rehearsal.doubles.xinference.books import ActorError, Model, Replica, ServiceError
from rehearsal.doubles.xinference.catalogue import MIB
from rehearsal.doubles.xinference.release import Release
from rehearsal.doubles.xinference.supervisor import Supervisor, absent

Endpoint = Callable[[Request], Awaitable[Response]]
ABSENT_SECONDS = 10.0
"""How long the answer is kept that a uid is unknown."""
_OPEN_PATH = "/status"


def application(release: Release, home: Path) -> Starlette:
    """The server for one home folder."""
    home.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(release, home)
    api = Api(supervisor, Autostart(supervisor, home))
    login = os.environ.get("XINFERENCE_AUTH_ADVANCED", "true").lower()
    locked = release.successor and login not in ("0", "false", "no")

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(supervisor.watch)
            api.autostart.schedule()
            yield
            group.cancel_scope.cancel()

    async def answer_error(_request: Request, error: Any) -> Response:  # noqa: ANN401
        text = supervisor.prefixed(str(error)) if isinstance(error, ActorError) else str(error)
        return JSONResponse({"detail": text}, error.status, headers=error.headers)

    routes = [
        Route(path, _refuse if locked and path != _OPEN_PATH else handler, methods=[method])
        for (method, path), handler in api.routes().items()
    ]
    handlers: dict[Any, Any] = {ServiceError: answer_error, KeyError: _lacks_a_field}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


async def _lacks_a_field(_request: Request, _error: Any) -> Response:  # noqa: ANN401
    """A body that lacks a field: nobody catches it, and the connection is closed."""
    return PlainTextResponse("Internal Server Error", 500, headers={"Connection": "close"})


async def _refuse(_request: Request) -> Response:
    # The login itself is not rehearsed: the lab switches it off (facts §2).
    raise ServiceError(401, "Could not validate credentials")


class Api:
    """One server's answers."""

    def __init__(self, supervisor: Supervisor, autostart: Autostart) -> None:
        self.supervisor, self.autostart = supervisor, autostart
        self._absent_until: dict[str, float] = {}

    def routes(self) -> dict[tuple[str, str], Endpoint]:
        """Handlers by method and path."""
        return {
            ("GET", _OPEN_PATH): self._status,
            ("GET", "/v1/cluster/version"): self._version,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/models"): self._launch,
            ("GET", "/v1/models/instances"): self._instances,
            ("GET", "/v1/autostart/models"): self._autostarts,
            ("POST", "/v1/autostart/models"): self._put_autostart,
            ("DELETE", "/v1/autostart/models/{uid}"): self._remove_autostart,
            ("GET", "/v1/models/{uid}"): self._describe,
            ("DELETE", "/v1/models/{uid}"): self._terminate,
            ("GET", "/v1/models/{uid}/replicas"): self._replicas,
            ("GET", "/v1/models/{uid}/progress"): self._progress,
            ("POST", "/v1/models/{uid}/cancel"): self._cancel,
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/embeddings"): self._embeddings,
            ("POST", "/v1/rerank"): self._rerank,
            ("POST", "/v1/audio/speech"): self._speech,
            ("POST", "/v1/audio/transcriptions"): self._transcribe,
        }

    # The server

    async def _status(self, _request: Request) -> Response:
        cards = {
            f"gpu-{card.index}": {
                "name": card.name,
                "mem_total": card.total_mib * MIB,
                "mem_free": card.free_mib * MIB,
            }
            for card in self.supervisor.cards
        }
        workers = {self.supervisor.address: {"update_time": time.time(), "status": cards}}
        uptime = int(time.time() - self.supervisor.started)
        return JSONResponse({"uptime": uptime, "workers": workers})

    async def _version(self, _request: Request) -> Response:
        release = self.supervisor.release.text
        return JSONResponse({"version": release, "dirty": False, "error": None})

    async def _autostarts(self, _request: Request) -> Response:
        return JSONResponse(self.autostart.listed())

    async def _put_autostart(self, request: Request) -> Response:
        return JSONResponse(self.autostart.put(await request.json()))

    async def _remove_autostart(self, request: Request) -> Response:
        return JSONResponse(self.autostart.remove(_uid(request)))

    # Launching and watching

    async def _launch(self, request: Request) -> Response:
        payload = await request.json()
        if not payload.get("model_name"):
            raise ServiceError(400, "Invalid input. Please specify the `model_name` field.")
        if not payload.get("model_engine") and payload.get("model_type", "LLM") == "LLM":
            raise ServiceError(400, "Invalid input. Please specify the `model_engine` field.")
        indexes = payload.get("gpu_idx")
        if isinstance(indexes, list) and len(indexes) % payload.get("replica", 1):
            raise ServiceError(400, "Invalid input. Allocated gpu must be a multiple of replica.")
        wait_ready = request.query_params.get("wait_ready") != "false"
        uid = await self.supervisor.launch(payload, wait_ready)
        self._absent_until.pop(uid, None)
        return JSONResponse({"model_uid": uid})

    async def _models(self, _request: Request) -> Response:
        serving = [
            {"id": model.uid, "object": "model", **self._described(model)}
            for model in self.supervisor.models.values()
            if model.ready and model.replicas[0].known
        ]
        return JSONResponse({"object": "list", "data": serving})

    async def _describe(self, request: Request) -> Response:
        return JSONResponse(self._described(self.supervisor.known_model(_uid(request))))

    def _described(self, model: Model) -> dict[str, Any]:
        entry, size = model.entry, model.spec.size
        told: dict[str, Any] = {
            "model_type": entry.type,
            "address": self.supervisor.address,
            "accelerators": [str(card.index) for each in model.replicas for card in each.cards],
            "model_name": entry.name,
            "model_format": model.spec.format,
            "quantization": model.quantization,
            "replica": model.instance.replica,
        }
        if self.supervisor.release.successor:
            told["model_engine"] = model.payload.get("model_engine")
        if entry.type == "LLM":
            told["model_size_in_billions"] = int(size) if size.isdigit() else size
            told["context_length"] = entry.context
        return told

    async def _terminate(self, request: Request) -> Response:
        await self.supervisor.terminate(_uid(request))
        return JSONResponse(None)

    async def _cancel(self, request: Request) -> Response:
        await self.supervisor.cancel(_uid(request))
        return JSONResponse(None)

    async def _replicas(self, request: Request) -> Response:
        instance = self.supervisor.instances.get(_uid(request))
        return JSONResponse([self._row(replica) for replica in (instance.rows if instance else [])])

    def _row(self, replica: Replica) -> dict[str, Any]:
        return {
            "replica_id": replica.index,
            "replica_model_uid": replica.uid,
            "worker_address": self.supervisor.address,
            "status": replica.status,
            "created_ts": replica.created,
            "error_message": replica.error,
        }

    async def _instances(self, request: Request) -> Response:
        uid = request.query_params.get("model_uid")
        found = [
            {
                "model_name": instance.name,
                "model_uid": instance.uid,
                "model_ability": list(instance.abilities),
                "replica": instance.replica,
                "status": instance.status,
                "instance_created_ts": instance.created,
                "replica_statuses": [
                    {**self._row(each), "model_state": each.state} for each in instance.rows
                ],
            }
            for instance in self.supervisor.instances.values()
            if instance.status != "TERMINATED" and uid in (None, instance.uid)
        ]
        return JSONResponse(found)

    async def _progress(self, request: Request) -> Response:
        """Unknown, failed and not yet begun look alike; READY says `loading` (facts §2)."""
        model = self.supervisor.models.get(_uid(request))
        answer: dict[str, Any] = {"progress": model.progress() if model else 0.0}
        if not self.supervisor.release.successor:
            return JSONResponse(answer)
        answer |= {"stage": model.stage if model else "pending", "download_files": []}
        if model and model.download and model.stage == "downloading":
            file = {
                "name": model.download.name,
                "downloaded_bytes": model.download.done,
                "total_bytes": model.download.total,
                "speed_bytes_per_second": model.download.rate,
            }
            answer["download_files"] = [file]
        return JSONResponse(answer)

    # Inference

    def _model(self, uid: str) -> Model:
        """The READY model; an absent one stays absent for ten seconds, whatever happens meanwhile.

        Raises:
            ServiceError: 404 where there is none, or it does not answer.
        """
        text = str(absent(uid))
        if time.monotonic() < self._absent_until.get(uid, 0.0):
            raise ServiceError(404, f"{text} (cached, retry after {ABSENT_SECONDS}s)")
        model = self.supervisor.ready_model(uid)
        if model is None:
            self._absent_until[uid] = time.monotonic() + ABSENT_SECONDS
            known = list(self.supervisor.models)
            raise ActorError(404, f"{text}. Available model uids: {known}")
        return model

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        if not body["messages"]:
            raise ServiceError(400, "Invalid input. Please specify the prompt.")
        model = self._model(body["model"])
        if model.entry.type != "LLM" and self.supervisor.release.successor:
            text = "The chat completion request failed. Check the server logs for details."
            raise ActorError(500, text)
        return await anyio.to_thread.run_sync(inference.chat, model, body)

    async def _embeddings(self, request: Request) -> Response:
        body = await request.json()
        model = self._model(body["model"])
        return JSONResponse(await anyio.to_thread.run_sync(inference.embeddings, model, body))

    async def _rerank(self, request: Request) -> Response:
        body = await request.json()
        model = self._model(body["model"])
        return JSONResponse(await anyio.to_thread.run_sync(inference.rerank, model, body))

    async def _speech(self, request: Request) -> Response:
        body = await request.json()
        sound = inference.speech(self._model(body["model"]), body)
        return Response(sound, media_type="audio/wav")

    async def _transcribe(self, request: Request) -> Response:
        form: Any = await request.form()
        model = self._model(form["model"])
        return JSONResponse(inference.transcribe(model, await form["file"].read()))


def _uid(request: Request) -> str:
    return str(request.path_params["uid"])
