"""One container: a supervised local process with its address, files, ports, log and health."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rehearsal import images
from rehearsal.containers.health import Health
from rehearsal.containers.logs import Log, timestamp
from rehearsal.containers.processes import Lifeline, end_session, let_go, spawn
from rehearsal.containers.rooted import host_path, rooted, rooted_argument
from rehearsal.containers.spec import EngineError, Json, Spec
from rehearsal.containers.tree import Tree

_FIRST_BACKOFF = 0.1
_LONGEST_BACKOFF = 60.0
_LONG_ENOUGH = 10.0
_NEVER = "0001-01-01T00:00:00Z"
_ZERO_LOG_LINE = 256 * 1024


@dataclass(frozen=True)
class Place:
    """What a container gets from its engine.

    Attributes:
        folder: its own folder on the server.
        toolbox: the harmless tools, second on PATH.
        address: its own address.
        outside: emulated outside hosts, name to address.
        gpus: gives the GPUs it may use; asked at each start. Raises EngineError.
        server: the server's own address, for `host-gateway`.
    """

    folder: Path
    toolbox: Path
    address: str
    outside: dict[str, str]
    gpus: Callable[[], list[dict[str, Any]]]
    server: str
    lifeline: Lifeline
    pace: float = 1.0


@dataclass
class State:
    """As `docker inspect` shows it; times are Docker's text."""

    status: str = "created"
    exit_code: int = 0
    error: str = ""
    started_at: str = _NEVER
    finished_at: str = _NEVER
    pid: int = 0
    restart_count: int = 0
    stopped_by_hand: bool = False
    health: Health | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        """Whether it runs, or is about to run again."""
        return self.status in ("running", "restarting")


