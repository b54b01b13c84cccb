"""Talking to a rehearsal's world: starting it, asking it, ending it.

The world listens on loopback for XML-RPC: `command(token, {argument: value})`. Its port and the
token are in `world.json` in its folder, readable by the owner only.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy, Transport

from rehearsal.processes import PROJECT, command_of, is_alive

WORLD_FILE = "world.json"
_MODULE = "rehearsal.world"
START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_CALL_SECONDS = 60.0


class WorldError(Exception):
    """The world could not be started, or said no; the text is for the user."""


class _WithTimeout(Transport):
    def make_connection(self, host: Any) -> HTTPConnection:  # noqa: ANN401 - as it comes
        connection = super().make_connection(host)
        connection.timeout = _CALL_SECONDS
        return connection


@dataclass(frozen=True)
class World:
    """A running world, as seen from another process. `folder`: its folder; `pid`: its process;
    `providers`: package name to port, for `PULUMI_DEBUG_PROVIDERS`; `region_port`: where the
    cloud's API listens, on 127.0.0.1; `prefix`: `127.A.`, with which all its addresses begin;
    `ssh_port`: where its servers' sshd listen."""

    folder: Path
    pid: int
    providers: dict[str, int]
    region_port: int
    prefix: str
    ssh_port: int
    control_port: int
    token: str = field(repr=False)

    @property
    def debug_providers(self) -> str:
        """The value of `PULUMI_DEBUG_PROVIDERS`."""
        return ",".join(f"{name}:{port}" for name, port in sorted(self.providers.items()))

    def call(self, command: str, **arguments: Any) -> Any:  # noqa: ANN401
        """Carry out a command of `rehearsal.world.Commands`. Raises WorldError: the world is gone,
        or refused."""
        place = f"http://127.0.0.1:{self.control_port}"
        try:
            with ServerProxy(place, _WithTimeout(), allow_none=True) as world:
                return getattr(world, command)(self.token, arguments)
        except Fault as refused:
            raise WorldError(refused.faultString) from refused
        except (OSError, HTTPException) as error:
            wrong = self.dead or f"the rehearsal's world does not answer {command!r}: {error}"
            raise WorldError(wrong) from error

    @property
    def dead(self) -> str:
        """What to say of it where its process has ended; "" while it runs."""
        if is_alive(self.pid):
            return ""
        return (
            f"the rehearsal's world has ended ({_last_words(self.folder / 'world.log')}), and with "
            "it cloud and server; `make rehearse` begins a new one"
        )

    @property
    def rehearses(self) -> bool:
        """Whether the rehearsal that started it still runs: one that was kept has lost its parent,
        whose process's id ends the name of its folder."""
        with contextlib.suppress(OSError):
            parent = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[1]
            return self.folder.parent.name.endswith(f"-{parent}")
        return False

    def stop(self) -> None:
        """End it and everything it started; one that has ended already is no error."""
        with contextlib.suppress(WorldError):
            self.call("stop")
        deadline = time.monotonic() + _STOP_SECONDS
        while is_alive(self.pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        if is_alive(self.pid):
            os.kill(self.pid, signal.SIGKILL)


def read_world(folder: Path) -> World | None:
    """The world whose folder this is, or None if none runs there: what another release of this
    project left, or one whose process's id is another's today, is none."""
    try:
        found = json.loads((folder / WORLD_FILE).read_text())
        world = World(**{**found, "folder": folder})
    except (OSError, ValueError, TypeError):
        return None
    alive = is_alive(world.pid) and _MODULE in command_of(world.pid)
    return world if alive else None


def worlds_in(base: Path) -> list[World]:
    """Those that run under `base`, the folder of all rehearsals."""
    found = (read_world(place) for place in sorted(base.glob("*/world")))
    return [world for world in found if world]


@dataclass
class StartedWorld:
    """A world that this process started; it ends with this process unless told to stay."""

    world: World
    process: subprocess.Popen[bytes]

    def stay(self) -> None:
        """Let it outlive this process."""
        self.world.call("stay")

    def stop(self) -> None:
        """End it, and wait for that."""
        self.world.stop()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_world(
    folder: Path, options: Sequence[str] = (), seconds: float = START_SECONDS
) -> StartedWorld:
    """Start a world in `folder` (made if missing) with these options of `rehearsal.world`.

    It has so many `seconds` to be ready.

    Raises:
        WorldError: it did not come up; its own words are in the text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "world.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, "--dir", str(folder), *options],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            # The terminal's Ctrl-C is for the one who started us; he ends the world in order.
            start_new_session=True,
        )
    _wait_for_first_line(process, log, seconds)
    world = read_world(folder)
    if world is None:
        raise WorldError(f"the world ended at once: {_last_words(log)}")
    return StartedWorld(world, process)


def _wait_for_first_line(process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    if not ready:
        process.kill()
        process.wait()
        raise WorldError(f"the world was not ready after {seconds:.0f} s; see {log}")
    if not process.stdout.readline():
        process.wait()
        raise WorldError(f"the world did not start: {_last_words(log)}")


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"no reason in {log}"
