"""The way to the server: one SSH connection per server and process, shared by all threads.

A local port stands for a port of the server for the life of the process; a connection that breaks
is made again. What goes this way may fail with ServerUnreachable, HostKeyChanged or KeyRefused.
"""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from provisioning.clients.errors import Refused, ServiceError, Unauthorized, Unreachable
from provisioning.clients.waiting import SYSTEM_CLOCK, Clock, Waiting, wait_until
from provisioning.ssh_keys import key_of

T = TypeVar("T")

CONNECT_SECONDS = 20.0
SCAN_SECONDS = 10.0
RUN_SECONDS = 60.0
KEEPALIVE_SECONDS = 15
KEEPALIVE_MISSES = 4
COME_BACK_SECONDS = 600.0
COME_BACK_PAUSE = 1.0

_ANY_FAILURE = (OSError, asyncssh.Error, asyncio.TimeoutError)
_AGAIN = "run `pulumi up` again; if that does not help, see how busy the server is (`make status`)"


class ServerUnreachable(Unreachable):
    """No SSH server answers there."""


class HostKeyChanged(Refused):
    """The server shows another host key than at the first contact."""


class CommandFailed(Refused):
    """A command on the server ended with another code than 0; the text is what it said."""


class KeyRefused(Unauthorized):
    """The operator's key was not accepted, or cannot be read."""


@dataclass(frozen=True)
class SshServer:
    """An SSH server, the one key that it may show (`ssh-ed25519 AAAA...`), and the operator's."""

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
    """The local base URL, `http://127.0.0.1:<n>`, of a port on the server's loopback."""
    return f"http://127.0.0.1:{_on_loop(_link(server).port_for(remote_port))}"


def run(server: SshServer, command: str, stdin: bytes = b"", seconds: float = RUN_SECONDS) -> str:
    """What a command on the server prints, over the same connection."""
    return _on_loop(_link(server).run(command, stdin, seconds))


def scan_host_key(
    host: str,
    port: int,
    deadline: float,
    *,
    clock: Clock = SYSTEM_CLOCK,
    progress: Callable[[str], None] = lambda _: None,
) -> str:
    """The host key at the first contact, `ssh-ed25519 AAAA...`, waited for `deadline` seconds.

    Another kind only where the server has no ed25519 one.
    """

    async def ask() -> str | Waiting:
        wanted = "^ssh-ed25519"
        asking = asyncssh.get_server_host_key(host, port, config=None, server_host_key_algs=wanted)
        try:
            key = await asyncio.wait_for(asking, SCAN_SECONDS)
        except _ANY_FAILURE as error:
            return Waiting(_reason(error))
        if key is None:
            return Waiting("the server shows no usable host key")
        return " ".join(key.export_public_key("openssh").decode().split()[:2])

    return wait_until(
        f"an SSH server at {host}:{port}",
        lambda: _on_loop(ask()),
        service="SSH",
        deadline=deadline,
        advice="see in the cloud's console whether the server runs, and whether allowedCidrs holds "
        "the address you come from",
        every=3.0,
        clock=clock,
        progress=progress,
    )


def ssh_options(key_file: Path, host_key: str) -> list[str]:
    """Options for the `ssh` that the Docker provider runs: our key, and no other host's key."""
    options = {
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": "/dev/null",
        # Needs no file, so the state works from another machine as well (OpenSSH 8.5+).
        "KnownHostsCommand": f"/bin/echo * {host_key}",
        "ConnectTimeout": "15",
        "ServerAliveInterval": "15",
    }
    given = (word for name, value in options.items() for word in ("-o", f"{name}={value}"))
    return ["-i", str(key_file), *given]


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
                await self._forward(connection, remote_port)
            return self._ports[remote_port]

    async def _forward(self, connection: asyncssh.SSHClientConnection, remote: int) -> None:
        here = self._ports.get(remote, 0)
        listener = await connection.forward_local_port("127.0.0.1", here, "127.0.0.1", remote)
        self._ports[remote] = int(listener.get_port())

    async def run(self, command: str, stdin: bytes, seconds: float) -> str:
        connection = await self._connected()
        call = f"run on {self._server.place}"
        # Without a text the command reads an end of file; an empty `input` would never end.
        text: dict[str, Any] = {"input": stdin} if stdin else {"stdin": asyncssh.DEVNULL}
        try:
            ran = await asyncio.wait_for(connection.run(command, encoding=None, **text), seconds)
        except _ANY_FAILURE as error:
            said = f"{_reason(error)} (limit {seconds:.0f} s); {_AGAIN}"
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
            for remote_port in self._ports:
                await self._forward(connection, remote_port)
        except _ANY_FAILURE as error:
            connection.close()
            said = f"{_reason(error)}; {_AGAIN}"
            raise ServerUnreachable("SSH", f"reach {self._server.place}", said) from None
        self._connection = connection
        self._watch = asyncio.create_task(self._come_back(connection))
        return connection

    async def _come_back(self, connection: asyncssh.SSHClientConnection) -> None:
        """Renew a connection that broke: whoever waits on a local port would wait in vain."""
        await connection.wait_closed()
        now = asyncio.get_running_loop().time
        give_up_at = now() + COME_BACK_SECONDS
        while self._ports and now() < give_up_at:
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


async def _connect(server: SshServer) -> asyncssh.SSHClientConnection:
    call = f"connect {server.place}"
    async with contextlib.AsyncExitStack() as until_logged_in:
        try:
            asked = key_of(server.key_file, until_logged_in)
            key = await asyncio.wait_for(asked, CONNECT_SECONDS)
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            raise KeyRefused("SSH", call, f"{_reason(error)}. See the setting sshKeyFile") from None
        connecting = asyncssh.connect(
            server.host,
            server.port,
            username=server.user,
            known_hosts=([asyncssh.import_public_key(server.host_key)], [], []),
            client_keys=[key],
            agent_path=None,
            config=None,
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=KEEPALIVE_MISSES,
        )
        try:
            return await asyncio.wait_for(connecting, CONNECT_SECONDS)
        except _ANY_FAILURE as error:
            told = ((kind, say) for errors, kind, say in _FAILURES if isinstance(error, errors))
            kind, advice = next(told)
            raise kind("SSH", call, f"{_reason(error)}. {advice}") from None


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
        "your own address changed, `pulumi up` applies a changed allowedCidrs; if the cloud has it "
        "no more, `pulumi up` says so and builds a new lab",
    ),
)


def _text(said: str | bytes | None) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said or ""


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
