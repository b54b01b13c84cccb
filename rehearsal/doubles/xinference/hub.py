"""Downloads: which hub answers, how fast bytes come, and the cache on the volume.

A hub answers when its host's name resolves in the container. `REHEARSAL_HUB_BYTES_PER_SECOND` is
the rate of a download. Faults: `xinference.download` (key: model name) fails one launch's download
half-way; `xinference.hang` lets its bytes stand still until it is cancelled.
"""

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
UNREACHED_SECONDS = 0.4
"""How long it takes to give up a hub that does not answer; a minute in truth."""
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


async def fetch(
    home: Path, spec: VendorSpec, quantization: str, hub: str | None, download: Download
) -> bool:
    """Bring the weights into the cache, where an earlier attempt stopped; whether they came."""
    place = home / "cache/v2" / f"{download.name}-{spec.format}-{spec.size}-{quantization}.json"
    kept = json.loads(place.read_text())["bytes"] if place.exists() else 0
    download.done = min(kept, download.total)
    # The hub asked for, if the model is there, else another one that has it.
    wanted = hub or os.environ.get("XINFERENCE_MODEL_SRC") or "huggingface"
    if download.done < download.total and not _resolves(
        _host(wanted if wanted in spec.hubs else spec.hubs[0])
    ):
        await asyncio.sleep(UNREACHED_SECONDS)
        return False
    await _transfer(download)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"bytes": download.done}))
    return download.done == download.total


async def _transfer(download: Download) -> None:
    if download.done == download.total:
        return
    fails = faults.take("xinference.download", download.name)
    hangs = faults.take("xinference.hang", download.name)
    half = download.done + (download.total - download.done) // 2
    limit = half if fails or hangs else download.total
    rate = float(os.environ.get("REHEARSAL_HUB_BYTES_PER_SECOND", DEFAULT_RATE))
    last = time.monotonic()
    while not download.cancelled and (download.done < limit or hangs):
        await asyncio.sleep(TICK_SECONDS)
        now = time.monotonic()
        download.rate = rate if download.done < limit else 0.0
        download.done, last = min(download.done + int((now - last) * rate), limit), now


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
