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
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rehearsal import faults, inside
from rehearsal.doubles.xinference.catalogue import Entry, Spec

DEFAULT_RATE = 6e9
TICK_SECONDS = 0.04
SAVE_SECONDS = 0.2
ATTEMPT_SECONDS = 0.15
"""How long an attempt at a hub that does not answer takes; some twenty seconds in truth."""


class DownloadFailed(Exception):
    """All attempts failed; the text is Xinference's."""


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
        self, entry: Entry, spec: Spec, quantization: str, hub: str | None, download: Download
    ) -> None:
        """Bring the weights into the cache; what is there already is not brought again.

        Raises:
            DownloadFailed: no attempt succeeded, or it was cancelled.
        """
        place = self._place(entry, spec, quantization)
        download.done = min(_kept(place), download.total)
        if download.done == download.total:
            return
        host = _host(self._choose(hub, spec))
        fails = faults.take("xinference.download", entry.name)
        hangs = faults.take("xinference.hang", entry.name)
        for attempt in range(1, self._attempts + 1):
            if await self._attempt(place, host, download, fails, hangs):
                return
            if download.cancelled:
                break
            left = self._attempts - attempt
            print(f"Attempt {attempt} failed. Remaining attempts: {left}", file=sys.stderr)
        about = f" (size: {spec.size}, format: {spec.format})" if entry.type == "LLM" else ""
        raise DownloadFailed(
            f"Failed to download model '{entry.name}'{about} after multiple retries"
        )

    def _place(self, entry: Entry, spec: Spec, quantization: str) -> Path:
        parts = [entry.name, spec.format, f"{spec.size}b" if spec.size else "", quantization]
        return self._cache / ("-".join(part for part in parts if part) + ".json")

    def _choose(self, hub: str | None, spec: Spec) -> str:
        """The hub asked for, if the model is there, else another one that has it."""
        wanted = hub or os.environ.get("XINFERENCE_MODEL_SRC") or "huggingface"
        if wanted == "auto":
            answering = [name for name in spec.hubs if _resolves(_host(name))]
            wanted = answering[0] if answering else spec.hubs[0]
        return wanted if wanted in spec.hubs else spec.hubs[0]

    async def _attempt(
        self, place: Path, host: str, download: Download, fails: bool, hangs: bool
    ) -> bool:
        if not _resolves(host):
            await asyncio.sleep(ATTEMPT_SECONDS)
            return False
        self._running += 1
        try:
            return await self._transfer(place, download, fails, hangs)
        finally:
            self._running -= 1
            download.rate = 0.0
            _keep(place, download)

    async def _transfer(self, place: Path, download: Download, fails: bool, hangs: bool) -> bool:
        stop_at = download.done + (download.total - download.done) // 2
        last = saved = time.monotonic()
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
            if now - saved > SAVE_SECONDS:
                _keep(place, download)
                saved = now
        return True


def _host(hub: str) -> str:
    if hub == "modelscope":
        return os.environ.get("MODELSCOPE_DOMAIN") or "www.modelscope.cn"
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return urlsplit(endpoint).hostname or endpoint


def _resolves(host: str) -> bool:
    try:
        inside.resolve(host)
    except socket.gaierror:
        return False
    return True


def _kept(place: Path) -> int:
    return int(json.loads(place.read_text())["bytes"]) if place.exists() else 0


def _keep(place: Path, download: Download) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_suffix(".new")
    fresh.write_text(json.dumps({"bytes": download.done, "total": download.total}))
    fresh.replace(place)


# Stands for the index that pip asks where it was told of none.
DEFAULT_PACKAGE_INDEX = "default-package-index"


def package_index() -> str:
    """The host that engines are installed from: the environment's index, else pip's own."""
    index = os.environ.get("UV_INDEX_URL") or os.environ.get("PIP_INDEX_URL")
    return (urlsplit(index).hostname or "") if index else DEFAULT_PACKAGE_INDEX


def index_answers() -> bool:
    """Whether engines can be installed at all."""
    return _resolves(package_index())
