"""The command package: `remote.Command` and `remote.CopyToRemote` over real SSH.

Semantics of pulumi-command 1.2.1 (docs/facts/alicloud.md §4): a changed trigger replaces, any other
change updates, and an update without `update` runs `create` again. Every call dials anew, and dial
errors of every kind, a refused key included, are retried up to `dialErrorLimit`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import posixpath
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import asyncssh

from rehearsal.providers.base import Failure, Kind, ProviderError, unknown_token
from rehearsal.providers.remote import LOOP, private_key
from rehearsal.providers.values import (
    UNKNOWN,
    Properties,
    is_asset,
)

VERSION = "1.2.1"
_FIRST_BACKOFF = 0.1
_BACKOFF_FACTOR = 1.5
_LONGEST_BACKOFF = 5.0
_CONNECTION = frozenset(
    {"host", "user", "port", "privateKey", "dialErrorLimit", "perDialTimeout", "hostKey"}
)

_Answer = TypeVar("_Answer")


class CommandPackage:
    """What the world serves as `command`."""

    name = "command"
    version = VERSION

    def configure(self, config: Properties) -> _CommandProvider:
        """The package has no settings."""
        return _CommandProvider()


class _CommandProvider:
    def __init__(self) -> None:
        self._running = _Running()

    def kind(self, token: str) -> Kind:
        """Command or CopyToRemote."""
        if token == "command:remote:Command":
            return _Command(self._running)
        if token == "command:remote:CopyToRemote":
            return _CopyToRemote(self._running)
        raise unknown_token(token)

    def invoke(self, token: str, args: Properties) -> Properties:
        """There are no functions in `command:remote`."""
        raise unknown_token(token)

    def cancel(self) -> None:
        """End all dialling and all commands."""
        self._running.cancel()


class _Running:
    """The calls under way, so that a Ctrl-C can end them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def wait(self, work: Coroutine[Any, Any, _Answer], timeout: float) -> _Answer:
        """Run `work` with a time limit in seconds; 0 is none."""
        try:
            return LOOP.wait(self._tracked(work, timeout))
        except asyncio.TimeoutError as error:
            raise ProviderError("context deadline exceeded") from error
        except (asyncio.CancelledError, concurrent.futures.CancelledError) as error:
            raise ProviderError("context canceled") from error

    async def _tracked(self, work: Coroutine[Any, Any, _Answer], timeout: float) -> _Answer:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        try:
            return await asyncio.wait_for(task, timeout or None)
        finally:
            self._tasks.discard(task)

    def cancel(self) -> None:
        """End everything."""
        for task in list(self._tasks):
            task.get_loop().call_soon_threadsafe(task.cancel)


@dataclass(frozen=True)
class _Connection:
    """A `connection` as given, with the provider's defaults."""

    host: str
    user: str = "root"
    port: int = 22
    private_key: str | None = field(default=None, repr=False)
    dial_error_limit: int = 10
    per_dial_timeout: int = 15
    host_key: str | None = None

    @classmethod
    def read(cls, given: Properties) -> _Connection:
        """From the inputs of a resource, which were checked."""
        return cls(
            host=given["host"],
            user=given.get("user") or "root",
            port=int(given.get("port") or 22),
            private_key=given.get("privateKey"),
            dial_error_limit=int(_or(given.get("dialErrorLimit"), 10)),
            per_dial_timeout=int(_or(given.get("perDialTimeout"), 15)),
            host_key=given.get("hostKey"),
        )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


class _Pinned(asyncssh.SSHClient):
    """Accepts the given host key only, or any where none is given (InsecureIgnoreHostKey)."""

    def __init__(self, wanted: asyncssh.SSHKey | None) -> None:
        self._wanted = wanted

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        return self._wanted is None or key == self._wanted


async def _dial(connection: _Connection) -> asyncssh.SSHClientConnection:
    """Connect and log in, with the provider's retries.

    Raises:
        ProviderError: the limit is reached, or key material cannot be read.
    """
    try:
        keys = [private_key(connection.private_key)] if connection.private_key else []
    except ValueError as error:
        raise ProviderError(str(error)) from error
    pinned = _host_key(connection)
    backoff, attempts = _FIRST_BACKOFF, 0
    while True:
        try:
            return await asyncio.wait_for(
                _dial_once(connection, keys, pinned), connection.per_dial_timeout
            )
        except (OSError, asyncssh.Error, asyncio.TimeoutError) as error:
            attempts += 1
            if -1 < connection.dial_error_limit < attempts:
                raise ProviderError(
                    f"after {attempts} failed attempts: {_go_text(connection, error)}"
                ) from error
        await asyncio.sleep(backoff)
        backoff = min(backoff * _BACKOFF_FACTOR, _LONGEST_BACKOFF)


async def _dial_once(
    connection: _Connection, keys: list[asyncssh.SSHKey], pinned: asyncssh.SSHKey | None
) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        connection.host,
        connection.port,
        username=connection.user,
        client_keys=keys or None,
        client_factory=lambda: _Pinned(pinned),
        # Empty, so that the client is asked about every key.
        known_hosts=b"",
        # As the plugin asks (1.2.1, provider/pkg/provider/remote/connection.go): for the kind of
        # key that is pinned, though the server may have others.
        server_host_key_algs=f"^{pinned.get_algorithm()}" if pinned else (),
        agent_path=None,
        config=None,
        preferred_auth="publickey",
        keepalive_interval=0,
    )


def _host_key(connection: _Connection) -> asyncssh.SSHKey | None:
    if not connection.host_key:
        return None
    try:
        return asyncssh.import_public_key(connection.host_key)
    except asyncssh.KeyImportError as error:
        raise ProviderError(f"failed to parse host key: ssh: no key found: {error}") from error


