"""What is known and remembered of models, how errors are told, and what differs by release."""

import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioning.vendor import ModelType, VendorModel, VendorSpec, billions_of, vendor_models
from rehearsal.doubles.xinference.hub import Download

Payload = dict[str, Any]
MIB = 1024 * 1024
_TYPES: tuple[ModelType, ...] = ("LLM", "embedding", "rerank", "audio")
# What the vendor's list does not say: bytes of published weights, and a token's cache (layers x KV
# heads x head width x 4 bytes); the product's estimate of memory is held against it.
_TOLD: dict[str, Any] = json.loads(Path(__file__).with_name("catalogue.json").read_bytes())
_ERRORS: dict[str, Any] = json.loads(Path(__file__).with_name("errors.json").read_bytes())


class Entry(VendorModel, frozen=True):
    @property
    def runs_on(self) -> tuple[str, ...]:
        """Its engines; the first is the default of a non-LLM."""
        ordered = sorted(self.engines, key=lambda name: name != "sentence_transformers")
        return tuple(ordered) or ("transformers",)

    def thinks(self, told: object) -> bool:
        """Whether it reasons before it answers; a hybrid unless it is told not to."""
        hybrid = "hybrid" in self.abilities
        return "reasoning" in self.abilities and not (hybrid and told is False)

    def weights(self, spec: VendorSpec, quantization: str) -> int:
        if not spec.size:
            return int(_TOLD["bytes"].get(self.name) or self.billions * 2e9 or 1.3e9)
        billions = _TOLD["billions of a size"].get(spec.size) or billions_of(spec.size)
        if spec.format == "ggufv2":
            bits = _TOLD["bits of a digit"]
            width = next((bits[letter] / 8 for letter in quantization if letter in bits), 2.0)
        elif spec.format in ("awq", "gptq", "bnb", "fp4"):
            width = 0.68 if "4" in quantization else 1.15
        else:
            width = 1.06 if spec.format == "fp8" else 2.0
        return int(billions * 1e9 * width)

    def token_bytes(self, size: str) -> int:
        return int(_TOLD["KiB of a token"].get(size, 160)) * 1024 if size else 0


CATALOGUE = {
    name: Entry.model_validate(listed.model_dump())
    for type_ in _TYPES
    for name, listed in vendor_models(type_).items()
}


class ServiceError(Exception):
    """An answer that is an error: its kind in `errors.json`, and what its text tells."""

    def __init__(self, kind: str, **told: object) -> None:
        self.status, text = _ERRORS[kind]
        super().__init__(text.format(**told))


class ActorError(ServiceError):
    """What failed in an actor: its answer begins with the actor's address."""


class Cancelled(ServiceError):
    """The launch was cancelled by another call."""


@dataclass(frozen=True)
class Release:
    """2.12, or its successor, 4.1 (3.0 or later)."""

    text: str

    @property
    def successor(self) -> bool:
        return int(self.text.partition(".")[0]) >= 3

    def replica_uid(self, uid: str, replica: int) -> str:
        return f"{uid}-rep{replica}" if self.successor else f"{uid}-{replica}"

    def row(self, replica: int) -> int:
        """The place in the book at which a worker writes down a replica: at 2.12 one too low."""
        return replica if self.successor else max(0, replica - 1)


def release_of(tag: str) -> Release:
    """The release in an image's tag: `v2.12.0`, `v2.12.0-cpu`; others count as the newest known."""
    match = re.match(r"v?(\d+\.\d+\.\d+)", tag)
    return Release(match.group(1) if match else "4.1.0")


@dataclass
class Card:
    """One GPU; `taken` is MiB by replica, 0 for one that has only been placed."""

    index: int
    total_mib: int
    taken: dict[str, int] = field(default_factory=dict)

    @property
    def free_mib(self) -> int:
        return self.total_mib - sum(self.taken.values())


@dataclass
class Replica:
    """One copy of a model. `process` is "starting", "up", "dead" (which nobody has noticed yet),
    "gone" (which was), or "idle": started again, it never answers (docs/facts/measured.md §2)."""

    index: int
    uid: str
    cards: list[Card] = field(default_factory=list)
    process: str = "starting"
    status: str = "CREATING"
    error: str | None = None


@dataclass(eq=False)
class Model:
    """A launch, on its way or READY; no `replicas` until it has been scheduled."""

    uid: str
    payload: Payload
    entry: Entry = field(init=False)
    spec: VendorSpec = field(init=False)
    quantization: str = field(init=False)
    engine: str = field(init=False)
    task: asyncio.Task[None] = field(init=False)
    status: str = "CREATING"
    replicas: list[Replica] = field(default_factory=list)
    created: int = field(default_factory=lambda: int(time.time()))
    stage: str = "launching"
    ready: bool = False
    cancelled: bool = False
    asked: int = 0
    download: Download | None = None

    @property
    def copies(self) -> int:
        return int(self.payload.get("replica") or 1)

    @property
    def context(self) -> int:
        """Tokens that the engine reads."""
        given = self.payload.get("max_model_len") or self.payload.get("n_ctx")
        # A transformers model grows its cache with the talk; four thousand tokens are usual.
        usual = self.entry.context if self.engine == "vllm" else min(self.entry.context, 4096)
        return int(given or usual)

    @property
    def weights(self) -> int:
        """Bytes to download, which are also those in memory."""
        return self.entry.weights(self.spec, self.quantization)

    def progress(self) -> float:
        """0 to 1; a download is the first four fifths."""
        if self.ready or self.download is None:
            return float(self.ready)
        return 0.8 * self.download.done / self.download.total
