"""Rehearsed servers for tests: an address block of their own, and a client that logs in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from rehearsal.addresses import Block
from rehearsal.server.description import Description
from rehearsal.server.process import ServerProcess

A10 = {"name": "NVIDIA A10", "memory_mib": 23028}
SSH_PORT = 2222
LIMIT = 20.0

_Answer = TypeVar("_Answer")


@dataclass
class Login:
    """A server with the key that opens it.

    Attributes:
        allowed: decides for the firewall; a test may exchange it.
        key_file: the private key, 0600.
        root: its file tree.
    """

    machine: ServerProcess
    address: str
    root: Path
    key: asyncssh.SSHKey
    key_file: Path
    allowed: Callable[[int, str], bool]

    @property
    def host_key(self) -> str:
        """Its public host key: algorithm and key."""
        place = self.root / "etc/ssh/ssh_host_ed25519_key"
        key = asyncssh.read_private_key(str(place))
        return " ".join(key.export_public_key().decode().split()[:2])

    def run(self, command: str, text: str = "") -> asyncssh.SSHCompletedProcess:
        """Run one command on the server over SSH."""

        async def work() -> asyncssh.SSHCompletedProcess:
            async with self.connect() as connection:
                stdin = {"input": text} if text else {"stdin": asyncssh.DEVNULL}
                return await connection.run(command, timeout=LIMIT, **stdin)

        return asyncio.run(work())

    def out(self, command: str, text: str = "") -> str:
        """Stdout of a command that has to succeed."""
        ran = self.run(command, text)
        assert ran.exit_status == 0, f"{command}: {ran.exit_status}\n{ran.stdout}{ran.stderr}"
        return str(ran.stdout)

    def connect(self, **options: Any) -> Any:
        """An SSH connection, to be used as an asynchronous context."""
        return asyncssh.connect(
            self.address,
            SSH_PORT,
            **{
                "username": "root",
                "client_keys": [self.key],
                "known_hosts": None,
                "config": None,
                "agent_path": None,
                **options,
            },
        )

    def wait_until_up(self) -> None:
        """Until sshd answers."""

        def answers() -> bool:
            try:
                return self.run("true").exit_status == 0
            except OSError:
                return False

        until(answers, "the server to answer")


@dataclass
class ServerMaker:
    """Makes servers; ends them all with `close`."""

    folder: Path
    block: Block
    made: list[Login] = field(default_factory=list)

    def __call__(self, up: bool = True) -> Login:
        """A new server, up unless told otherwise."""
        number = len(self.made)
        key = asyncssh.generate_private_key("ssh-ed25519")
        key_file = self.folder / f"key-{number}"
        key_file.write_bytes(key.export_private_key())
        key_file.chmod(0o600)
        description = Description(
            root=str(self.folder / f"server-{number}"),
            address=self.block.fresh_server(),
            region="cn-hangzhou",
            ssh_port=SSH_PORT,
            authorized_key=key.export_public_key().decode(),
            gpus=[A10],
        )
        machine = ServerProcess(description, lambda port, source: login.allowed(port, source))
        root = Path(description.root)
        login = Login(machine, description.address, root, key, key_file, lambda port, source: True)
        self.made.append(login)
        machine.start()
        if up:
            login.wait_until_up()
        return login

    def close(self) -> None:
        """End all servers."""
        for login in self.made:
            login.machine.destroy()
        self.block.release()


def until(condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    """The first true answer of `condition`; fails after `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {limit} s for {what}; last seen: {found!r}"
        time.sleep(0.05)


def asynchronously(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Run a coroutine, within the time limit."""
    return asyncio.run(asyncio.wait_for(work, LIMIT))