class Container:
    """A container of one engine. All methods run in the engine's event loop.

    `on_change` is awaited when it starts (True) or ends (False): the engine then connects its
    networks and ports.
    """

    def __init__(
        self,
        id: str,
        spec: Spec,
        image: images.Image,
        reference: images.Reference,
        place: Place,
        on_change: Callable[[Container, bool], Awaitable[None]],
    ) -> None:
        self.id, self.spec, self.image, self.reference = id, spec, image, reference
        self.place = place
        self.created = timestamp()
        self.state = State()
        self.gpus: list[dict[str, Any]] = []
        self.tree = Tree(place.folder / "root")
        self.log = Log(place.folder / f"{id}-json.log", spec.log_driver, spec.log_options)
        self._on_change = on_change
        self._supervisor: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._ended = asyncio.Event()
        self._extra: set[Process] = set()

    def lay_out(self) -> None:
        """Make its file tree."""
        self.place.folder.mkdir(parents=True, exist_ok=True)
        self.tree.lay_out(self.image, self.place.toolbox)
        self.write_hosts({})

    @property
    def hosts_file(self) -> Path:
        """Where the container's resolver looks names up."""
        return self.place.folder / "hosts.json"

    def write_hosts(self, names: dict[str, str]) -> None:
        """Let exactly `names` resolve, beside its own name, extra hosts and the outside world."""
        own = {self.hostname: self.place.address}
        known = {**self.place.outside, **names, **self._extra_hosts(), **own}
        fresh = self.hosts_file.with_suffix(".new")
        fresh.write_text(json.dumps(known))
        fresh.replace(self.hosts_file)

    def _extra_hosts(self) -> dict[str, str]:
        pairs = (entry.partition(":") for entry in self.spec.hosts)
        return {
            name: self.place.server if address == "host-gateway" else address
            for name, _, address in pairs
        }

    @property
    def hostname(self) -> str:
        """What `hostname` says inside."""
        return self.spec.hostname or self.id[:12]

    @property
    def command(self) -> list[str]:
        """Entrypoint and command together. A given entrypoint drops the image's command."""
        given = self.spec.entrypoint
        entrypoint = self.image.entrypoint if given is None else given
        fallback = self.image.command if given is None else ()
        return [*entrypoint, *(self.spec.command or fallback)]

    @property
    def working_dir(self) -> str:
        """The absolute path it starts in."""
        return self.spec.working_dir or self.image.working_dir

    def environment(self) -> dict[str, str]:
        """What Docker gives a process, and the rehearsal's own variables (docs/architecture.md)."""
        given = dict(entry.partition("=")[::2] for entry in self.spec.env if "=" in entry)
        docker = {"HOSTNAME": self.hostname, "HOME": "/root", **self.image.env, **given}
        path = os.pathsep.join([str(self.tree.programs), str(self.place.toolbox)])
        own = {
            "PATH": path,
            "TMPDIR": str(self.tree.root / "tmp"),
            "REHEARSAL_ADDRESS": self.place.address,
            "REHEARSAL_ROOT": str(self.tree.root),
            "REHEARSAL_HOSTS": str(self.hosts_file),
            "REHEARSAL_GPUS": json.dumps(self.gpus),
            "REHEARSAL_LIFELINE": str(self.place.lifeline.reader),
            "REHEARSAL_IMAGE_TAG": self.reference.tag,
            "REHEARSAL_PYTHON": sys.executable,
        }
        faults = os.environ.get("REHEARSAL_FAULTS")
        return {**docker, **own, **({"REHEARSAL_FAULTS": faults} if faults else {})}

    def resolved(self, command: Sequence[str]) -> list[str]:
        """`command` as it is run on this machine.

        Raises:
            EngineError: the container has no such program.
        """
        if not command:
            raise EngineError("no command specified", 400)
        program = self._program(command[0])
        name = program.name
        if name in ("sh", "bash"):
            return [str(program), *self._shell_arguments(command[1:])]
        own = program.parent == self.tree.programs and name not in ("chown", "chgrp")
        moved = command[1:] if own else [rooted_argument(a, self.tree.root) for a in command[1:]]
        return [str(program), *moved]

    def _shell_arguments(self, arguments: Sequence[str]) -> list[str]:
        root = self.tree.root
        takes_text = next(
            (i for i, a in enumerate(arguments) if a.startswith("-") and "c" in a), -1
        )
        return [
            rooted(a, root) if index == takes_text + 1 or a.startswith("/") else a
            for index, a in enumerate(arguments)
        ]

    def _program(self, name: str) -> Path:
        inside = host_path(self.tree.root, name)
        if name.startswith("/") and inside.is_file():
            return inside
        bare = name.rpartition("/")[2]
        for folder in (self.tree.programs, self.place.toolbox):
            if (folder / bare).exists() and not _is_other_shell(bare, self.image):
                return folder / bare
        where = "stat" if "/" in name else "exec"
        why = "no such file or directory" if "/" in name else "executable file not found in $PATH"
        raise EngineError(
            "failed to create task for container: failed to create shim task: OCI runtime create "
            "failed: runc create failed: unable to start container process: error during container "
            f'init: {where}: "{name}": {where} {name}: {why}: unknown'
            if "/" in name
            else "failed to create task for container: failed to create shim task: OCI runtime "
            "create failed: runc create failed: unable to start container process: error during "
            f'container init: exec: "{name}": {why}: unknown',
            400,
        )

    async def start(self) -> None:
        """Start it; a running one is left alone.

        Raises:
            EngineError: no such program, or a port is taken. It stays, with that error.
        """
        if self.state.running:
            return
        self._ended.clear()
        self.state = replace(self.state, restart_count=0, stopped_by_hand=False, error="")
        try:
            await self._launch()
        except EngineError as error:
            self.state.error, self.state.exit_code = str(error), 127
            raise
        self._supervisor = asyncio.create_task(self._supervise())

    async def _launch(self) -> None:
        self.gpus = self.place.gpus() if self.spec.gpus else []
        if self.gpus:
            self.tree.add_nvidia_smi()
        command = self.resolved(self.command)
        await self._on_change(self, True)
        try:
            self._process = await self._spawn(command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        except OSError as error:
            await self._on_change(self, False)
            raise EngineError(f"OCI runtime create failed: {error}") from error
        self.state.status, self.state.pid = "running", self._process.pid
        self.state.started_at, self.state.error = timestamp(), ""
        if self.spec.health and not self.spec.health.off:
            self.state.health = Health(self.spec.health, self._probe, self.place.pace)

    async def _spawn(self, command: list[str], **streams: Json) -> Process:
        cwd = host_path(self.tree.root, self.working_dir)
        cwd.mkdir(parents=True, exist_ok=True)
        return await spawn(command, self.place.lifeline, env=self.environment(), cwd=cwd, **streams)

    async def _supervise(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            began = time.monotonic()
            code = await self._follow()
            if not self._comes_back(code):
                break
            backoff = _FIRST_BACKOFF if time.monotonic() - began > _LONG_ENOUGH else backoff
            self.state.status = "restarting"
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF)
            self.state.restart_count += 1
            try:
                await self._launch()
            except EngineError as error:
                self.state.error = str(error)
                break
        self.state.status = "exited"
        self._ended.set()

    async def _follow(self) -> int:
        """Wait for the process that runs now; its exit code."""
        process = self._process
        assert process is not None
        tasks = [
            asyncio.create_task(self._copy(process.stdout, "stdout")),
            asyncio.create_task(self._copy(process.stderr, "stderr")),
        ]
        monitor = self.state.health and asyncio.create_task(self.state.health.monitor())
        code = await process.wait()
        if monitor:
            monitor.cancel()
        # The first process of a container takes all others with it.
        end_session(process)
        self._end_extra()
        await asyncio.wait(tasks, timeout=2)
        for task in tasks:
            task.cancel()
        let_go(process)
        code = 128 - code if code < 0 else code
        self.state.exit_code, self.state.pid = code, 0
        self.state.finished_at = timestamp()
        await self._on_change(self, False)
        return code

    async def _copy(self, stream: asyncio.StreamReader | None, name: str) -> None:
        assert stream is not None
        pending = b""
        while chunk := await stream.read(65536):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                self.log.write(name, line.decode(errors="replace") + "\n")
            if len(pending) > _ZERO_LOG_LINE:
                self.log.write(name, pending.decode(errors="replace"))
                pending = b""
        if pending:
            self.log.write(name, pending.decode(errors="replace"))

    def _comes_back(self, code: int) -> bool:
        policy = self.spec.restart
        if self.state.stopped_by_hand:
            return False
        if policy.name == "on-failure":
            left = not policy.maximum or self.state.restart_count < policy.maximum
            return code != 0 and left
        return policy.name in ("always", "unless-stopped")

    def comes_back_with_engine(self) -> bool:
        """Whether a starting engine starts it: it was alive, or its policy is `always`."""
        if self.spec.restart.name == "always":
            return self.state.status != "created"
        alive = self.spec.restart.name == "unless-stopped" and not self.state.stopped_by_hand
        failed = self.spec.restart.name == "on-failure" and self.state.exit_code != 0
        return (alive or (failed and not self.state.stopped_by_hand)) and (
            self.state.status != "created"
        )

    async def stop(self, timeout: float | None = None, by_hand: bool = True) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds (its own by default)."""
        if not self.state.running:
            return
        self.state.stopped_by_hand = True
        limit = self.spec.stop_timeout if timeout is None else timeout
        if self.state.status == "restarting" and self._supervisor:
            self._supervisor.cancel()
            self.state.status = "exited"
            self._ended.set()
        elif self._process:
            await self._signal_and_wait(limit)
        # Who only lost its engine comes back with it.
        self.state.stopped_by_hand = by_hand

    async def _signal_and_wait(self, limit: float) -> None:
        assert self._process is not None
        number = getattr(signal, self.spec.stop_signal or "SIGTERM", signal.SIGTERM)
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            await asyncio.wait_for(self._ended.wait(), limit)
        except asyncio.TimeoutError:
            end_session(self._process)
            await self._ended.wait()

    async def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        await self.stop(timeout=0)

    async def wait(self) -> int:
        """Its exit code once it has ended for good."""
        if self.state.running:
            await self._ended.wait()
        return self.state.exit_code

    async def execute(
        self, command: Sequence[str], env: dict[str, str], **streams: Json
    ) -> Process:
        """A further process inside (`docker exec`).

        Raises:
            EngineError: it does not run, or has no such program.
        """
        if self.state.status != "running":
            word = "restarting, wait until the container is running" if self.state.running else ""
            raise EngineError(f"container {self.id} is {word or 'not running'}", 409)
        cwd = host_path(self.tree.root, self.working_dir)
        process = await spawn(
            self.resolved(command),
            self.place.lifeline,
            env={**self.environment(), **env},
            cwd=cwd,
            **streams,
        )
        self._extra.add(process)
        return process

    def leave(self, process: Process) -> None:
        """Forget a process that `execute` started, and end what is left of it."""
        end_session(process)
        let_go(process)
        self._extra.discard(process)

    def _end_extra(self) -> None:
        for process in self._extra:
            end_session(process)

    async def _probe(self, limit: float) -> tuple[int, str]:
        assert self.spec.health is not None
        kind, *test = self.spec.health.test
        command = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        try:
            process = await self.execute(command, {}, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
        except EngineError as error:
            return -1, f"OCI runtime exec failed: {error}"
        try:
            output, _ = await asyncio.wait_for(process.communicate(), limit)
        finally:
            self.leave(process)
        return process.returncode or 0, output.decode(errors="replace")


def _is_other_shell(name: str, image: images.Image) -> bool:
    return name in ("sh", "bash") and name not in image.shells
