"""What is remembered of models: launches and routes (`Model`), and the book of instances."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from rehearsal.doubles.xinference import gpus, hub
from rehearsal.doubles.xinference.catalogue import Entry, Spec

Payload = dict[str, Any]

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
    """One copy of a model, and how its process is.

    `process`: "starting"; "up"; "dead", which nobody has noticed yet; "gone", which was noticed;
    "idle", started again in its place, which never answers (docs/facts/measured.md §2 finding 2).
    """

    index: int
    uid: str
    cards: list[gpus.Card] = field(default_factory=list)
    process: str = "starting"

    @property
    def known(self) -> bool:
        """Whether its worker can describe it."""
        return self.process in ("up", "dead", "idle")


@dataclass
class Row:
    """What the book of instances says of a replica."""

    replica: Replica
    address: str
    status: str = "CREATING"
    model_state: str = ""
    error: str | None = None
    created: int = field(default_factory=lambda: int(time.time()))


@dataclass
class Instance:
    """What the book keeps of a uid; it remembers what the routes have forgotten."""

    uid: str
    name: str
    replica: int
    status: str = "CREATING"
    abilities: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    created: int = field(default_factory=lambda: int(time.time()))


@dataclass
class Model:
    """One entry of the routes: launching, or READY."""

    uid: str
    payload: Payload
    instance: Instance
    replicas: list[Replica] = field(default_factory=list)
    entry: Entry | None = None
    spec: Spec | None = None
    quantization: str = "none"
    engine: str = ""
    stage: str = "launching"
    ready: bool = False
    recovering: bool = False
    cancelled: bool = False
    asked: int = 0
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
