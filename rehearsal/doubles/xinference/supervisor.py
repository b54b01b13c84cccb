"""Launches and what runs: the supervisor and the one worker of `xinference-local`.

Two books are kept, as in the original: the routes (`models`), which a failed launch leaves, and the
statuses (`instances`), which remember READY, ERROR and TERMINATED after that.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rehearsal import faults, inside
from rehearsal.doubles.xinference import gpus, hub, packages
from rehearsal.doubles.xinference.catalogue import CATALOGUE, Entry, Spec, normal_size, of_type
from rehearsal.doubles.xinference.release import Release

Payload = dict[str, Any]

SCHEDULE_SECONDS = 0.03
"""A background launch shows no status this long: right after the POST its uid is unknown."""
LOAD_SECONDS = {"LLM": 0.4}
LOAD_SECONDS_OTHERS = 0.12
INSTALL_SECONDS = 0.3
CANCEL_SECONDS = 0.3
RECREATE_SECONDS = 0.4
WATCH_SECONDS = 0.5
MOST_CONCURRENT = int(os.environ.get("XINFERENCE_MAX_CONCURRENT_LAUNCHES", "5"))

_OWN_KEY_TEXT = """
model_uid model_name model_engine model_size_in_billions model_format quantization model_type
replica n_gpu n_worker request_limits peft_model_config worker_ip gpu_idx download_hub model_path
enable_virtual_env virtual_env_packages virtual_env_find_links envs replica_config
"""
_OWN_KEYS = frozenset(_OWN_KEY_TEXT.split())


class ServiceError(Exception):
    """An answer that is an error: status and `detail`."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}


class Cancelled(Exception):
    """The launch was cancelled by another call."""


@dataclass
class Replica:
    """The status of one replica, as `/replicas` tells it."""

    index: int
    uid: str
    address: str
    status: str = "CREATING"
    error: str | None = None
    created: int = field(default_factory=lambda: int(time.time()))
    cards: list[gpus.Card] = field(default_factory=list)


@dataclass
class Instance:
    """What the status book keeps of a uid."""

    uid: str
    name: str
    replica: int
    status: str = "CREATING"
    replicas: list[Replica] = field(default_factory=list)
    created: int = field(default_factory=lambda: int(time.time()))


@dataclass
class Model:
    """One entry of the routes: launching, or READY."""

    uid: str
    payload: Payload
    instance: Instance
    entry: Entry | None = None
    spec: Spec | None = None
    quantization: str = "none"
    engine: str = ""
    stage: str = "launching"
    ready: bool = False
    cancelled: bool = False
    download: hub.Download | None = None
    task: asyncio.Task[None] | None = None
    recovers: int | None = None
    port: int = 0

    @property
    def arguments(self) -> Payload:
        """What went to the engine: every key that Xinference does not know."""
        return {key: value for key, value in self.payload.items() if key not in _OWN_KEYS}

    @property
    def context(self) -> int:
        """Tokens that the engine reads."""
        if self.entry is None:
            return 0
        given = self.arguments.get("max_model_len") or self.arguments.get("n_ctx")
        # A transformers model grows its cache with the talk; four thousand tokens are usual.
        usual = self.entry.context if self.engine == "vllm" else min(self.entry.context, 4096)
        return int(given or usual)

    def progress(self) -> float:
        """0 to 1; a download is the first four fifths."""
        if self.ready:
            return 1.0
        if self.download is None:
            return 0.0
        fetched = self.download.done / self.download.total if self.download.total else 1.0
        return 0.8 * fetched if self.stage == "downloading" else 0.8


