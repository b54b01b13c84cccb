"""What the one worker of `xinference-local` does for a replica: place, find, fetch and load it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from rehearsal import faults, inside
from rehearsal.doubles.xinference import gpus, hub, packages
from rehearsal.doubles.xinference.books import ActorError, Cancelled, Card, Model, Replica
from rehearsal.doubles.xinference.catalogue import CATALOGUE
from rehearsal.doubles.xinference.release import Release

SPAWN_SECONDS = 0.15
"""A process for the model comes first at 2.12, before anybody looks into the catalogue."""
LOAD_SECONDS = {"LLM": 0.4}
LOAD_SECONDS_OTHERS = 0.12
INSTALL_SECONDS = 0.3
UNWIND_SECONDS = 0.3
_NOT_IMPORTED = "Failed to import module 'SentenceTransformer'"
_ADVICE = "\n\nPlease make sure 'sentence-transformers' is installed."


class Worker:
    """Launches replicas on this machine's cards. `home` is the folder of XINFERENCE_HOME.

    Fault: `xinference.spawn` (key: model name) lets a process not start in its minute.
    """

    def __init__(self, release: Release, home: Path, address: str) -> None:
        self.cards = [
            Card(index, gpu["name"], int(gpu["memory_mib"]))
            for index, gpu in enumerate(inside.gpus())
        ]
        self._release, self._home, self._address = release, home, address
        self._launching: set[str] = set()
        self._hub = hub.Hub(home)

    async def launch(self, model: Model, replica: Replica) -> None:
        """Bring one replica up.

        Raises:
            ActorError: it cannot be.
            Cancelled: in the meantime.
        """
        if replica.uid in self._launching:
            raise ActorError(400, f"{replica.uid} is running")
        self._launching.add(replica.uid)
        try:
            await self._launch(model, replica)
        except Cancelled:
            await asyncio.sleep(UNWIND_SECONDS)
            raise
        finally:
            self._launching.discard(replica.uid)

    async def _launch(self, model: Model, replica: Replica) -> None:
        _check_cancelled(model)
        replica.cards = self._place(model, replica)
        for card in replica.cards:
            card.taken[replica.uid] = 0
        if faults.take("xinference.spawn", model.instance.name):
            raise ActorError(500, "")
        if not self._release.successor:
            await asyncio.sleep(SPAWN_SECONDS)
        _check_cancelled(model)
        _resolve(model)
        self._choose_engine(model, replica)
        await self._download(model)
        await self._install(model)
        model.stage = "loading"
        _check_code(model)
        gpus.take(model, replica)
        await asyncio.sleep(LOAD_SECONDS.get(model.entry.type, LOAD_SECONDS_OTHERS))
        _check_cancelled(model)

    def _place(self, model: Model, replica: Replica) -> list[Card]:
        """The replica's cards; none for the CPU."""
        wanted, chosen = model.payload.get("n_gpu", "auto"), model.payload.get("gpu_idx")
        if chosen:
            return self._given_cards(chosen, model, replica)
        if isinstance(wanted, int) and not 0 < wanted <= len(self.cards):
            raise ActorError(
                400,
                "The parameter `n_gpu` must be greater than 0 and not greater than the number of "
                f"GPUs: {len(self.cards)} on the machine.",
            )
        if wanted is None or model.payload.get("device") == "cpu":
            return []
        least = sorted(self.cards, key=lambda card: (len(card.taken), card.index))
        return sorted(least[: 1 if wanted == "auto" else wanted], key=lambda card: card.index)

    def _given_cards(self, indexes: list[int], model: Model, replica: Replica) -> list[Card]:
        known = [card.index for card in self.cards]
        if not set(indexes) <= set(known):
            raise ActorError(
                400,
                f"Worker {self._address} cannot use the GPUs with these indexes: {indexes}. "
                f"Worker {self._address} can only see these GPUs: {known}.",
            )
        each = len(indexes) // model.instance.replica
        mine = indexes[replica.index * each : (replica.index + 1) * each]
        return [self.cards[index] for index in sorted(mine)]

    def _choose_engine(self, model: Model, replica: Replica) -> None:
        entry, known = model.entry, model.entry.runs_on
        named = str(model.payload.get("model_engine") or next(iter(known), ""))
        engine, quantized = named.lower(), model.spec.format == "ggufv2"
        runs = engine in known and engine != "mlx" and (engine == "llama.cpp") == quantized
        if engine in ("vllm", "sglang"):
            on_cpu = entry.type == "LLM" and not replica.cards
            runs = runs and not on_cpu and not self._release.cpu_only
        if not runs:
            shown = known.get(engine, named)
            raise ActorError(400, f"Model {entry.name} cannot be run on engine {shown}.")
        model.engine = engine

    async def _download(self, model: Model) -> None:
        entry, spec, wanted = model.entry, model.spec, model.payload.get("download_hub")
        model.download = model.download or hub.Download(entry.name, model.weights)
        model.stage = "downloading"
        came = await self._hub.fetch(spec, model.quantization, wanted, model.download)
        # 2.12 lets the cancellation itself pass; its successor tells of a failed download.
        if came or not self._release.successor:
            _check_cancelled(model)
        if not came:
            about = f" (size: {spec.size}, format: {spec.format})" if entry.type == "LLM" else ""
            text = f"Failed to download model '{entry.name}'{about} after multiple retries"
            raise ActorError(503, text)

    async def _install(self, model: Model) -> None:
        """From 3.0 on the engine that is named comes from PyPI into the volume, once.

        Where none is named nothing comes, and the image has none. Before, the image's own packages
        serve, and hold a pair that does not import.
        """
        if not self._release.successor:
            if model.engine == "sentence_transformers" and packages.peft() < (0, 18):
                raise ActorError(
                    500,
                    f"{_NOT_IMPORTED}: cannot import name 'HybridCache' from 'transformers' "
                    "(/usr/local/lib/python3.12/dist-packages/transformers/__init__.py)" + _ADVICE,
                )
            return
        if model.engine == "transformers":
            return
        if not model.payload.get("model_engine") and model.entry.type != "audio":
            raise ActorError(500, _NOT_IMPORTED + _ADVICE)
        place = self._home / "virtualenv" / "v4" / model.entry.name / model.engine
        if place.exists():
            return
        model.stage = "installing_dependencies"
        if not hub.index_answers():
            raise ActorError(
                503,
                f"Failed to install packages for {model.entry.name}: error sending request for url "
                f"(https://{hub.package_index()}/simple/{model.engine}/): dns error",
            )
        await asyncio.sleep(INSTALL_SECONDS)
        place.mkdir(parents=True, exist_ok=True)


