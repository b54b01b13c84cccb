"""What is remembered of models: launches and routes (`Model`), and the book of instances."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from provisioning.vendor import VendorSpec
from rehearsal.doubles.xinference.catalogue import Entry
from rehearsal.doubles.xinference.hub import Download

Payload = dict[str, Any]


class ServiceError(Exception):
    """An answer that is an error: status and `detail`."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers


class ActorError(ServiceError):
    """What failed in an actor: its answer begins with the actor's address.

    A ValueError is a 400, a RuntimeError a 503, all else a 500 (docs/facts/xinference.md §2).
    """


class Cancelled(ServiceError):
    """The launch was cancelled by another call."""

    def __init__(self) -> None:
        super().__init__(499, "Launch cancelled")


@dataclass
class Card:
    """One GPU; `taken` is MiB by replica, 0 for one that has only been placed."""

    index: int
    name: str
    total_mib: int
    taken: dict[str, int] = field(default_factory=dict)

    @property
    def free_mib(self) -> int:
        """What nobody took."""
        return self.total_mib - sum(self.taken.values())


@dataclass
class Replica:
    """One copy of a model, how its process is, and what the book of instances says of it.

    `process`: "starting"; "up"; "dead", which nobody has noticed yet; "gone", which was noticed;
    "idle", started again in its place, which never answers (docs/facts/measured.md §2 finding 2).
    """

    index: int
    uid: str
    cards: list[Card] = field(default_factory=list)
    process: str = "starting"
    status: str = "CREATING"
    state: str = ""
    error: str | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def known(self) -> bool:
        """Whether its worker can describe it."""
        return self.process in ("up", "dead", "idle")


@dataclass
class Instance:
    """What the book keeps of a uid; it remembers what the routes have forgotten."""

    uid: str
    name: str
    replica: int
    status: str = "CREATING"
    abilities: tuple[str, ...] = ()
    rows: list[Replica] = field(default_factory=list)
    created: int = field(default_factory=lambda: int(time.time()))


@dataclass(eq=False)
class Model:
    """One entry of the routes: launching, or READY. What it is in the catalogue comes late."""

    uid: str
    payload: Payload
    instance: Instance
    entry: Entry = field(init=False)
    spec: VendorSpec = field(init=False)
    quantization: str = field(init=False)
    engine: str = field(init=False)
    task: asyncio.Task[None] = field(init=False)
    stage: str = "launching"
    ready: bool = False
    recovering: bool = False
    cancelled: bool = False
    asked: int = 0
    download: Download | None = None
    recovers: int | None = None

    @property
    def replicas(self) -> list[Replica]:
        """None until the launch has been scheduled."""
        return self.instance.rows

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
        if self.ready:
            return 1.0
        if self.download is None:
            return 0.0
        fetched = self.download.done / self.download.total if self.download.total else 1.0
        return 0.8 * fetched if self.stage == "downloading" else 0.8
