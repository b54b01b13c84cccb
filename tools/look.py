"""What `make status` looks at: every look has a deadline, and none hides the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

from provisioning import remote, tunnel
from provisioning.clients.errors import ServiceError, Unreachable, shorten
from provisioning.clients.fastgpt import client_class
from provisioning.clients.fastgpt.rows import InitData
from provisioning.clients.oneapi import Channel, OneApiClient
from provisioning.clients.xinference import ModelState, XinferenceClient
from provisioning.ports import FASTGPT_PORT, ONEAPI_PORT, XINFERENCE_PORT
from provisioning.remote import Container
from tools.account import InCloud
from tools.standing import Lab, NoLab

T = TypeVar("T")

LOOK_SECONDS = 8.0
"""How long anything on the server, or the way to it, may take to answer."""

GPUS = (
    "! command -v nvidia-smi >/dev/null || "
    "nvidia-smi --query-gpu=name,memory.used,memory.total --format=csv,noheader,nounits"
)
"""Prints nothing where the server has no such command."""


@dataclass(frozen=True)
class Failed:
    """Nobody could look; `reason` is for the operator. `silent`: there was no answer at all."""

    reason: str
    silent: bool = False


@dataclass(frozen=True)
class GpuMemory:
    """Memory of one GPU in MiB."""

    name: str
    used: int
    total: int


@dataclass(frozen=True)
class Xinference:
    """What Xinference serves: its version, and how each of the lab's models stands."""

    version: str
    states: dict[str, ModelState]


Maybe: TypeAlias = "T | Failed | None"


@dataclass(frozen=True)
class Facts:
    """Everything that was found; None was not looked at, because what comes before it failed."""

    lab: Lab
    now: datetime
    server: Failed | None = None
    containers: Maybe[Sequence[Container]] = None
    gpus: Maybe[Sequence[GpuMemory]] = None
    xinference: Maybe[Xinference] = None
    channels: Maybe[Sequence[Channel]] = None
    fastgpt: Maybe[InitData] = None
    account: Maybe[InCloud] = None


@dataclass(frozen=True)
class Way:
    """How the server is reached.

    Attributes:
        url: from a port of the server to a base URL of this machine.
        containers: those of these names, as Docker shows them.
        run: what a command on the server prints.
        transport: replaces the network in tests.
    """

    url: Callable[[int], str]
    containers: Callable[[Sequence[str]], Sequence[Container]]
    run: Callable[[str], str]
    transport: httpx.BaseTransport | None = None


def way_to(lab: Lab) -> Way:
    """The way through the tunnel."""
    return Way(
        url=partial(tunnel.open_tunnel, lab.server),
        containers=partial(remote.containers, lab.server),
        run=partial(tunnel.run, lab.server),
    )


def gather(lab: Lab, way: Way, now: datetime, seconds: float = LOOK_SECONDS) -> Facts:
    """Look at everything, side by side once the server answers; takes twice `seconds` at most."""
    reached = Look(lambda: way.url(FASTGPT_PORT), seconds).result()
    if isinstance(reached, Failed):
        return Facts(lab, now, server=reached)
    options = {"retry_seconds": 0, "answer_seconds": seconds, "transport": way.transport}
    looks: dict[str, Callable[[], Any]] = {
        "containers": lambda: way.containers(list(lab.releases)),
        "gpus": lambda: gpus_of(way.run(GPUS)),
        "channels": lambda: _channels(lab, way, options),
        "fastgpt": lambda: _fastgpt(lab, way, options),
    }
    if lab.xinference_url:
        looks["xinference"] = lambda: _xinference(lab, way, options)
    begun = {name: Look(work, seconds) for name, work in looks.items()}
    return Facts(lab, now, **{name: look.result() for name, look in begun.items()})


def gpus_of(told: str) -> tuple[GpuMemory, ...] | Failed:
    """What `nvidia-smi` told."""
    rows = [line.rsplit(", ", 2) for line in told.splitlines() if line.strip()]
    try:
        return tuple(GpuMemory(name, int(used), int(total)) for name, used, total in rows)
    except ValueError:
        return Failed(shorten(f"nvidia-smi said: {told}"))


def _channels(lab: Lab, way: Way, options: dict[str, Any]) -> list[Channel]:
    url = way.url(ONEAPI_PORT)
    with OneApiClient(url, access_token=lab.access_token, **options) as client:
        return sorted(client.channels(), key=lambda channel: channel.name)


def _fastgpt(lab: Lab, way: Way, options: dict[str, Any]) -> InitData:
    made, password = client_class(lab.edition), lab.fastgpt_password
    with made(way.url(FASTGPT_PORT), password=password, **options) as client:
        return client.init_data()


def _xinference(lab: Lab, way: Way, options: dict[str, Any]) -> Xinference:
    url, key = way.url(XINFERENCE_PORT), lab.xinference_key
    with XinferenceClient(url, key, **options) as client:
        wanted = [model.name for model in lab.models if model.served_by == "xinference"]
        # Not by the list of models: one whose process died stands there as well.
        return Xinference(client.version(), {uid: client.state(uid) for uid in wanted})


class Look(Generic[T]):
    """A look that is under way, in a thread that nobody has to wait for."""

    def __init__(self, work: Callable[[], T], seconds: float) -> None:
        self._seconds = seconds
        self._found: T | Failed = Failed(f"no answer within {seconds:.0f} s", silent=True)
        self._thread = threading.Thread(target=self._look, args=(work,), daemon=True)
        self._thread.start()

    def result(self) -> T | Failed:
        """What was found, in time or not."""
        self._thread.join(self._seconds)
        return self._found

    def _look(self, work: Callable[[], T]) -> None:
        try:
            self._found = work()
        except NoLab as error:
            # What to do about it is told where no lab is found for the same reason.
            self._found = Failed(" ".join(str(error).splitlines()[:2]))
        except ServiceError as error:
            self._found = Failed(error.answer, silent=isinstance(error, Unreachable))
        except Exception as error:  # a look that breaks must not take the others with it
            self._found = Failed(shorten(f"{type(error).__name__} {error}".strip()))
