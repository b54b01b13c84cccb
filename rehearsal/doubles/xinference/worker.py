"""What the one worker of `xinference-local` does for a replica: place, find, fetch and load it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from rehearsal import faults, inside
from rehearsal.doubles.xinference import gpus, hub, packages
from rehearsal.doubles.xinference.books import Cancelled, Model, Payload, Replica
from rehearsal.doubles.xinference.catalogue import CATALOGUE, Entry, Spec, normal_size, of_type
from rehearsal.doubles.xinference.release import Release

SPAWN_SECONDS = 0.15
"""A process for the model comes first at 2.12, before anybody looks into the catalogue."""
LOAD_SECONDS = {"LLM": 0.4}
LOAD_SECONDS_OTHERS = 0.12
INSTALL_SECONDS = 0.3
UNWIND_SECONDS = 0.3
MOST_CONCURRENT = int(os.environ.get("XINFERENCE_MAX_CONCURRENT_LAUNCHES", "5"))


class Worker:
    """Launches replicas on this machine's cards. `home` is the folder of XINFERENCE_HOME.

    Fault: `xinference.spawn` (key: model name) lets a process not start in its minute.
    """

    def __init__(self, release: Release, home: Path, address: str) -> None:
        self.release = release
        self.home = home
        self.address = address
        self.cards = [
            gpus.Card(index, gpu["name"], int(gpu["memory_mib"]))
            for index, gpu in enumerate(inside.gpus())
        ]
        self.running: list[Model] = []
        self._launching: set[str] = set()
        self._hub = hub.Hub(home)
        self._slots = asyncio.Semaphore(MOST_CONCURRENT)

    async def launch(self, model: Model, replica: Replica) -> None:
        """Bring one replica up.

        Raises:
            gpus.EngineFailure, hub.DownloadFailed: it cannot be.
            Cancelled: in the meantime.
        """
        if replica.uid in self._launching:
            raise gpus.EngineFailure("ValueError", f"{replica.uid} is running")
        self._launching.add(replica.uid)
        try:
            await self._launch(model, replica)
        except Cancelled:
            await asyncio.sleep(UNWIND_SECONDS)
            raise
        finally:
            self._launching.discard(replica.uid)

    async def _launch(self, model: Model, replica: Replica) -> None:
        async with self._slots:
            _check_cancelled(model)
            replica.cards += self._place(model, replica)
            if faults.take("xinference.spawn", model.instance.name):
                raise gpus.EngineFailure("TimeoutError", "")
            if not self.release.successor:
                await asyncio.sleep(SPAWN_SECONDS)
            _check_cancelled(model)
            self._resolve(model, replica)
            entry, spec = model.entry, model.spec
            assert entry is not None
            assert spec is not None
            await self._download(model, entry, spec)
            await self._install(model, entry)
            model.stage = "loading"
            self._check_code(entry)
            self.take_memory(model, replica)
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
        if count > len(self.cards):
            raise gpus.EngineFailure("RuntimeError", "No available slot found for the model")
        least = sorted(self.cards, key=lambda card: (self._load(card), card.index))[:count]
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
        return sum(card in replica.cards for model in self.running for replica in model.replicas)

    def _resolve(self, model: Model, replica: Replica) -> None:
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
        model.engine = self._engine(model, entry, specs[0], replica)

    def _engine(self, model: Model, entry: Entry, spec: Spec, replica: Replica) -> str:
        named = model.payload.get("model_engine") or (entry.engines[0] if entry.engines else "")
        known = {engine.lower(): engine for engine in entry.engines}
        engine = str(named).lower()
        if engine not in known or self._cannot_run(engine, entry, spec, replica):
            shown = known.get(engine, named)
            text = f"Model {entry.name} cannot be run on engine {shown}."
            raise gpus.EngineFailure("ValueError", text)
        return engine

    def _cannot_run(self, engine: str, entry: Entry, spec: Spec, replica: Replica) -> bool:
        if engine in ("vllm", "sglang"):
            no_gpu = entry.type == "LLM" and not replica.cards
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
        try:
            await self._hub.fetch(entry, spec, model.quantization, wanted, model.download)
        except hub.DownloadFailed:
            # 2.12 lets the cancellation itself pass; its successor tells of a failed download.
            if not self.release.successor:
                _check_cancelled(model)
            raise
        _check_cancelled(model)

    async def _install(self, model: Model, entry: Entry) -> None:
        """From 3.0 on the engine that is named comes from PyPI into the volume, once.

        Where none is named nothing comes, and the image has none. Before, the image's own packages
        serve, and hold a pair that does not import.
        """
        if not self.release.successor:
            if model.engine == "sentence_transformers":
                _import_sentence_transformers(packages.peft())
            return
        if model.engine == "transformers":
            return
        if not model.payload.get("model_engine") and entry.type != "audio":
            raise gpus.EngineFailure("ImportError", _NOT_IMPORTED)
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
        if entry.own_code and not trusted:
            spec = entry.specs[0]
            raise gpus.EngineFailure(
                "ValueError",
                f"The repository {spec.repository} contains custom code which must be executed to "
                "correctly load the model. Please pass the argument `trust_remote_code=True` to "
                "allow custom code to be run.",
            )

    def take_memory(self, model: Model, replica: Replica) -> None:
        """Claim the cards' memory for a replica that loads.

        Raises:
            gpus.EngineFailure: there is too little.
        """
        entry, spec = model.entry, model.spec
        if not replica.cards or entry is None or spec is None:
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


_NOT_IMPORTED = (
    "Failed to import module 'SentenceTransformer'\n\nPlease make sure 'sentence-transformers' is "
    "installed."
)


def _check_cancelled(model: Model) -> None:
    if model.cancelled:
        raise Cancelled("Launch cancelled")


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
