"""Rehearsed servers for tests: an address block of their own, and a client that logs in."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from rehearsal.addresses import Block
from rehearsal.server.description import Description
from rehearsal.server.process import ServerProcess
from tests.waiting import LIMIT, until

SSH_PORT = 2222


@dataclass
class Login:
    """A server with the key that opens it.

    Attributes:
        allowed: decides for the firewall; a test may exchange it.
        key_file: the private key, 0600.
        root: its file tree.
    """

    address: str
    root: Path
    key_file: Path
    allowed: Callable[[int, str], bool] = lambda port, source: True

    @property
    def host_key(self) -> str:
        return public(asyncssh.read_private_key(self.root / "etc/ssh/ssh_host_ed25519_key"))

    def out(self, command: str) -> str:
        """Stdout of a command that has to succeed, run on the server over SSH."""
        return over_ssh(self.address, SSH_PORT, command, **self._options())

    def connect(self) -> Any:
        return asyncssh.connect(self.address, SSH_PORT, **self._options())

    def _options(self) -> dict[str, Any]:
        own = {"config": None, "agent_path": None, "known_hosts": None}
        return {**own, "username": "root", "client_keys": [str(self.key_file)]}


class ServerMaker:
    """Makes servers; ends them all with `close`."""

    def __init__(self, folder: Path, block: Block) -> None:
        self._folder, self._block = folder, block
        self._made: list[ServerProcess] = []

    def __call__(self) -> Login:
        """A new server, up."""
        number = len(self._made)
        key = asyncssh.generate_private_key("ssh-ed25519")
        key_file = self._folder / f"the key {number}"
        key_file.touch(mode=0o600)
        key_file.write_bytes(key.export_private_key())
        login = Login(self._block.fresh_server(), self._folder / f"server-{number}", key_file)
        description = Description(
            root=str(login.root),
            address=login.address,
            region="cn-hangzhou",
            ssh_port=SSH_PORT,
            authorized_key=key.export_public_key().decode(),
        )
        machine = ServerProcess(description, lambda port, source: login.allowed(port, source))
        self._made.append(machine)
        machine.start()
        until(lambda: login.out("echo up"), "the server to answer")
        return login

    def close(self) -> None:
        for machine in self._made:
            machine.destroy()
        self._block.release()


def public(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key().decode().split()[:2])


def over_ssh(address: str, port: int, command: str, **options: Any) -> str:
    """Stdout of a command that has to succeed."""

    async def work() -> str:
        async with asyncssh.connect(address, port, **{"config": None, **options}) as connection:
            ran = await connection.run(command, timeout=LIMIT, stdin=asyncssh.DEVNULL)
        assert ran.exit_status == 0, f"{command}: {ran.exit_status}\n{ran.stdout!r}{ran.stderr!r}"
        return str(ran.stdout)

    return asyncio.run(work())
