"""Rehearsed servers for tests: an address block of their own, and a client that logs in."""

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

    address: str
    root: Path
    key_file: Path
    allowed: Callable[[int, str], bool] = lambda port, source: True

    @property
    def host_key(self) -> str:
        """Its public host key: algorithm and key."""
        place = self.root / "etc/ssh/ssh_host_ed25519_key"
        key = asyncssh.read_private_key(str(place))
        return " ".join(key.export_public_key().decode().split()[:2])

    def out(self, command: str) -> str:
        """Stdout of a command that has to succeed, run on the server over SSH."""

        async def work() -> asyncssh.SSHCompletedProcess:
            async with self.connect() as connection:
                return await connection.run(command, timeout=LIMIT, stdin=asyncssh.DEVNULL)

        ran = asyncio.run(work())
        assert ran.exit_status == 0, f"{command}: {ran.exit_status}\n{ran.stdout}{ran.stderr}"
        return str(ran.stdout)

    def connect(self, **options: Any) -> Any:
        """An SSH connection, to be used as an asynchronous context."""
        usual = {"username": "root", "client_keys": [str(self.key_file)], "known_hosts": None}
        own = {**usual, "config": None, "agent_path": None, **options}
        return asyncssh.connect(self.address, SSH_PORT, **own)

    def answers(self) -> bool:
        """Whether sshd does."""
        try:
            return self.out("echo up") == "up\n"
        except OSError:
            return False


@dataclass
class ServerMaker:
    """Makes servers; ends them all with `close`."""

    folder: Path
    block: Block
    made: list[ServerProcess] = field(default_factory=list)

    def __call__(self, up: bool = True) -> Login:
        """A new server, up unless told otherwise."""
        number = len(self.made)
        key = asyncssh.generate_private_key("ssh-ed25519")
        key_file = self.folder / f"key-{number}"
        key_file.write_bytes(key.export_private_key())
        key_file.chmod(0o600)
        login = Login(self.block.fresh_server(), self.folder / f"server-{number}", key_file)
        description = Description(
            root=str(login.root),
            address=login.address,
            region="cn-hangzhou",
            ssh_port=SSH_PORT,
            authorized_key=key.export_public_key().decode(),
        )
        machine = ServerProcess(description, lambda port, source: login.allowed(port, source))
        self.made.append(machine)
        machine.start()
        if up:
            until(login.answers, "the server to answer")
        return login

    def close(self) -> None:
        """End all servers."""
        for machine in self.made:
            machine.destroy()
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
