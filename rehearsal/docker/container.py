"""One container of the stage: a local process, or a record alone where its image has no program."""

import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from rehearsal import images
from rehearsal.docker.engine import EngineError, Json
from rehearsal.guard import end_session
from rehearsal.processes import Lifeline, spawn
from rehearsal.server.description import Description

_PROJECT = Path(__file__).resolve().parents[2]
DATA = "var/lib/rehearsal"
"""On a server: where services keep what a real one keeps in a database beside it."""
_FOLDERS = ("bin", "dev/shm", "etc", "root", "tmp", "run", "var/lib", "var/log")
_FIRST_BACKOFF, _LONGEST_BACKOFF, _LONG_ENOUGH = 0.1, 60.0, 10.0


@dataclass
class Container:
    """A container; all methods run in the server's event loop. `config`: the body it was created
    with; `folder`: its own, on the server's disk; `address`: its own, beside the server's;
    `networks`: name to the aliases it has there;
    `logged_before`: bytes of its log that are of earlier starts."""

    id: str
    name: str
    config: Json
    image: images.Image
    reference: images.Reference
    server: Description
    lifeline: Lifeline
    folder: Path
    address: str
    networks: dict[str, list[str]]
    status: str = "created"
    exit_code: int = 0
    stopped_by_hand: bool = False
    was_healthy: bool = False
    started_at: str = ""
    logged_before: int = 0
    _process: Process | None = field(default=None, repr=False)
    _supervisor: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        """Whether it runs, or is about to run again."""
        return self.status in ("running", "restarting")

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def comes_back(self) -> bool:
        """Whether Docker starts it again by itself."""
        policy = self.config["HostConfig"]["RestartPolicy"]["Name"]
        return policy == "unless-stopped" and not self.stopped_by_hand

    def lay_out(self, binds: dict[str, Path]) -> None:
        """Make its tree, with `binds` (path inside to folder on the server) in it."""
        for folder in (*_FOLDERS, self.image.working_dir.lstrip("/")):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        for name, program in self.image.programs.items():
            words = shlex.join([sys.executable, "-m", *program])
            script = self.root / "bin" / name
            script.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            script.chmod(0o755)
        for inside, source in binds.items():
            source.mkdir(parents=True, exist_ok=True)
            place = self.root / inside.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
            place.symlink_to(source)

    def write_hosts(self, names: dict[str, str]) -> None:
        """Let exactly `names` resolve inside, beside its own name and the outside world."""
        known = {**self.server.outside, **names, self.id[:12]: self.address}
        place = self.folder / "hosts.json"
        fresh = place.with_suffix(".new")
        fresh.write_text(json.dumps(known))
        fresh.replace(place)

    def environment(self) -> dict[str, str]:
        """What Docker gives a process, and the rehearsal's own variables (docs/architecture.md)."""
        given = dict(entry.partition("=")[::2] for entry in self.config["Env"])
        gpus = self.server.gpus if self.config["HostConfig"]["DeviceRequests"] else []
        own = {
            "PATH": os.pathsep.join([str(self.root / "bin"), "/usr/bin", "/bin"]),
            "PYTHONPATH": str(_PROJECT),
            "TMPDIR": str(self.root / "tmp"),
            "REHEARSAL_ADDRESS": self.address,
            "REHEARSAL_ROOT": str(self.root),
            "REHEARSAL_MEMORY": str(Path(self.server.root, DATA, f"{self.image.name}.db")),
            "REHEARSAL_HOSTS": str(self.folder / "hosts.json"),
            "REHEARSAL_GPUS": json.dumps(gpus),
            "REHEARSAL_LIFELINE": str(self.lifeline.reader),
            "REHEARSAL_IMAGE_TAG": self.reference.tag,
        }
        if "REHEARSAL_FAULTS" in os.environ:
            own["REHEARSAL_FAULTS"] = os.environ["REHEARSAL_FAULTS"]
        return {"HOSTNAME": self.id[:12], "HOME": "/root", **self.image.env, **given, **own}

    async def start(self) -> None:
        """Start it; EngineError where the image has no such program."""
        self.stopped_by_hand = False
        await self._launch()
        if self._process is not None:
            self._supervisor = asyncio.create_task(self._supervise())

    async def _launch(self) -> None:
        self.was_healthy = False
        self.started_at = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S.%f}000Z"
        if self.image.programs:
            command = [*self.image.entrypoint, *(self.config["Cmd"] or self.image.command)]
            program, *arguments = command
            name = program.rpartition("/")[2]
            if name not in self.image.programs and name not in ("sh", "bash"):
                raise EngineError(f'exec: "{program}": executable file not found in $PATH', 400)
            with (self.folder / "log").open("ab") as log:
                self.logged_before = log.tell()
                self._process = await spawn(
                    [name, *arguments],
                    self.lifeline,
                    env=self.environment(),
                    cwd=self.root / self.image.working_dir.strip("/"),
                    stdin=DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        self.status = "running"

    async def _supervise(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            assert self._process is not None
            began = time.monotonic()
            code = await self._process.wait()
            # The first process of a container takes all others with it.
            end_session(self._process.pid)
            self.exit_code = 128 - code if code < 0 else code
            if not self.comes_back:
                break
            backoff = _FIRST_BACKOFF if time.monotonic() - began > _LONG_ENOUGH else backoff
            self.status = "restarting"
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF)
            await self._launch()
        self.status = "exited"

    async def stop(self, seconds: float, by_hand: bool = True) -> None:
        """SIGTERM, then SIGKILL after `seconds`; who only lost his server comes back with it."""
        if not self.running:
            return
        self.stopped_by_hand = True
        if self.status == "restarting" and self._supervisor:
            self._supervisor.cancel()
        elif self._process and self._supervisor:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            done, _ = await asyncio.wait([self._supervisor], timeout=seconds)
            if not done:
                end_session(self._process.pid)
                await self._supervisor
        self.status = "exited"
        self.stopped_by_hand = by_hand

    async def health(self) -> str:
        """Docker's word for it. The check itself is run on a real server only: here, a service that
        listens is healthy."""
        if self.status != "running" or not await self._listens():
            return "unhealthy" if self.was_healthy else "starting"
        self.was_healthy = True
        return "healthy"

    async def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            if self.image.port:
                _, writer = await asyncio.open_connection(self.address, self.image.port)
                writer.close()
            return True
        return False

    async def inspect(self) -> Json:
        """As `docker inspect` shows it, in what the provider, the scripts and tests look at."""
        given = {entry.partition("=")[0] for entry in self.config["Env"]}
        inherited = [f"{k}={v}" for k, v in self.image.env.items() if k not in given]
        host = self.config["HostConfig"]
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "State": {
                "Status": self.status,
                "Running": self.running,
                "ExitCode": self.exit_code,
                "StartedAt": self.started_at,
                "Health": {"Status": await self.health()},
            },
            "Config": {"Env": [*self.config["Env"], *inherited]},
            "HostConfig": host,
            "NetworkSettings": {"Ports": host["PortBindings"] if self.running else {}},
        }

    async def row(self) -> Json:
        """As `docker ps` shows it."""
        status = self.status.capitalize()
        if self.status in ("exited", "restarting"):
            status += f" ({self.exit_code})"
        elif self.status == "running":
            health = await self.health()
            status = f"Up ({'health: starting' if health == 'starting' else health})"
        return {"ID": self.id[:12], "Names": self.name, "State": self.status, "Status": status}
