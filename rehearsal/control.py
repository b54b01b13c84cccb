"""Talking to a rehearsal's world: starting it, asking it, ending it.

The world listens on loopback. Its address and the token that each request carries are in
`world.json` in its folder, readable by the owner only. A request and its answer are one line of
JSON each: `{"token", "command", "arguments"}` and `{"result"}` or `{"error"}`.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rehearsal.children import PROJECT, is_alive

WORLD_FILE = "world.json"
START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_CALL_SECONDS = 60.0


class WorldError(Exception):
    """The world could not be started, or said no; the text is for the user."""


@dataclass(frozen=True)
class World:
    """A running world, as seen from another process.

    Attributes:
        folder: its folder.
        pid: its process.
        providers: package name to port, for `PULUMI_DEBUG_PROVIDERS`.
        region_port: where the cloud's API listens, on 127.0.0.1.
        prefix: `127.A.`, with which all its addresses begin.
        ssh_port: where its servers' sshd listen.
        operator: the public address that the operator appears to have.
    """

    folder: Path
    pid: int
    providers: dict[str, int]
    region_port: int
    prefix: str
    ssh_port: int
    operator: str
    control_port: int
    token: str = field(repr=False)

    @property
    def debug_providers(self) -> str:
        """The value of `PULUMI_DEBUG_PROVIDERS`."""
        return ",".join(f"{name}:{port}" for name, port in sorted(self.providers.items()))

    def call(self, command: str, **arguments: Any) -> Any:  # noqa: ANN401
        """Carry out a command of `rehearsal.commands.Commands`.

        Raises:
            WorldError: the world is gone, or refused.
        """
        request = {"token": self.token, "command": command, "arguments": arguments}
        try:
            with socket.create_connection(
                ("127.0.0.1", self.control_port), timeout=_CALL_SECONDS
            ) as line:
                line.sendall(json.dumps(request).encode() + b"\n")
                answer = json.loads(line.makefile("rb").readline() or b"{}")
        except (OSError, ValueError) as error:
            raise WorldError(
                f"the rehearsal's world does not answer {command!r}: {error}"
            ) from error
        if "error" in answer:
            raise WorldError(str(answer["error"]))
        return answer.get("result")

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
    """The world whose folder this is, or None if none runs there."""
    try:
        found = json.loads((folder / WORLD_FILE).read_text())
    except (OSError, ValueError):
        return None
    world = World(**{**found, "folder": folder})
    return world if is_alive(world.pid) else None


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
            [sys.executable, "-m", "rehearsal.world", "--dir", str(folder), *options],
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