class Supervisor:
    """All models of one server. `home` is the folder of XINFERENCE_HOME."""

    def __init__(self, release: Release, home: Path) -> None:
        self.release = release
        self.home = home
        self.models: dict[str, Model] = {}
        self.instances: dict[str, Instance] = {}
        self.orphans: list[Model] = []
        self.started = time.time()
        self.address = f"{inside.address()}:{30000 + os.getpid() % 20000}"
        self.cards = [
            gpus.Card(index, gpu["name"], int(gpu["memory_mib"]))
            for index, gpu in enumerate(inside.gpus())
        ]
        self._hub = hub.Hub(home)
        self._slots = asyncio.Semaphore(MOST_CONCURRENT)
        self._ports = iter(range(34000, 60000))

    # Launching

    async def launch(self, payload: Payload, wait_ready: bool) -> str:
        """`POST /v1/models`: the uid.

        Raises:
            ServiceError: with `wait_ready` everything; without, only what is known at once.
        """
        uid = payload.get("model_uid") or payload["model_name"]
        self._check_uid(uid)
        limit = payload.get("request_limits")
        if limit is not None and limit < 0:
            raise self.refused("The `request_limits` parameter must be greater or equal than 0.")
        if uid in self.models:
            raise self.refused(f"Model is already in the model list, uid: {uid}")
        instance = Instance(uid, payload["model_name"], int(payload.get("replica") or 1))
        model = Model(uid, payload, instance)
        self.models[uid], self.instances[uid] = model, instance
        model.task = asyncio.create_task(self._launch(model))
        model.task.add_done_callback(_seen)
        if wait_ready:
            await self._wait(model)
        return str(uid)

    async def _wait(self, model: Model) -> None:
        assert model.task is not None
        try:
            await asyncio.shield(model.task)
        except gpus.EngineFailure as failure:
            status = {"ValueError": 400, "RuntimeError": 503}.get(failure.kind, 500)
            raise ServiceError(status, self._prefixed(str(failure))) from failure
        except hub.DownloadFailed as failure:
            raise ServiceError(503, self._prefixed(str(failure))) from failure
        except Cancelled as cancelled:
            raise ServiceError(499, "Launch cancelled") from cancelled

    def _check_uid(self, uid: object) -> None:
        named = uid.strip() if isinstance(uid, str) else ""
        reserved = self.release.reserves_replica_names and re.search(r"-rep\d+$", named)
        if not named or len(named) > 100 or reserved:
            text = "The model UID is invalid. Please specify the model UID by 0 < length <= 100."
            raise self.refused(text)

    async def _launch(self, model: Model) -> None:
        await asyncio.sleep(SCHEDULE_SECONDS)
        model.instance.replicas = [
            Replica(index, self.release.replica_uid(model.uid, index), self.address)
            for index in range(model.instance.replica)
        ]
        results = await asyncio.gather(
            *(self._launch_replica(model, replica) for replica in model.instance.replicas),
            return_exceptions=True,
        )
        failure = next((each for each in results if isinstance(each, BaseException)), None)
        if failure is None:
            if self.models.get(model.uid) is model:
                model.ready, model.stage = True, "loading"
                model.instance.status = "READY"
                model.recovers = _recover_limit()
                model.port = next(self._ports)
            return
        for replica in model.instance.replicas:
            gpus.release(replica.cards, replica.uid)
            replica.status = "TERMINATED" if replica.status == "READY" else replica.status
        if self.models.get(model.uid) is model:
            del self.models[model.uid]
        model.instance.status = "ERROR"
        raise failure

    async def _launch_replica(self, model: Model, replica: Replica) -> None:
        try:
            async with self._slots:
                await self._start(model, replica)
        except (gpus.EngineFailure, hub.DownloadFailed, Cancelled) as failure:
            replica.status = "ERROR"
            replica.error = self._prefixed(str(failure))
            print(f"Failed to launch replica {replica.uid}: {failure}", file=sys.stderr)
            raise
        replica.status = "READY"

    async def _start(self, model: Model, replica: Replica) -> None:
        _check_cancelled(model)
        replica.cards = self._place(model, replica)
        self._resolve(model)
        entry, spec = model.entry, model.spec
        assert entry is not None
        assert spec is not None
        await self._download(model, entry, spec)
        await self._install(model, entry)
        model.stage, replica.status = "loading", "LOADING"
        self._check_code(entry)
        self._take_memory(model, entry, spec, replica)
        await asyncio.sleep(LOAD_SECONDS.get(entry.type, LOAD_SECONDS_OTHERS))
        _check_cancelled(model)

    def _place(self, model: Model, replica: Replica) -> list[gpus.Card]:
        """The replica's cards; none for the CPU."""
        wanted, chosen = model.payload.get("n_gpu", "auto"), model.payload.get("gpu_idx")
        if chosen not in (None, []):
            return self._given_cards(chosen, model, replica)
        if isinstance(wanted, int) and not 0 < wanted <= len(self.cards):
            raise gpus.EngineFailure(
                "ValueError",
                "The parameter `n_gpu` must be greater than 0 and not greater than the number of "
                f"GPUs: {len(self.cards)} on the machine.",
            )
        if isinstance(wanted, str) and wanted != "auto":
            raise gpus.EngineFailure("ValueError", "Currently `n_gpu` only supports `auto`.")
        if wanted is None or not self.cards:
            return []
        count = wanted if isinstance(wanted, int) else 1
        free = self.cards if self._shares() else [card for card in self.cards if not card.taken]
        if count > len(free):
            raise gpus.EngineFailure("RuntimeError", "No available slot found for the model")
        least = sorted(free, key=lambda card: (self._load(card), card.index))[:count]
        return sorted(least, key=lambda card: card.index)

    def _given_cards(
        self, chosen: int | list[int], model: Model, replica: Replica
    ) -> list[gpus.Card]:
        indexes = [chosen] if isinstance(chosen, int) else list(chosen)
        known = [card.index for card in self.cards]
        if not set(indexes) <= set(known):
            raise gpus.EngineFailure(
                "ValueError",
                f"Worker {self.address} cannot use the GPUs with these indexes: {indexes}. "
                f"Worker {self.address} can only see these GPUs: {known}.",
            )
        each = len(indexes) // model.instance.replica
        mine = indexes[replica.index * each : (replica.index + 1) * each]
        return [self.cards[index] for index in sorted(mine)]

    def _load(self, card: gpus.Card) -> int:
        running = [*self.models.values(), *self.orphans]
        return sum(
            card in replica.cards for model in running for replica in model.instance.replicas
        )

    def _shares(self) -> bool:
        switch = os.environ.get("XINFERENCE_ALLOW_MULTI_REPLICA_PER_GPU", "1")
        return self.release.shares_gpus and switch != "0"

    def _resolve(self, model: Model) -> None:
        """Find the catalogue's line for a payload, as the worker does."""
        payload = model.payload
        type_ = payload.get("model_type") or "LLM"
        name, format_ = payload["model_name"], payload.get("model_format")
        size = normal_size(payload.get("model_size_in_billions"))
        quantization = payload.get("quantization")
        entry = CATALOGUE.get(name)
        if entry is None or entry.type != type_:
            raise gpus.EngineFailure("ValueError", _unknown(type_, payload))
        specs = [
            spec
            for spec in entry.specs
            if format_ in (None, spec.format)
            and (size is None or not spec.size or size == spec.size)
            and quantization in (None, *spec.quantizations)
        ]
        if not specs or isinstance(payload.get("model_size_in_billions"), float):
            raise gpus.EngineFailure("ValueError", _unknown(type_, payload))
        model.entry, model.spec = entry, specs[0]
        model.quantization = quantization or specs[0].quantizations[0]
        model.engine = self._engine(model, entry, specs[0])

    def _engine(self, model: Model, entry: Entry, spec: Spec) -> str:
        named = model.payload.get("model_engine") or (entry.engines[0] if entry.engines else "")
        known = {engine.lower(): engine for engine in entry.engines}
        engine = str(named).lower()
        if engine not in known or self._cannot_run(engine, entry, spec, model):
            shown = known.get(engine, named)
            text = f"Model {entry.name} cannot be run on engine {shown}."
            raise gpus.EngineFailure("ValueError", text)
        return engine

    def _cannot_run(self, engine: str, entry: Entry, spec: Spec, model: Model) -> bool:
        cards = next(iter(model.instance.replicas)).cards
        if engine in ("vllm", "sglang"):
            no_gpu = entry.type == "LLM" and not cards
            return no_gpu or self.release.cpu_only or spec.format == "ggufv2"
        if engine == "mlx":
            return True
        return (engine == "llama.cpp") != (spec.format == "ggufv2")

    async def _download(self, model: Model, entry: Entry, spec: Spec) -> None:
        if model.payload.get("model_path"):
            place = inside.path(model.payload["model_path"])
            if not place.exists():
                raise gpus.EngineFailure(
                    "ValueError",
                    f"Invalid input. `model_path`: {model.payload['model_path']} File or directory "
                    "does not exist.",
                )
            return
        weights = entry.weights(spec, model.quantization)
        if model.download is None:
            model.download = hub.Download(f"{spec.repository}/model.safetensors", weights)
        model.stage = "downloading"
        wanted = model.payload.get("download_hub")
        await self._hub.fetch(entry, spec, model.quantization, wanted, model.download)
        _check_cancelled(model)

    async def _install(self, model: Model, entry: Entry) -> None:
        """From 3.0 on an engine comes from PyPI into the volume at its first launch.

        Before, the image's own packages serve; some images hold a pair that does not import.
        """
        if model.engine == "sentence_transformers" and self.release.breaks_side_models:
            _import_sentence_transformers(packages.peft())
        if not self.release.installs_engines or model.engine == "transformers":
            return
        place = self.home / "virtualenv" / "v4" / entry.name / model.engine
        if place.exists():
            return
        model.stage = "installing_dependencies"
        if not hub.index_answers():
            raise gpus.EngineFailure(
                "RuntimeError",
                f"Failed to install packages for {entry.name}: error sending request for url "
                f"(https://{hub.package_index()}/simple/{model.engine}/): dns error",
            )
        await asyncio.sleep(INSTALL_SECONDS)
        place.mkdir(parents=True)

    def _check_code(self, entry: Entry) -> None:
        trusted = os.environ.get("XINFERENCE_TRUST_REMOTE_CODE", "").lower() in ("1", "true", "yes")
        if entry.own_code and self.release.asks_trust and not trusted:
            spec = entry.specs[0]
            raise gpus.EngineFailure(
                "ValueError",
                f"The repository {spec.repository} contains custom code which must be executed to "
                "correctly load the model. Please pass the argument `trust_remote_code=True` to "
                "allow custom code to be run.",
            )

    def _take_memory(self, model: Model, entry: Entry, spec: Spec, replica: Replica) -> None:
        if not replica.cards:
            return
        share = model.arguments.get("gpu_memory_utilization")
        need = gpus.Need(
            entry=entry,
            engine=model.engine,
            weights=entry.weights(spec, model.quantization),
            size=spec.size,
            context=model.context,
            utilization=gpus.DEFAULT_UTILIZATION if share is None else float(share),
        )
        gpus.take(replica.cards, replica.uid, need)

    # Stopping

    async def terminate(self, uid: str) -> None:
        """`DELETE /v1/models/{uid}`. A launch is not stopped by it: it is refused and goes on."""
        model = self.models.get(uid)
        if model is None:
            raise self.refused(f"Model not found in the model list, uid: {uid}")
        if not model.ready:
            first = self.release.replica_uid(uid, 0)
            raise self.refused(f"Model not found in the model list, uid: {first}")
        model.instance.status = "TERMINATING"
        del self.models[uid]
        self._free(model, "TERMINATED")

    async def cancel(self, uid: str) -> None:
        """`POST /v1/models/{uid}/cancel`: blocks until the download has unwound."""
        model = self.models.get(uid)
        if model is None:
            raise ServiceError(500, self._prefixed(f"Model {uid} has not been launched yet"))
        if model.ready:
            if self.release.cancel_forgets_ready:
                del self.models[uid]
                self.orphans.append(model)
            return
        model.cancelled = True
        if model.download is not None:
            model.download.cancelled = True
        model.instance.status = "ERROR"
        await asyncio.sleep(CANCEL_SECONDS)
        if model.task is not None:
            await asyncio.wait([model.task], timeout=60)
        if self.models.get(uid) is model:
            del self.models[uid]

    def _free(self, model: Model, status: str) -> None:
        for replica in model.instance.replicas:
            replica.status = status
            gpus.release(replica.cards, replica.uid)
        model.instance.status = status

    async def watch(self) -> None:
        """Let `xinference.crash` (key: model name) end the process of a model that is READY."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for model in [each for each in self.models.values() if each.ready]:
                if faults.take("xinference.crash", model.instance.name):
                    await self._crash(model)

    async def _crash(self, model: Model) -> None:
        print(f"Process of {model.uid} is down.", file=sys.stderr)
        model.ready = False
        for replica in model.instance.replicas:
            gpus.release(replica.cards, replica.uid)
        if model.recovers == 0:
            for replica in model.instance.replicas:
                replica.status, replica.error = "ERROR", "Stop recreating model actor."
            model.instance.status = "ERROR"
            del self.models[model.uid]
            return
        if model.recovers is not None:
            model.recovers -= 1
        for replica in model.instance.replicas:
            replica.status = "LOADING"
        await asyncio.sleep(RECREATE_SECONDS)
        await self._recreate(model)

    async def _recreate(self, model: Model) -> None:
        assert model.entry is not None
        assert model.spec is not None
        for replica in model.instance.replicas:
            try:
                self._take_memory(model, model.entry, model.spec, replica)
            except gpus.EngineFailure as failure:
                replica.status, replica.error = "ERROR", self._prefixed(str(failure))
                self.models.pop(model.uid, None)
                return
            replica.status = "READY"
        model.ready = True

    # Looking

    def ready_model(self, uid: str) -> Model | None:
        """The model that answers for a uid; None when there is none.

        Raises:
            ServiceError: 503 while it is launching or loading.
        """
        model = self.models.get(uid)
        if model is not None and not model.ready:
            text = self._prefixed(f"Model {uid} is launching, not yet ready for inference")
            detail = f"Model is loading, please retry later: {text}"
            raise ServiceError(503, detail, {"Retry-After": "30"})
        return model

    def refused(self, text: str) -> ServiceError:
        """A ValueError of an actor."""
        return ServiceError(400, self._prefixed(text))

    def failed(self, text: str) -> ServiceError:
        """An unexpected failure of an actor."""
        return ServiceError(500, self._prefixed(text))

    def _prefixed(self, text: str) -> str:
        return f"[address={self.address}, pid={os.getpid()}] {text}"


def _check_cancelled(model: Model) -> None:
    if model.cancelled:
        raise Cancelled("Launch cancelled")


def _seen(task: asyncio.Task[None]) -> None:
    """Look at a background failure, so that nobody complains that nobody did."""
    if not task.cancelled():
        task.exception()


def _recover_limit() -> int | None:
    limit = os.environ.get("XINFERENCE_MODEL_ACTOR_AUTO_RECOVER_LIMIT")
    return int(limit) if limit else None


def _import_sentence_transformers(peft: tuple[int, ...]) -> None:
    if peft < (0, 18):
        raise gpus.EngineFailure(
            "ImportError",
            "Failed to import module 'SentenceTransformer': cannot import name 'HybridCache' from "
            "'transformers' (/usr/local/lib/python3.12/dist-packages/transformers/__init__.py)"
            "\n\nPlease make sure 'sentence-transformers' is installed.",
        )


def _unknown(type_: str, payload: Payload) -> str:
    name = payload["model_name"]
    if type_ == "LLM":
        return (
            f"Model not found, name: {name}, format: {payload.get('model_format')}, "
            f"size: {payload.get('model_size_in_billions')}, "
            f"quantization: {payload.get('quantization')}"
        )
    known = [entry.name for entry in of_type(type_)]
    return f"{type_.capitalize()} model {name} not found, available models: dict_keys({known})"
