"""The world of a rehearsal: one process with the cloud, its servers, and the attached providers.

    python -m rehearsal.world --dir FOLDER [--operator 198.18.0.5] [--page example.com]

It prints one line of JSON when it is ready, takes commands by `rehearsal.control`, and ends when
its standard input does, unless it was told to stay. Nothing that it started outlives it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rehearsal.addresses import SSH_PORT, Block, NoAddresses, claim_block
from rehearsal.children import PROJECT, adopt_orphans, descendants
from rehearsal.cloud import ACCESS_KEY, Cloud, Endpoint, serve_region
from rehearsal.cloud.certificate import write_certificate
from rehearsal.cloud.ram import Ram, policy_in
from rehearsal.cloud.refusals import Refusal
from rehearsal.commands import Commands
from rehearsal.control import WORLD_FILE
from rehearsal.data_centre import EmptyMachine, MachineFactory, Servers
from rehearsal.outside_world import OutsideWorld
from rehearsal.providers.alicloud import AlicloudPackage
from rehearsal.providers.base import Package
from rehearsal.providers.serving import Call, Served, serve

if TYPE_CHECKING:
    from rehearsal.providers.docker import Connect
    from rehearsal.real_server.site import Site

FAULTS_FILE = "faults.json"
CALLS_FILE = "calls.jsonl"
_END_SECONDS = 8.0


class World:
    """Everything emulated, together. `close` ends it all."""

    def __init__(
        self,
        folder: Path,
        operator: str,
        empty_servers: bool = False,
        pages: Sequence[str] = (),
        real: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            empty_servers: the servers are rented and billed, but nothing runs on them.
            pages: hosts that have web pages.
            real: service to its image, where the servers are real ones (`rehearsal.real_server`).
        """
        self.folder = folder
        self.block: Block = claim_block()
        self.faults = folder / FAULTS_FILE
        self.faults.write_text("{}")
        os.environ["REHEARSAL_FAULTS"] = str(self.faults)
        self.outside = (
            None if empty_servers else OutsideWorld(self.block.outside, folder, self.faults, pages)
        )
        self.site = _site(real) if real else None
        self.servers = Servers(
            folder / "servers",
            self.block,
            self.site.machine if self.site else _factory(empty_servers),
            operator,
            SSH_PORT,
            self.outside.hosts if self.outside else lambda region: {},
        )
        self.cloud = Cloud(
            self.servers, operator, Ram(policy_in((PROJECT / "README.md").read_text()))
        )
        self.region = serve_region(self.cloud, write_certificate(folder / "region.pem"))
        self.servers.admits = self.cloud.admits
        self._calls = (folder / CALLS_FILE).open("a", buffering=1)
        self._calls_lock = threading.Lock()
        self.providers: dict[str, Served] = {
            package.name: serve(package, self._note)
            for package in _packages(self.region, empty_servers, real=bool(real))
        }
        if self.outside:
            self.outside.wait()

    def close(self) -> None:
        """End servers, containers and providers."""
        self.cloud.close()
        self.region.stop()
        for provider in self.providers.values():
            provider.stop()
        self.servers.close()
        if self.site:
            self.site.close()
        if self.outside:
            self.outside.close()
        self.block.release()

    def _note(self, call: Call) -> None:
        with self._calls_lock:
            self._calls.write(json.dumps(asdict(call)) + "\n")


