"""The way to the server: one SSH connection per server and process, shared by all threads.

A local port stands for a port of the server. It stays the same for the life of the process; where
the connection breaks, it is made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from provisioning.clients.http import (
    SYSTEM_CLOCK,
    Clock,
    Refused,
    ServiceError,
    Unauthorized,
    Unreachable,
    Waiting,
    wait_until,
)

T = TypeVar("T")

CONNECT_SECONDS = 20.0
SCAN_SECONDS = 10.0
RUN_SECONDS = 60.0
KEEPALIVE_SECONDS = 15
KEEPALIVE_MISSES = 4
COME_BACK_SECONDS = 600.0
COME_BACK_PAUSE = 1.0

_ANY_FAILURE = (OSError, asyncssh.Error, asyncio.TimeoutError)
# The protocol signs with SHA-2 what the key file calls ssh-rsa.
_SIGNATURES = {"ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"]}


class ServerUnreachable(Unreachable):
    """No SSH server answers there."""


class HostKeyChanged(Refused):
    """The server shows another host key than at the first contact."""


class CommandFailed(Refused):
    """A command on the server ended with another code than 0."""


class KeyRefused(Unauthorized):
    """The operator's key was not accepted, or cannot be read."""


@dataclass(frozen=True)
class SshServer:
    """An SSH server and the operator's identity for it.

    Attributes:
        host_key: the one key it may show, as in authorized_keys: `ssh-ed25519 AAAA...`.
        key_file: private key without a passphrase (`provisioning.ssh_keys` refuses others).
    """

    host: str
    port: int
    user: str
    host_key: str = field(repr=False)
    key_file: Path | None = None

    @property
    def place(self) -> str:
        """`user@host:port`, for messages."""
        return f"{self.user}@{self.host}:{self.port}"


def open_tunnel(server: SshServer, remote_port: int) -> str:
    """The local base URL, `http://127.0.0.1:<n>`, of a port on the server's loopback.

    Safe to call from any thread, and cheap after the first time.

    Raises:
        ServerUnreachable, HostKeyChanged, KeyRefused
    """
    return f"http://127.0.0.1:{_on_loop(_link(server).port_for(remote_port))}"


def run(server: SshServer, command: str, stdin: bytes = b"", seconds: float = RUN_SECONDS) -> str:
    """What a command on the server prints, over the same connection.

    Raises:
        ServerUnreachable, HostKeyChanged, KeyRefused
        CommandFailed: it ended with another code than 0; the text is what it said.
    """
    return _on_loop(_link(server).run(command, stdin, seconds))


def scan_host_key(
    host: str,
    port: int,
    deadline: float,
    *,
    clock: Clock = SYSTEM_CLOCK,
    progress: Callable[[str], None] = lambda _: None,
) -> str:
    """The host key at the first contact, `ssh-ed25519 AAAA...`; waits until the SSH server answers.

    Another kind of key only where the server has no ed25519 one.

    Raises:
        DeadlineExceeded: nothing answered within `deadline` seconds.
    """

    def look() -> str | Waiting:
        try:
            return _on_loop(_scan(host, port))
        except _ANY_FAILURE as error:
            return Waiting(_reason(error))

    return wait_until(
        f"an SSH server at {host}:{port}",
        look,
        service="SSH",
        deadline=deadline,
        advice="see in the cloud's console whether the server runs, and whether allowedCidrs holds "
        "the address you come from",
        every=3.0,
        clock=clock,
        progress=progress,
    )


async def _scan(host: str, port: int) -> str:
    for algorithms in ("ssh-ed25519", "default"):
        asking = asyncssh.get_server_host_key(
            host, port, config=None, server_host_key_algs=algorithms
        )
        try:
            key = await asyncio.wait_for(asking, SCAN_SECONDS)
        except asyncssh.KeyExchangeFailed:
            continue
        if key is not None:
            return " ".join(key.export_public_key("openssh").decode().split()[:2])
    raise asyncssh.KeyExchangeFailed("the server shows no usable host key")


_lock = threading.Lock()


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="ssh-tunnels", daemon=True).start()
    return loop