def _check_cancelled(model: Model) -> None:
    if model.cancelled:
        raise Cancelled


def _resolve(model: Model) -> None:
    """Find the catalogue's line for a payload: sizes are `14`, `"14"`, `"0_5"`, never a float."""
    payload = model.payload
    type_, name = payload.get("model_type") or "LLM", payload["model_name"]
    format_, quantization = payload.get("model_format"), payload.get("quantization")
    size = payload.get("model_size_in_billions")
    entry = CATALOGUE.get(name)
    specs = [
        spec
        for spec in (entry.specs if entry and entry.type == type_ else ())
        if format_ in (None, spec.format)
        and (size is None or spec.size in ("", str(size)))
        and quantization in (None, *spec.quantizations)
    ]
    if entry and specs:
        model.entry, model.spec = entry, specs[0]
        model.quantization = quantization or specs[0].quantizations[0]
    elif type_ == "LLM":
        text = f"name: {name}, format: {format_}, size: {size}, quantization: {quantization}"
        raise ActorError(400, f"Model not found, {text}")
    else:
        known = [each.name for each in CATALOGUE.values() if each.type == type_]
        text = f"model {name} not found, available models: dict_keys({known})"
        raise ActorError(400, f"{type_.capitalize()} {text}")


def _check_code(model: Model) -> None:
    trusted = os.environ.get("XINFERENCE_TRUST_REMOTE_CODE", "").lower() in ("1", "true", "yes")
    if model.entry.own_code and not trusted:
        raise ActorError(
            400,
            f"The repository {model.entry.name} contains custom code which must be executed to "
            "correctly load the model. Please pass the argument `trust_remote_code=True` to "
            "allow custom code to be run.",
        )
