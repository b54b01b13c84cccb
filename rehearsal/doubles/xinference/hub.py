"""Downloads: which hub answers, how fast bytes come, and the cache on the volume.

A hub answers when its host's name resolves in the container. `REHEARSAL_HUB_BYTES_PER_SECOND` is
the rate that all downloads share. Faults: `xinference.download` (key: model name) fails one
launch's download half-way; `xinference.hang` lets its bytes stand still until it is cancelled.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from provisioning.vendor import VendorSpec
from rehearsal import faults, inside

DEFAULT_RATE = 6e9
TICK_SECONDS = 0.04
ATTEMPT_SECONDS = 0.15
"""How long an attempt at a hub that does not answer takes; some twenty seconds in truth."""
DEFAULT_PACKAGE_INDEX = "default-package-index"
"""Stands for the index that pip asks where it was told of none."""


@dataclass
class Download:
    """One model's download, for its progress."""

    name: str
    total: int
    done: int = 0
    rate: float = 0.0
    cancelled: bool = False


class Hub:
    """The downloads of one Xinference."""

    def __init__(self, home: Path) -> None:
        self._cache = home / "cache" / "v2"
        self._rate = float(os.environ.get("REHEARSAL_HUB_BYTES_PER_SECOND", DEFAULT_RATE))
        self._attempts = int(os.environ.get("XINFERENCE_DOWNLOAD_MAX_ATTEMPTS", "3"))
        self._running = 0

    async def fetch(
        self, spec: VendorSpec, quantization: str, hub: str | None, download: Download
    ) -> bool:
        """Bring the weights into the cache, where an earlier attempt stopped.

        False when no attempt succeeded, or it was cancelled.
        """
        place = self._cache / f"{download.name}-{spec.format}-{spec.size}-{quantization}.json"
        kept = json.loads(place.read_text())["bytes"] if place.exists() else 0
        download.done = min(kept, download.total)
        if download.done == download.total:
            return True
        # The hub asked for, if the model is there, else another one that has it.
        wanted = hub or os.environ.get("XINFERENCE_MODEL_SRC") or "huggingface"
        host = _host(wanted if wanted in spec.hubs else spec.hubs[0])
        fails = faults.take("xinference.download", download.name)
        hangs = faults.take("xinference.hang", download.name)
        for _attempt in range(self._attempts):
            if not _resolves(host):
                await asyncio.sleep(ATTEMPT_SECONDS)
            elif await self._attempt(place, download, fails, hangs):
                return True
            if download.cancelled:
                break
        return False

    async def _attempt(self, place: Path, download: Download, fails: bool, hangs: bool) -> bool:
        self._running += 1
        try:
            return await self._transfer(download, fails, hangs)
        finally:
            self._running -= 1
            download.rate = 0.0
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps({"bytes": download.done, "total": download.total}))

    async def _transfer(self, download: Download, fails: bool, hangs: bool) -> bool:
        stop_at = download.done + (download.total - download.done) // 2
        last = time.monotonic()
        while download.done < download.total:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            if download.cancelled:
                return False
            if (fails or hangs) and download.done >= stop_at:
                if fails:
                    return False
                download.rate, last = 0.0, now
                continue
            download.rate = self._rate / self._running
            came = int((now - last) * download.rate)
            limit = stop_at if fails or hangs else download.total
            download.done, last = min(download.done + came, limit), now
        return True


def _host(hub: str) -> str:
    if hub == "modelscope":
        return "www.modelscope.cn"
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return urlsplit(endpoint).hostname or endpoint


def _resolves(host: str) -> bool:
    try:
        inside.resolve(host)
    except socket.gaierror:
        return False
    return True


def package_index() -> str:
    """The host that engines are installed from: the environment's index, else pip's own."""
    index = os.environ.get("UV_INDEX_URL") or os.environ.get("PIP_INDEX_URL")
    return (urlsplit(index).hostname or "") if index else DEFAULT_PACKAGE_INDEX


def index_answers() -> bool:
    """Whether engines can be installed at all."""
    return _resolves(package_index())
