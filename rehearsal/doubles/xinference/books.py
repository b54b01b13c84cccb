"""What is remembered of models, how errors are told, and what differs between two releases.

Facts: docs/facts/xinference.md §0 and §2, docs/facts/measured.md §2.
"""

import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioning.vendor import VendorSpec
from rehearsal.doubles.xinference.catalogue import Entry
from rehearsal.doubles.xinference.hub import Download

Payload = dict[str, Any]
_ERRORS: dict[str, tuple[int, str]] = json.loads(
    Path(__file__).with_name("errors.json").read_bytes()
)


class ServiceError(Exception):
    """An answer that is an error: its kind in `errors.json`, and what its text tells."""

    def __init__(self, kind: str, **told: object) -> None:
        self.status, text = _ERRORS[kind]
        super().__init__(text.format(**told))


class ActorError(ServiceError):
    """What failed in an actor: its answer begins with the actor's address."""


class Cancelled(ServiceError):
    """The launch was cancelled by another call."""

    def __init__(self) -> None:
        super().__init__("cancelled")


@dataclass(frozen=True)
class Release:
    """2.12, or its successor, 4.1: it wants a login, installs engines, tells stages and bytes, and
    ends what is cancelled."""

    text: str

    @property
    def successor(self) -> bool:
        """Whether it is 3.0 or later."""
        return int(self.text.partition(".")[0]) >= 3

    def replica_uid(self, uid: str, replica: int) -> str:
        """The name of one replica."""
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
    error: str | None = None


@dataclass(eq=False)
class Model:
    """A launch, on its way or READY. What it is in the catalogue comes late.

    `status` and `replicas` (none until it has been scheduled) are what the book tells of it.
    """

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
        """How many were asked for."""
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
