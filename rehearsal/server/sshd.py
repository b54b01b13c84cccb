"""The sshd of the stage's server: OpenSSH's defaults on an Alibaba Cloud image with a key pair.

Only a key in root's `authorized_keys` logs in, no passwords (docs/facts/alicloud.md §4), and no
variable of a client gets in. MaxStartups is not rehearsed: 14 containers side by side stay within
its default (docs/facts/engine.md).
"""

import asyncio
import contextlib
import json
import os
import posixpath
from asyncio.subprocess import PIPE, Process
from typing import TYPE_CHECKING, Any, cast

import asyncssh
from asyncssh.process import SSHServerProcess

from rehearsal.docker.engine import EngineError
from rehearsal.docker.over_ssh import DIAL
from rehearsal.guard import end_session
from rehearsal.processes import let_go, spawn

if TYPE_CHECKING:
    from asyncssh.channel import SSHChannel

    from rehearsal.server.machine import Machine

_LOCAL = ("127.0.0.1", "localhost", "::1")


class SshDaemon:
    """sshd of one machine, in the machine's event loop, behind the machine's firewall."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self._listener: asyncssh.SSHAcceptor | None = None
        self._processes: set[Process] = set()

    async def open(self) -> None:
        address = self._machine.description.address
        self._listener = await asyncssh.listen(
            address,
            0,
            server_factory=lambda: _Login(self._machine),
            server_host_keys=[str(self._machine.host_key_file)],
            process_factory=self._run,
            sftp_factory=lambda channel: _Sftp(channel, self._machine),
            encoding=None,
            allow_pty=False,
            agent_forwarding=False,
        )
        port = self._machine.description.ssh_port
        await self._machine.records.ports.publish("sshd", port, address, self._listener.get_port())

    def close(self) -> None:
        self._machine.records.ports.release("sshd")
        if self._listener is not None:
            self._listener.close()
        for process in list(self._processes):
            end_session(process.pid)

    async def _run(self, process: SSHServerProcess[bytes]) -> None:
        """One command, by `sh -c` in root's home. It ends with who asked for it; as with sshd, a
        background process that keeps stdout open keeps the session open."""
        if process.command == DIAL:
            await _dial_docker(process, self._machine)
            return
        # Watched from before the start: who left during it is not met again.
        gone = asyncio.create_task(process.channel.wait_closed())
        child = await spawn(
            ["/bin/sh", "-c", process.command or "exec sh -s"],
            self._machine.lifeline,
            env=self._machine.environment(),
            cwd=self._machine.root / "root",
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        self._processes.add(child)
        told = asyncio.create_task(_follow(process, child))
        await asyncio.wait([told, gone], return_when=asyncio.FIRST_COMPLETED)
        if not told.done() or told.exception():
            end_session(child.pid)
        for task in (told, gone):
            task.cancel()
        self._processes.discard(child)
        let_go(child)


async def _follow(process: SSHServerProcess[bytes], child: Process) -> None:
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    await process.stdout.drain()
    await process.stderr.drain()
    code = await child.wait()
    process.exit(code if code >= 0 else 128 - code)


class _Login(asyncssh.SSHServer):
    """One connection."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """The image has no other user that may log in, and root only with a key."""
        shown = key.export_public_key().decode().split()[:2]
        lines = (self._machine.root / "root/.ssh/authorized_keys").read_text().splitlines()
        return username == "root" and shown in [line.split()[:2] for line in lines]

    async def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Any:  # noqa: ANN401 - whatever asyncssh wants
        """`ssh -L`: `127.0.0.1` on the server is its own address here."""
        own = self._machine.description.address
        host = own if dest_host in _LOCAL else dest_host
        failed = asyncssh.OPEN_CONNECT_FAILED
        if host.rpartition(".")[0] != own.rpartition(".")[0]:
            raise asyncssh.ChannelOpenError(failed, f"{host}: not known")
        try:
            # From the server's own address, so that its firewall does not count.
            _, onward = await asyncio.get_running_loop().create_connection(
                asyncssh.forward.SSHForwarder, host, dest_port, local_addr=(own, 0)
            )
        except OSError as error:
            raise asyncssh.ChannelOpenError(failed, "Connection refused") from error
        return asyncssh.forward.SSHForwarder(onward)


async def _dial_docker(process: SSHServerProcess[bytes], machine: "Machine") -> None:
    """Calls of `rehearsal.docker.over_ssh`, one JSON line each."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while line := await process.stdin.readline():
            operation, arguments = json.loads(line)
            answer: dict[str, Any]
            try:
                answer = {"answer": await getattr(machine.records, operation)(*arguments)}
            except EngineError as error:
                answer = {"error": str(error), "status": error.status}
            process.stdout.write(json.dumps(answer).encode() + b"\n")
            await process.stdout.drain()
    process.exit(0)


class _Sftp(asyncssh.SFTPServer):
    """Files of the server's tree; relative paths start in root's home."""

    def __init__(self, chan: "SSHChannel[bytes]", machine: "Machine") -> None:
        super().__init__(
            cast("asyncssh.SSHServerChannel[bytes]", chan), chroot=os.fsencode(machine.root)
        )

    def map_path(self, path: bytes) -> bytes:
        return super().map_path(posixpath.join(b"/root", path))