def _on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Work on the one event loop of all connections, for callers in any thread."""
    with _lock:
        loop = _loop()
    return asyncio.run_coroutine_threadsafe(work, loop).result()


class _Link:
    """The connection to one server, with its local ports. Its methods run on the loop only."""

    def __init__(self, server: SshServer) -> None:
        self._server = server
        self._connection: asyncssh.SSHClientConnection | None = None
        self._attempt: asyncio.Task[asyncssh.SSHClientConnection] | None = None
        self._busy = asyncio.Lock()
        # Port on the server -> local port.
        self._ports: dict[int, int] = {}

    async def port_for(self, remote_port: int) -> int:
        async with self._busy:
            connection = await self._connected()
            if remote_port not in self._ports:
                self._ports[remote_port] = await _forward(connection, 0, remote_port)
            return self._ports[remote_port]

    async def run(self, command: str, stdin: bytes, seconds: float) -> str:
        connection = await self._connected()
        call = f"run on {self._server.place}"
        # Without a text the command reads an end of file; an empty `input` would never end.
        text: dict[str, Any] = {"input": stdin} if stdin else {"stdin": asyncssh.DEVNULL}
        try:
            ran = await asyncio.wait_for(connection.run(command, encoding=None, **text), seconds)
        except _ANY_FAILURE as error:
            said = f"{_reason(error)} (limit {seconds:.0f} s)"
            raise ServerUnreachable("SSH", call, said) from None
        if ran.exit_status != 0:
            said = (_text(ran.stderr) or _text(ran.stdout)).strip()
            raise CommandFailed("SSH", call, said or f"ended with {ran.exit_status} in silence")
        return _text(ran.stdout)

    async def _connected(self) -> asyncssh.SSHClientConnection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        # Who comes while somebody dials shares that attempt, its failure too: a server that is off
        # costs one time-out, not one for each who asks.
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.ensure_future(self._dial())
        return await asyncio.shield(self._attempt)

    async def _dial(self) -> asyncssh.SSHClientConnection:
        connection = await _connect(self._server)
        try:
            for remote_port, local_port in self._ports.items():
                await _forward(connection, local_port, remote_port)
        except _ANY_FAILURE as error:
            connection.close()
            raise ServerUnreachable("SSH", f"reach {self._server.place}", _reason(error)) from None
        self._connection = connection
        self._watch = asyncio.create_task(self._come_back(connection))
        return self._connection

    async def _come_back(self, connection: asyncssh.SSHClientConnection) -> None:
        """Renew a connection that broke: whoever waits on a local port would wait in vain."""
        await connection.wait_closed()
        give_up_at = asyncio.get_running_loop().time() + COME_BACK_SECONDS
        while self._ports and asyncio.get_running_loop().time() < give_up_at:
            # The next call says what is wrong; here nobody would hear it.
            with contextlib.suppress(OSError, Unreachable, Refused):
                async with self._busy:
                    await self._connected()
                return
            await asyncio.sleep(COME_BACK_PAUSE)


_links: dict[SshServer, _Link] = {}


def _link(server: SshServer) -> _Link:
    with _lock:
        return _links.setdefault(server, _Link(server))


async def _forward(connection: asyncssh.SSHClientConnection, local: int, remote: int) -> int:
    listener = await connection.forward_local_port("127.0.0.1", local, "127.0.0.1", remote)
    return int(listener.get_port())


async def _connect(server: SshServer) -> asyncssh.SSHClientConnection:
    trusted = asyncssh.import_public_key(server.host_key)
    algorithm = trusted.get_algorithm()
    connecting = asyncssh.connect(
        server.host,
        server.port,
        username=server.user,
        known_hosts=([trusted], [], []),
        server_host_key_algs=_SIGNATURES.get(algorithm, [algorithm]),
        client_keys=[_identity(server)],
        agent_path=None,
        config=None,
        keepalive_interval=KEEPALIVE_SECONDS,
        keepalive_count_max=KEEPALIVE_MISSES,
    )
    try:
        return await asyncio.wait_for(connecting, CONNECT_SECONDS)
    except _ANY_FAILURE as error:
        told = ((kind, advice) for errors, kind, advice in _FAILURES if isinstance(error, errors))
        kind, advice = next(told)
        raise kind("SSH", f"connect {server.place}", f"{_reason(error)}. {advice}") from None


def _identity(server: SshServer) -> asyncssh.SSHKey:
    if server.key_file is None:
        said = "no key: set sshKeyFile (`pulumi config set sshKeyFile ~/.ssh/...`)"
        raise KeyRefused("SSH", f"connect {server.place}", said)
    try:
        return asyncssh.read_private_key(server.key_file)
    except (OSError, ValueError) as error:
        said = f"{_reason(error)}. See the setting sshKeyFile"
        raise KeyRefused("SSH", f"read {server.key_file}", said) from None


_FAILURES: tuple[tuple[tuple[type[Exception], ...], type[ServiceError], str], ...] = (
    (
        (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed),
        HostKeyChanged,
        "It is not the server first met. If you replaced it yourself, run `pulumi up` once more; "
        "if not, somebody may be in between",
    ),
    (
        (asyncssh.PermissionDenied,),
        KeyRefused,
        "The key must be the one that the server was made with: see the setting sshKeyFile (its "
        "public half is the .pub file beside it)",
    ),
    (
        _ANY_FAILURE,
        ServerUnreachable,
        "If the server is switched off, start it in the cloud's console and run `pulumi up`; if "
        "your own address changed, `pulumi up` applies a changed allowedCidrs; if the lease has "
        "ended, `pulumi destroy` and `pulumi up` build a new lab",
    ),
)


def _text(said: str | bytes | None) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said or ""


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