def main() -> int:
    """Run a world until it is told to end; the exit code."""
    arguments = _arguments()
    adopt_orphans()
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: end.set())
    try:
        arguments.dir.mkdir(parents=True, exist_ok=True)
        world = World(
            arguments.dir.resolve(),
            arguments.operator,
            arguments.empty_servers,
            arguments.page,
            dict(each.split("=", 1) for each in arguments.real_server),
        )
    except (NoAddresses, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2
    commands = Commands(world, end)
    with _listen(commands) as listener:
        description = _describe(world, arguments.operator, listener)
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        threading.Thread(target=_follow_parent, args=(commands, end), daemon=True).start()
        print(json.dumps({"ready": True, "providers": description["providers"]}), flush=True)
        end.wait()
        _close(world)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rehearsal.world", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="folder for everything it keeps")
    parser.add_argument("--operator", default="198.18.0.5", help="the operator's public address")
    parser.add_argument(
        "--empty-servers", action="store_true", help="rent servers, but run nothing on them"
    )
    parser.add_argument(
        "--page", action="append", default=[], help="a host outside that has web pages; repeatable"
    )
    parser.add_argument(
        "--real-server",
        action="append",
        default=[],
        help="SERVICE=IMAGE that the lab pulls; servers are real ones then; repeatable",
    )
    return parser.parse_args()


def _packages(region: Endpoint, empty_servers: bool, real: bool) -> list[Package]:
    packages: list[Package] = [AlicloudPackage(region.address, ACCESS_KEY)]
    if not empty_servers:
        from rehearsal.providers.command import CommandPackage
        from rehearsal.providers.docker import DockerPackage

        packages += [DockerPackage(_engine(real)), CommandPackage()]
    return packages


def _engine(real: bool) -> Connect:
    if real:
        from rehearsal.real_server.over_ssh import OverSsh

        return OverSsh
    from rehearsal.docker.over_ssh import stage_engine

    return stage_engine


def _site(references: Mapping[str, str]) -> Site:
    # Its packages are the tests' own, and no stage needs them.
    from rehearsal.real_server.site import Site

    return Site(references, lambda line: print(line, file=sys.stderr, flush=True))


def _factory(empty_servers: bool) -> MachineFactory:
    if empty_servers:
        return EmptyMachine
    from rehearsal.server.process import ServerProcess

    return ServerProcess


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    token: str
    commands: Commands


class _Request(socketserver.StreamRequestHandler):
    """One request per connection."""

    def handle(self) -> None:
        listener = self.server
        assert isinstance(listener, _Listener)
        answer = _answer(listener, self.rfile.readline())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(json.dumps(answer).encode() + b"\n")


def _answer(listener: _Listener, line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        if not secrets.compare_digest(str(request.get("token")), listener.token):
            return {"error": "wrong token"}
        name = str(request["command"])
        method: Callable[..., Any] | None = getattr(listener.commands, name, None)
        if name.startswith("_") or not callable(method):
            return {"error": f"the world has no command {name!r}"}
        return {"result": method(**request.get("arguments", {}))}
    except (Refusal, ValueError, TypeError, KeyError, OSError) as problem:
        return {"error": f"{type(problem).__name__}: {problem}"}


def _listen(commands: Commands) -> _Listener:
    listener = _Listener(("127.0.0.1", 0), _Request)
    listener.token = secrets.token_urlsafe(24)
    listener.commands = commands
    return listener


def _describe(world: World, operator: str, listener: _Listener) -> dict[str, Any]:
    """Write what others need to reach the world; complete or not at all."""
    description = {
        "pid": os.getpid(),
        "providers": {name: served.port for name, served in world.providers.items()},
        "region_port": world.region.server_port,
        "prefix": world.block.prefix,
        "ssh_port": SSH_PORT,
        "operator": operator,
        "control_port": listener.server_address[1],
        "token": listener.token,
    }
    place = world.folder / WORLD_FILE
    beside = place.with_suffix(".new")
    beside.touch(mode=0o600)
    beside.write_text(json.dumps(description))
    beside.replace(place)
    return description


def _follow_parent(commands: Commands, end: threading.Event) -> None:
    # Not by sys.stdin: its lock would be held while the interpreter ends.
    while os.read(0, 1):
        pass
    if not commands.stays:
        end.set()


def _close(world: World) -> None:
    """End in order, but end: a server that hangs is killed with us."""
    closing = threading.Thread(target=world.close, daemon=True)
    closing.start()
    closing.join(_END_SECONDS)
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    (world.folder / WORLD_FILE).unlink(missing_ok=True)
    sys.stdout.flush()
    if closing.is_alive():
        os._exit(3)


if __name__ == "__main__":
    sys.exit(main())
