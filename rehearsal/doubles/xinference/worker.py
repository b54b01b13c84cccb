"""What the one worker of `xinference-local` does for a replica: place, find, fetch and load it."""

import asyncio
import os
from pathlib import Path

from rehearsal import faults, inside
from rehearsal.doubles.xinference import gpus, hub, packages
from rehearsal.doubles.xinference.books import (
    ActorError,
    Cancelled,
    Card,
    Model,
    Release,
    Replica,
)
from rehearsal.doubles.xinference.catalogue import CATALOGUE

SPAWN_SECONDS = 0.15
"""A process for the model comes first at 2.12, before anybody looks into the catalogue."""
LOAD_SECONDS = {"LLM": 0.4}
LOAD_SECONDS_OTHERS = 0.12
INSTALL_SECONDS = 0.3
UNWIND_SECONDS = 0.3


class Worker:
    """Launches replicas on this machine's cards. `home` is the folder of XINFERENCE_HOME.

    Fault: `xinference.spawn` (key: model name) lets a process not start in its minute.
    """

    def __init__(self, release: Release, home: Path) -> None:
        self.cards = [
            Card(index, gpu["name"], int(gpu["memory_mib"]))
            for index, gpu in enumerate(inside.gpus())
        ]
        self._release, self._home = release, home
        self._launching: set[str] = set()

    async def launch(self, model: Model, replica: Replica) -> None:
        """Bring one replica up; an ActorError where it cannot be, Cancelled in the meantime."""
        if replica.uid in self._launching:
            raise ActorError("running", uid=replica.uid)
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
        replica.cards = self._place(model)
        for card in replica.cards:
            card.taken[replica.uid] = 0
        if faults.take("xinference.spawn", model.payload["model_name"]):
            raise ActorError("not spawned")
        if not self._release.successor:
            await asyncio.sleep(SPAWN_SECONDS)
        _check_cancelled(model)
        _resolve(model)
        _choose_engine(model, replica)
        await self._download(model)
        await self._install(model)
        model.stage = "loading"
        trusted = os.environ.get("XINFERENCE_TRUST_REMOTE_CODE") == "1"
        if "BaichuanForCausalLM" in model.entry.architecture and not trusted:
            raise ActorError("own code", name=model.entry.name)
        gpus.take(model, replica)
        await asyncio.sleep(LOAD_SECONDS.get(model.entry.type, LOAD_SECONDS_OTHERS))
        _check_cancelled(model)

    def _place(self, model: Model) -> list[Card]:
        """The replica's cards; none for the CPU."""
        wanted = model.payload.get("n_gpu", "auto")
        if isinstance(wanted, int) and not 0 < wanted <= len(self.cards):
            raise ActorError("too many cards", gpus=len(self.cards))
        if wanted is None or model.payload.get("device") == "cpu":
            return []
        least = sorted(self.cards, key=lambda card: (len(card.taken), card.index))
        return sorted(least[: 1 if wanted == "auto" else wanted], key=lambda card: card.index)

    async def _download(self, model: Model) -> None:
        entry, spec, wanted = model.entry, model.spec, model.payload.get("download_hub")
        model.download = model.download or hub.Download(entry.name, model.weights)
        model.stage = "downloading"
        came = await hub.fetch(self._home, spec, model.quantization, wanted, model.download)
        # 2.12 lets the cancellation itself pass; its successor tells of a failed download.
        if came or not self._release.successor:
            _check_cancelled(model)
        if not came:
            about = f" (size: {spec.size}, format: {spec.format})" if spec.size else ""
            raise ActorError("download", name=entry.name, about=about)

    async def _install(self, model: Model) -> None:
        """From 3.0 on the engine that is named comes from PyPI into the volume, once.

        Where none is named nothing comes, and the image has none. Before, the image's own packages
        serve, and hold a pair that does not import until peft is 0.18.
        """
        if not self._release.successor:
            if model.engine == "sentence_transformers" and packages.installed("peft") < "0.18":
                raise ActorError("peft")
            return
        if model.engine == "transformers":
            return
        if not model.payload.get("model_engine") and model.entry.type != "audio":
            raise ActorError("not installed")
        place = self._home / "virtualenv" / "v4" / model.entry.name / model.engine
        if not place.exists():
            model.stage = "installing_dependencies"
            if not hub.index_answers():
                told = {"name": model.entry.name, "engine": model.engine}
                raise ActorError("index", host=hub.package_index(), **told)
            await asyncio.sleep(INSTALL_SECONDS)
            place.mkdir(parents=True, exist_ok=True)


def _check_cancelled(model: Model) -> None:
    if model.cancelled:
        raise Cancelled


def _choose_engine(model: Model, replica: Replica) -> None:
    known = model.entry.runs_on
    model.engine = str(model.payload.get("model_engine") or known[0]).lower()
    on_cpu = model.entry.type == "LLM" and not replica.cards
    if model.engine not in known or (on_cpu and model.engine in ("vllm", "sglang")):
        raise ActorError("engine", name=model.entry.name, engine=model.engine)


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
        told = {"format": format_, "size": size, "quantization": quantization}
        raise ActorError("unknown LLM", name=name, **told)
    else:
        known = [each.name for each in CATALOGUE.values() if each.type == type_]
        raise ActorError("unknown model", type=type_.capitalize(), name=name, known=known)
