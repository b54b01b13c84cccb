"""A rented server: it boots, answers SSH, runs commands and containers, reboots, and goes away."""

from __future__ import annotations

import asyncio
import concurrent.futures
import secrets
import shutil
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import yaml

from rehearsal.containers.engine import Engine, Surroundings
from rehearsal.containers.processes import Lifeline
from rehearsal.server.commander import Commander
from rehearsal.server.ssh import SshDaemon
from rehearsal.server.system import ConfigError, System

Network = Callable[[int, str], bool]
"""The firewall in front of the server: whether a source address reaches a port."""

_SSHD_AFTER = 0.4
_CLOUD_INIT_AFTER = 0.6
_UNATTENDED_UPGRADES = 0.8
_DOWN_SECONDS = 0.3
_PATIENCE = 20.0

_Answer = TypeVar("_Answer")


class Machine:
    """One server at `address`, with its disk in `root`.

    Args:
        root: its file tree; nothing outside of it is written. Kept until `destroy`.
        address: in 127/8; containers get the following addresses of the same /24.
        authorized_key: the line of the only key that may log in, as root.
        image: image id; one with `gpu` in its name has a driver (24.04: Docker and toolkit too).
        gpus: `{"name", "memory_mib"}` each.
        ssh_port: where sshd listens.
        network: the firewall, asked for each connection with the source address.
        region: decides which mirrors and registries answer.
        user_data: cloud-config; `ssh_keys` (a host key of one's own) and `hostname` are honoured.
        outside: emulated outside hosts for the containers, name to address.
        pace: how many times faster than real time boots, installations and health checks go.
    """

    def __init__(
        self,
        root: Path,
        address: str,
        authorized_key: str,
        image: str,
        gpus: list[dict[str, Any]],
        ssh_port: int,
        network: Network,
        region: str = "cn-hangzhou",
        user_data: str = "",
        outside: Mapping[str, str] | None = None,
        pace: float = 1.0,
    ) -> None:
        self.root, self.address, self.ssh_port = root.resolve(), address, ssh_port
        self._authorized_key = authorized_key
        self._network = network
        self._pace = pace
        self._user_data = _cloud_config(user_data)
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._lifeline = Lifeline()
        self._stopping: set[asyncio.Task[Any]] = set()
        self._boot: asyncio.Task[None] | None = None
        self.system = System(
            root=self.root,
            region=region,
            image=image,
            gpus=gpus,
            socket=f"rehearsal-{secrets.token_hex(16)}",
            hostname=str(self._user_data.get("hostname") or f"iZ{secrets.token_hex(8)}Z"),
        )
        self._fresh = not (self.root / "etc/os-release").exists()
        self.engine = Engine(
            Surroundings(
                root=self.root,
                address=address,
                region=region,
                admits=network,
                gpus=self.system.container_gpus,
                lifeline=self._lifeline,
                outside=outside or {},
                pace=pace,
            )
        )
        self.system.start_service = self._start_service
        self.system.stop_service = self._stop_service
        self._sshd = SshDaemon(self)
        self._commander = Commander(self)

    @property
    def host_key(self) -> str:
        """The public host key, `ssh-ed25519 AAAA...`, as sshd shows it."""
        text = (self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        return " ".join(text.split()[:2])

    @property
    def host_key_file(self) -> Path:
        """The private host key."""
        return self.root / "etc/ssh/ssh_host_ed25519_key"

    @property
    def authorized_keys(self) -> str:
        """Lines of the keys that may log in: root's own file."""
        place = self.root / "root/.ssh/authorized_keys"
        return place.read_text() if place.exists() else ""

    @property
    def lifeline(self) -> Lifeline:
        """Ends everything on the server together with the world."""
        return self._lifeline

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where the engine and sshd live."""
        return self._loop

    @property
    def pace(self) -> float:
        """How many times faster than real time it goes."""
        return self._pace

    def admits(self, port: int, source: str) -> bool:
        """Whether a connection gets through: from itself always, else as the firewall says."""
        return source == self.address or self._network(port, source)

    def start(self) -> None:
        """Switch it on; comes back at once, while it boots."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name=f"server-{self.address}", daemon=True
            )
            self._thread.start()
            self._commander.start()
        self._in_loop(self._switch_on())

    def stop(self) -> None:
        """Switch it off, with every process on it. The disk stays."""
        if self._thread is not None:
            self._in_loop(self._switch_off())

    def reboot(self) -> None:
        """Off and on again; comes back while it boots."""
        self._in_loop(self._restart())

    def destroy(self) -> None:
        """Switch it off for good, and forget its disk."""
        self.stop()
        self._commander.stop()
        self._lifeline.close()
        if self._thread is not None:
            self._in_loop(_end_tasks())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_PATIENCE)
            self._thread = None
            self._loop.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def reboot_soon(self, comes_back: bool) -> None:
        """What `reboot` and `shutdown` on the server do: their caller gets its answer first."""

        def later() -> None:
            work = self._restart() if comes_back else self._switch_off()
            task = self._loop.create_task(work)
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

        self._loop.call_soon_threadsafe(self._loop.call_later, 0.1, later)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _in_loop(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(_PATIENCE)
        except concurrent.futures.TimeoutError as error:
            raise TimeoutError(
                f"the rehearsed server {self.address} did not finish "
                f"{getattr(work, '__qualname__', 'its work')} within "
                f"{_PATIENCE:.0f} s; its processes are in `ps -ef`, end them and start again"
            ) from error

    async def _switch_on(self) -> None:
        if self._boot is not None:
            return
        if self._fresh:
            self._install()
        self._boot = asyncio.create_task(self._boot_up())

    def _install(self) -> None:
        self._fresh = False
        self.root.mkdir(parents=True, exist_ok=True)
        self.system.install_image()
        keys = self._user_data.get("ssh_keys") or {}
        own = keys.get("ed25519_private")
        key = (
            asyncssh.import_private_key(own)
            if own
            else asyncssh.generate_private_key("ssh-ed25519")
        )
        self.host_key_file.write_bytes(key.export_private_key())
        self.host_key_file.chmod(0o600)
        public = key.export_public_key().decode().split()[:2]
        place = self.host_key_file.with_suffix(".pub")
        place.write_text(f"{' '.join(public)} root@{self.system.hostname}\n")
        authorized = self.root / "root/.ssh/authorized_keys"
        authorized.write_text(f"{self._authorized_key.strip()}\n")
        authorized.chmod(0o600)

    async def _boot_up(self) -> None:
        """sshd answers a moment after power-on; cloud-init is done later still."""
        system = self.system
        system.cloud_init_done.clear()
        if system.units["unattended-upgrades"].enabled:
            system.apt_lock.hold_at_boot((_CLOUD_INIT_AFTER + _UNATTENDED_UPGRADES) / self._pace)
        system.load_driver()
        (self.root / "run").mkdir(exist_ok=True)
        for unit in system.units.values():
            unit.active = unit.enabled and not unit.masked and unit.name != "docker"
        await asyncio.sleep(_SSHD_AFTER / self._pace)
        await self._sshd.open()
        docker = system.units.get("docker")
        if docker is not None and docker.enabled:
            docker.active = await self._start_docker() is None
        await asyncio.sleep((_CLOUD_INIT_AFTER - _SSHD_AFTER) / self._pace)
        system.cloud_init_done.set()

    async def _switch_off(self) -> None:
        if self._boot is None:
            return
        self._boot.cancel()
        self._boot = None
        await self._sshd.close(connections=True)
        await self.engine.stop(whole_server=True)
        self.system.loaded_driver = None
        self.system.apt_lock.release()
        shutil.rmtree(self.root / "run", ignore_errors=True)

    async def _restart(self) -> None:
        await self._switch_off()
        await asyncio.sleep(_DOWN_SECONDS / self._pace)
        await self._switch_on()

    def _start_service(self, name: str) -> str | None:
        """Start a unit from a command's thread; what went wrong, or None."""
        if name == "docker":
            return self._in_loop(self._start_docker())
        if name == "ssh":
            self._in_loop(self._sshd.open())
        return None

    def _stop_service(self, name: str) -> None:
        if name == "docker":
            self._in_loop(self.engine.stop())
        elif name == "ssh":
            self._in_loop(self._sshd.close(connections=False))

    async def _start_docker(self) -> str | None:
        try:
            config = self.system.daemon_config()
        except ConfigError as error:
            return str(error)
        if "hosts" in config:
            return (
                "unable to configure the Docker daemon with file /etc/docker/daemon.json: the "
                "following directives are specified both as a flag and in the configuration file: "
                f"hosts: (from flag: [fd://], from file: {config['hosts']})"
            )
        await self.engine.start(config)
        return None


async def _end_tasks() -> None:
    """Cancel all that is left in the loop, and see it end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=2) if tasks else None
    # What was closed says so only in the loop's next rounds.
    await asyncio.sleep(0.05)


def _cloud_config(text: str) -> dict[str, Any]:
    if not text.startswith("#cloud-config"):
        return {}
    found = yaml.safe_load(text)
    return found if isinstance(found, dict) else {}
