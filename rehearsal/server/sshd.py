"""The sshd of the stage's server: OpenSSH's defaults on an Alibaba Cloud image with a key pair.

Only a key in root's `authorized_keys` logs in, no passwords (docs/facts/alicloud.md §4), and no
variable of a client gets in. MaxStartups is not rehearsed: 14 containers side by side stay within
its default (docs/facts/engine.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import posixpath
import socket
from asyncio.subprocess import PIPE, Process
from typing import TYPE_CHECKING, Any, cast

import asyncssh
from asyncssh.process import SSHServerProcess

from rehearsal.docker.engine import EngineError
from rehearsal.docker.over_ssh import DIAL
from rehearsal.processes import end_session, let_go, spawn

if TYPE_CHECKING:
    from asyncssh.channel import SSHChannel

    from rehearsal.server.machine import Machine

_CHUNK = 64 * 1024
_LOCAL = ("127.0.0.1", "localhost", "::1")
_HOME = b"/root"


class SshDaemon:
    """sshd of one machine; lives in the machine's event loop."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._options: asyncssh.SSHServerConnectionOptions | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.processes: set[Process] = set()

    async def open(self) -> None:
        """Listen; a daemon that listens already is left alone."""
        if self._listener is not None:
            return
        key = asyncssh.read_private_key(str(self._machine.host_key_file))
        self._options = await asyncssh.SSHServerConnectionOptions.construct(
            server_factory=lambda: _Login(self, self._machine),
            server_host_keys=[key],
            process_factory=self._run,
            sftp_factory=lambda channel: _Sftp(channel, self._machine),
            encoding=None,
            line_editor=False,
            allow_pty=False,
            agent_forwarding=False,
            x11_forwarding=False,
            server_version="OpenSSH_8.9p1 Ubuntu-3ubuntu0.13",
        )
        self._listener = socket.create_server(
            (self._machine.description.address, self._machine.description.ssh_port), backlog=128
        )
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))

    async def close(self) -> None:
        """Listen no more, and end what is open and runs."""
        if self._listener is not None and self._accepting is not None:
            self._accepting.cancel()
            self._listener.close()
            self._listener = None
        for connection in list(self.connections):
            connection.abort()
        for task in list(self._tasks):
            task.cancel()
        for process in list(self.processes):
            end_session(process)
        self.processes.clear()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, source = await loop.sock_accept(listener)
            task = loop.create_task(self._serve(connection, source[0]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket, source: str) -> None:
        """Talk SSH; whom the firewall keeps out is never answered, as if the packets were lost."""
        with connection:
            port = self._machine.description.ssh_port
            itself = source == self._machine.description.address
            if not itself and not await self._machine.admits(port, source):
                await asyncio.Event().wait()
            assert self._options is not None
            with contextlib.suppress(asyncssh.Error, OSError):
                talk = await asyncssh.run_server(connection, options=self._options)
                await talk.wait_closed()

    async def _run(self, process: SSHServerProcess[bytes]) -> None:
        """One command, by `sh -c` in root's home; without a command a shell that reads stdin."""
        given = process.command
        if given == DIAL:
            await _dial_docker(process, self._machine)
            return
        command = ["/bin/sh", "-c", given] if given is not None else ["/bin/sh", "-s"]
        child = await spawn(
            command,
            self._machine.lifeline,
            env=self._machine.environment(),
            cwd=self._machine.root / "root",
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        self.processes.add(child)
        try:
            await _carry(process, child)
        finally:
            if child.returncode is None or process.is_closing():
                end_session(child)
            let_go(child)


class _Login(asyncssh.SSHServer):
    """One connection."""

    def __init__(self, daemon: SshDaemon, machine: Machine) -> None:
        self._daemon, self._machine = daemon, machine
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._daemon.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._daemon.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return False

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """The image has no other user that may log in, and root only with a key."""
        shown = key.export_public_key().decode().split()[:2]
        lines = self._machine.authorized_keys.splitlines()
        return username == "root" and shown in [line.split()[:2] for line in lines]

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Any:  # noqa: ANN401 - whatever asyncssh wants
        """`ssh -L`: `127.0.0.1` on the server is its own address here."""
        assert self._connection is not None
        host = self._machine.description.address if dest_host in _LOCAL else dest_host
        neighbours = self._machine.description.address.rpartition(".")[0] + "."
        if not host.startswith(neighbours):
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_CONNECT_FAILED, f"{dest_host}: Name or service not known"
            )
        return self._forward(self._connection, host, dest_port)

    async def _forward(self, connection: asyncssh.SSHServerConnection, host: str, port: int) -> Any:  # noqa: ANN401 - whatever asyncssh wants
        loop = asyncio.get_running_loop()
        try:
            # From the server's own address, so that its firewall does not count.
            _, onward = await loop.create_connection(
                asyncssh.forward.SSHForwarder,
                host,
                port,
                local_addr=(self._machine.description.address, 0),
            )
        except OSError as error:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_CONNECT_FAILED, "Connection refused"
            ) from error
        return asyncssh.forward.SSHForwarder(onward)


async def _dial_docker(process: SSHServerProcess[bytes], machine: Machine) -> None:
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


async def _carry(process: SSHServerProcess[bytes], child: Process) -> None:
    """Connect the channel's streams with the child's, until the child has ended or nobody listens.

    As with sshd, a background process that keeps stdout open keeps the session open.
    """
    assert child.stdin
    feed = asyncio.create_task(_feed(process, child.stdin))
    hang_up = asyncio.create_task(_hung_up(process))
    outputs = asyncio.create_task(_collect(process, child))
    await asyncio.wait([outputs, hang_up], return_when=asyncio.FIRST_COMPLETED)
    feed.cancel()
    hang_up.cancel()
    if not outputs.done():
        outputs.cancel()
        end_session(child)
        return
    code = child.returncode or 0
    process.exit(code if code >= 0 else 128 - code)


async def _collect(process: SSHServerProcess[bytes], child: Process) -> None:
    assert child.stdout
    assert child.stderr
    await asyncio.gather(
        _drain(child.stdout, process.stdout), _drain(child.stderr, process.stderr), child.wait()
    )


async def _hung_up(process: SSHServerProcess[bytes]) -> None:
    await process.channel.wait_closed()


async def _feed(process: SSHServerProcess[bytes], stdin: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while chunk := await process.stdin.read(_CHUNK):
            stdin.write(chunk)
            await stdin.drain()
    stdin.close()


async def _drain(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    while chunk := await source.read(_CHUNK):
        with contextlib.suppress(OSError, asyncssh.Error):
            sink.write(chunk)
            await sink.drain()


class _Sftp(asyncssh.SFTPServer):
    """Files of the server's tree; relative paths start in root's home."""

    def __init__(self, chan: SSHChannel[bytes], machine: Machine) -> None:
        super().__init__(
            cast("asyncssh.SSHServerChannel[bytes]", chan), chroot=os.fsencode(machine.root)
        )

    def map_path(self, path: bytes) -> bytes:
        return super().map_path(posixpath.join(_HOME, path))
