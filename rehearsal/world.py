"""The world of a rehearsal: one process with the cloud, its servers, and the attached providers.

    python -m rehearsal.world --dir FOLDER [--page example.com]

It prints one line of JSON when it is ready, takes commands by `rehearsal.control`, and ends when
its standard input does, unless it was told to stay. Nothing that it started outlives it.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import socketserver
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xmlrpc.client import Fault
from xmlrpc.server import SimpleXMLRPCServer

from rehearsal import faults
from rehearsal.addresses import SSH_PORT, Block, NoAddresses, claim_block
from rehearsal.cloud import ACCESS_KEY, Cloud, Instance, Line, market, serve_region
from rehearsal.cloud.certificate import write_certificate
from rehearsal.cloud.ram import README_REGION, Ram, policy_in
from rehearsal.cloud.refusals import Refusal
from rehearsal.control import WORLD_FILE
from rehearsal.data_centre import Servers
from rehearsal.outside_world import OutsideWorld
from rehearsal.processes import PROJECT, adopt_orphans, command_of, descendants
from rehearsal.providers.alicloud import AlicloudPackage
from rehearsal.providers.command import CommandPackage
from rehearsal.providers.docker import DockerPackage
from rehearsal.providers.serving import Served, serve
from rehearsal.server.process import ServerProcess

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
        pages: Sequence[str] = (),
        real: Sequence[str] = (),
        region: str = README_REGION,
    ) -> None:
        """`pages`: hosts that have web pages; `real`: `service=image` each, where the servers are
        real ones (`rehearsal.real_server`); `region`: where the README's RAM policy lets labs be.
        """
        self.folder = folder
        self.block: Block = claim_block()
        self.faults = folder / FAULTS_FILE
        self.faults.write_text("{}")
        os.environ["REHEARSAL_FAULTS"] = str(self.faults)
        # As from the engine: the providers would dial the operator's agent.
        os.environ.pop("SSH_AUTH_SOCK", None)
        self.outside = OutsideWorld(self.block.outside, folder, self.faults, pages)
        self.site = _site(real) if real else None
        machine = self.site.machine if self.site else ServerProcess
        self.servers = Servers(folder / "servers", self.block, machine, self.outside.hosts)
        readme = (PROJECT / "README.md").read_text()
        self.cloud = Cloud(self.servers, Ram(policy_in(readme, region)))
        self.region = serve_region(self.cloud, write_certificate(folder / "region.pem"))
        self.servers.admits = self.cloud.admits
        self._calls = (folder / CALLS_FILE).open("a", buffering=1)
        self._calls_lock = threading.Lock()
        alicloud = AlicloudPackage(self.region.address, ACCESS_KEY)
        packages = (alicloud, DockerPackage(_engine(bool(real))), CommandPackage())
        self.providers: dict[str, Served] = {
            package.name: serve(package, self._note) for package in packages
        }
        self.outside.wait()

    def close(self) -> None:
        self.cloud.close()
        self.region.stop()
        for provider in self.providers.values():
            provider.stop()
        self.servers.close()
        if self.site:
            self.site.close()
        self.outside.close()
        self.block.release()

    def _note(self, call: dict[str, Any]) -> None:
        with self._calls_lock:
            self._calls.write(json.dumps(call) + "\n")


class Commands:
    """What `rehearsal.control` can ask for: the public methods, with their keyword arguments."""

    def __init__(self, world: World, end: threading.Event) -> None:
        self._world = world
        self._cloud = world.cloud
        self._end = end
        self.stays = False

    def bill(self) -> dict[str, Any]:
        """`{"billable": [{id, what, since, per_hour, until}], "closed": [...], "cost": CNY}`."""
        bill = self._cloud.bill
        return {
            "billable": [_line(line) for line in bill.billable()],
            "closed": [_line(line) for line in bill.lines if line.until is not None],
            "cost": round(bill.cost(), 6),
        }

    def inventory(self) -> list[str]:
        """Ids of everything in the account, free of charge or not."""
        return self._cloud.inventory()

    def servers(self) -> list[dict[str, Any]]:
        """`{id, name, address, status, zone, type, image, ends, folder}` of each server."""
        return [
            {
                "id": instance.id,
                "name": instance.name,
                "address": instance.address,
                "status": instance.status,
                "zone": instance.zone,
                "type": instance.type.id,
                "image": instance.image.id,
                "ends": _shown(instance.ends),
                "folder": str(self._world.folder / "servers" / instance.id),
            }
            for instance in list(self._cloud.instances.values())
        ]

    def stock(
        self, type: str = market.REFERENCE_TYPE, region: str = "cn-hangzhou"
    ) -> dict[str, int]:
        return {zone: self._cloud.stock(type, zone) for zone in market.zones(region)}

    def set_stock(self, zone: str, count: int, type: str = market.REFERENCE_TYPE) -> None:
        self._cloud.set_stock(type, zone, count)

    def release(self, server: str = "") -> None:
        """The cloud takes a server back by itself: disk and all."""
        self._cloud.release(self._one(server).id)

    def reboot(self, server: str = "") -> None:
        self._cloud.restart(self._one(server))

    def stop_server(self, server: str = "") -> None:
        self._cloud.power(self._one(server), on=False)

    def start_server(self, server: str = "") -> None:
        self._cloud.power(self._one(server), on=True)

    def switch_on(self, fault: str, key: str, times: int = faults.ALWAYS) -> None:
        faults.switch_on(self._world.faults, fault, key, times)

    def processes(self) -> list[dict[str, Any]]:
        """`{pid, command}` of everything that runs on the servers."""
        outside = self._world.outside
        ours = {outside.pid, *descendants(outside.pid)} if outside else set()
        return [
            {"pid": pid, "command": command}
            for pid in descendants(os.getpid())
            if pid not in ours and (command := command_of(pid))
        ]

    def stay(self) -> None:
        """Do not end with the one who started the world."""
        self.stays = True

    def stop(self) -> None:
        self._end.set()

    def _one(self, server: str) -> Instance:
        known = list(self._cloud.instances)
        if not server and len(known) != 1:
            raise ValueError(f"name one of the servers {known}")
        return self._cloud.instance(server or known[0])


def _line(line: Line) -> dict[str, Any]:
    return {**asdict(line), "since": _shown(line.since), "until": _shown(line.until)}


def _shown(when: datetime | None) -> str | None:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when else None


def main() -> int:
    arguments = _arguments()
    adopt_orphans()
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: end.set())
    try:
        arguments.dir.mkdir(parents=True, exist_ok=True)
        folder, real = arguments.dir.resolve(), arguments.real_server
        world = World(folder, arguments.page, real, arguments.region)
    except (NoAddresses, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2
    commands = Commands(world, end)
    with _Listener(commands) as listener:
        description = _describe(world, listener)
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        threading.Thread(target=_follow_parent, args=(commands, end), daemon=True).start()
        print(json.dumps({"ready": True, "providers": description["providers"]}), flush=True)
        end.wait()
        _close(world)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rehearsal.world", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="folder for everything it keeps")
    parser.add_argument(
        "--page", action="append", default=[], help="a host outside that has web pages; repeatable"
    )
    parser.add_argument("--region", default=README_REGION, help="where the user may have a lab")
    parser.add_argument(
        "--real-server",
        action="append",
        default=[],
        help="SERVICE=IMAGE that the lab pulls; servers are real ones then; repeatable",
    )
    return parser.parse_args()


def _engine(real: bool) -> "Connect":
    if real:
        from rehearsal.real_server.over_ssh import OverSsh

        return OverSsh
    from rehearsal.docker.over_ssh import stage_engine

    return stage_engine


def _site(images: Sequence[str]) -> "Site":
    # Its packages are the tests' own, and no stage needs them.
    from rehearsal.real_server.site import Site

    references = dict(each.split("=", 1) for each in images)
    return Site(references, lambda line: print(line, file=sys.stderr, flush=True))


class _Listener(socketserver.ThreadingMixIn, SimpleXMLRPCServer):
    daemon_threads = True

    def __init__(self, commands: Commands) -> None:
        super().__init__(("127.0.0.1", 0), logRequests=False, allow_none=True)
        self.token = secrets.token_urlsafe(24)
        self.commands = commands

    def _dispatch(self, name: str, parameters: Any) -> Any:  # noqa: ANN401 - XML-RPC both ways
        token, arguments = parameters
        method: Callable[..., Any] | None = getattr(self.commands, name, None)
        if not secrets.compare_digest(token, self.token):
            raise Fault(1, "wrong token")
        if name.startswith("_") or not callable(method):
            raise Fault(1, f"the world has no command {name!r}")
        try:
            return method(**arguments)
        except (Refusal, ValueError, TypeError, KeyError, OSError) as problem:
            raise Fault(1, f"{type(problem).__name__}: {problem}") from problem


def _describe(world: World, listener: _Listener) -> dict[str, Any]:
    """Write what others need to reach the world; complete or not at all."""
    description = {
        "pid": os.getpid(),
        "providers": {name: served.port for name, served in world.providers.items()},
        "region_port": world.region.server_port,
        "prefix": world.block.prefix,
        "ssh_port": SSH_PORT,
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