def _go_text(connection: _Connection, error: Exception) -> str:
    """The error as Go's SSH client words it."""
    where = f"dial tcp {connection.host}:{connection.port}"
    if isinstance(error, ConnectionRefusedError):
        return f"{where}: connect: connection refused"
    if isinstance(error, asyncio.TimeoutError):
        return f"{where}: i/o timeout"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return "ssh: handshake failed: ssh: host key mismatch"
    if isinstance(error, asyncssh.PermissionDenied):
        return (
            "ssh: handshake failed: ssh: unable to authenticate, attempted methods [none "
            "publickey], no supported methods remain"
        )
    if isinstance(error, (asyncssh.ConnectionLost, ConnectionResetError)):
        return "ssh: handshake failed: EOF"
    return f"{where}: {error}"


class _Remote(Kind):
    """What both kinds share: triggers replace, everything else updates."""

    force_new: ClassVar[frozenset[str]] = frozenset({"triggers"})
    allowed: ClassVar[frozenset[str]]

    def __init__(self, running: _Running) -> None:
        self._running = running

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """Unknown properties, and a connection without a host."""
        failures = [
            (name, f"{name} is not a property of this resource")
            for name in new.keys() - self.allowed
            if not name.startswith("__")
        ]
        return new, [*failures, *_check_connection(new.get("connection"))]


def _check_connection(given: Any) -> list[Failure]:  # noqa: ANN401
    if given is UNKNOWN:
        return []
    if not isinstance(given, dict) or given.get("host") in (None, ""):
        return [("connection.host", "missing required property 'connection.host'")]
    return [
        (f"connection.{name}", "is not a property of a connection")
        for name in given
        if name not in _CONNECTION and not name.startswith("__")
    ]


class _Command(_Remote):
    computed: ClassVar[frozenset[str]] = frozenset({"stdout", "stderr"})
    recomputed: ClassVar[frozenset[str]] = frozenset({"stdout", "stderr"})
    allowed: ClassVar[frozenset[str]] = frozenset(
        {"connection", "create", "triggers", "stdin", "addPreviousOutputInEnv"}
    )

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """What was printed before cannot be handed on: sshd refuses such variables."""
        inputs, failures = super().check(old, new)
        if inputs.get("addPreviousOutputInEnv") is not False:
            failures.append(("addPreviousOutputInEnv", "must be false in a rehearsal"))
        return inputs, failures

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        return f"{self.name}{secrets.token_hex(4)}", self._run(inputs, timeout)

    def update(
        self,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        timeout: float,
    ) -> Properties:
        """`create` once more."""
        return self._run(new_inputs, timeout)

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """Nothing is run."""

    def _run(self, inputs: Properties, timeout: float) -> Properties:
        given = {name: value for name, value in inputs.items() if name in self.allowed}
        stdout, stderr = self._running.wait(_run_command(given), timeout)
        stdout, stderr = (text.removesuffix("\n") for text in (stdout, stderr))
        return {**given, "stdout": stdout, "stderr": stderr}


async def _run_command(given: Properties) -> tuple[str, str]:
    """Stdout and stderr of a command that succeeded.

    Raises:
        ProviderError: with the whole command and its output, as the real provider's error.
    """
    command = given["create"]
    connection = await _dial(_Connection.read(given["connection"]))
    try:
        text = given.get("stdin")
        # Without a text the command reads an end of file, as with Go's client.
        stdin = {"input": text} if text else {"stdin": asyncssh.DEVNULL}
        ran = await connection.run(command, errors="replace", **stdin)
    except (OSError, asyncssh.Error) as error:
        raise ProviderError(
            f"wait: remote command exited without exit status or exit signal: running "
            f"{json.dumps(command)}: {error}"
        ) from error
    finally:
        connection.abort()
    stdout, stderr = str(ran.stdout or ""), str(ran.stderr or "")
    if ran.exit_status == 0:
        return stdout, stderr
    how = f"Process exited with status {ran.exit_status}"
    if ran.exit_status is None or ran.exit_status < 0:
        how = "wait: remote command exited without exit status or exit signal"
    raise ProviderError(f"{how}: running {json.dumps(command)}:\n{stdout}{stderr}")


class _CopyToRemote(_Remote):
    allowed: ClassVar[frozenset[str]] = frozenset(
        {"connection", "source", "remotePath", "triggers"}
    )

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        return secrets.token_hex(4), self._copy(inputs, timeout)

    def update(
        self,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        timeout: float,
    ) -> Properties:
        """Copies again."""
        return self._copy(new_inputs, timeout)

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """The file stays."""

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """The rehearsal copies texts only."""
        inputs, failures = super().check(old, new)
        source: Any = inputs.get("source")
        if source is not UNKNOWN and not (is_asset(source) and source.get("text") is not None):
            failures.append(("source", "must be a text asset in a rehearsal"))
        return inputs, failures

    def _copy(self, inputs: Properties, timeout: float) -> Properties:
        given = {name: value for name, value in inputs.items() if name in self.allowed}
        self._running.wait(_copy(given), timeout)
        return given


async def _copy(given: Properties) -> None:
    connection = await _dial(_Connection.read(given["connection"]))
    try:
        async with connection.start_sftp_client() as sftp:
            await _write(sftp, str(given["source"]["text"]).encode(), given["remotePath"])
    except (OSError, asyncssh.Error) as error:
        raise ProviderError(f"failed to copy to {given['remotePath']}: {error}") from error
    finally:
        connection.abort()


async def _write(sftp: asyncssh.SFTPClient, content: bytes, remote: str) -> None:
    parent = posixpath.dirname(remote)
    if parent:
        await sftp.makedirs(parent, exist_ok=True)
    async with sftp.open(remote, "wb") as file:
        await file.write(content)
