"""The command package: `remote.Command` and `remote.CopyToRemote` over real SSH.

Semantics of pulumi-command 1.2.1 (docs/facts/alicloud.md §4): a changed trigger replaces, any other
change updates, and an update runs `create` again. Every call dials anew, and dial errors of every
kind, a refused key included, are retried up to `dialErrorLimit`. Texts are those of Go's client.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import os
import posixpath
import secrets
from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

import asyncssh

from rehearsal.providers import remote
from rehearsal.providers.base import (
    Failure,
    Kind,
    ProviderError,
    State,
    unknown_inputs,
    unknown_token,
)
from rehearsal.providers.values import UNKNOWN, Properties, is_asset

_FIRST_BACKOFF = 0.1
_BACKOFF_FACTOR = 1.5
_LONGEST_BACKOFF = 5.0
_CONNECTION = ("host", "user", "port", "privateKey", "dialErrorLimit", "perDialTimeout", "hostKey")
_DIAL_ERRORS: dict[type[Exception], str] = {
    ConnectionRefusedError: "connect: connection refused",
    asyncio.TimeoutError: "i/o timeout",
    asyncssh.HostKeyNotVerifiable: "ssh: handshake failed: ssh: host key mismatch",
    asyncssh.PermissionDenied: "ssh: handshake failed: ssh: unable to authenticate",
}

_Answer = TypeVar("_Answer")


class CommandPackage:
    """What the world serves as `command`."""

    name = "command"
    version = "1.2.1"

    def configure(self, config: Properties) -> "_CommandProvider":
        return _CommandProvider()


class _CommandProvider:
    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def kind(self, token: str) -> Kind:
        kinds = {"command:remote:Command": _Command, "command:remote:CopyToRemote": _CopyToRemote}
        if token not in kinds:
            raise unknown_token(token)
        return kinds[token](self)

    def invoke(self, token: str, args: Properties) -> Properties:
        """There are no functions in `command:remote`."""
        raise unknown_token(token)

    def wait(self, work: Coroutine[Any, Any, _Answer], timeout: float) -> _Answer:
        """Run `work` with a time limit in seconds; 0 is none."""
        try:
            return remote.wait(self._tracked(work, timeout))
        except asyncio.TimeoutError as error:
            raise ProviderError("context deadline exceeded") from error
        except (asyncio.CancelledError, concurrent.futures.CancelledError) as error:
            raise ProviderError("context canceled") from error

    async def _tracked(self, work: Coroutine[Any, Any, _Answer], timeout: float) -> _Answer:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        try:
            return await asyncio.wait_for(task, timeout or None)
        finally:
            self._running.discard(task)

    def cancel(self) -> None:
        for task in list(self._running):
            task.get_loop().call_soon_threadsafe(task.cancel)


async def _dial(given: Properties) -> asyncssh.SSHClientConnection:
    """Connect and log in, with the provider's retries; ProviderError when the limit is reached."""
    async with contextlib.AsyncExitStack() as until_logged_in:
        keys = await _keys(given.get("privateKey"), until_logged_in)
        return await _dial_with(keys, given)


async def _keys(
    private: str | None, until_logged_in: contextlib.AsyncExitStack
) -> Sequence[asyncssh.SSHKey | asyncssh.SSHKeyPair]:
    """What is offered: the key, else all that the agent holds (1.2.1, remote/connection.go).

    An agent is dialled in both cases; Go's client offers no second list of keys after the first.
    """
    held: Sequence[asyncssh.SSHKeyPair] = ()
    if agent_path := os.environ.get("SSH_AUTH_SOCK"):
        try:
            agent = await until_logged_in.enter_async_context(asyncssh.connect_agent(agent_path))
        except OSError as error:
            raise ProviderError(f"dial unix {agent_path}: {error.strerror}") from error
        held = await agent.get_keys()
    try:
        return held if private is None else [asyncssh.import_private_key(private)]
    except asyncssh.KeyImportError as error:
        raise ProviderError(f"ssh: no key found: {error}") from error


async def _dial_with(
    keys: Sequence[asyncssh.SSHKey | asyncssh.SSHKeyPair], given: Properties
) -> asyncssh.SSHClientConnection:
    try:
        pinned = asyncssh.import_public_key(given["hostKey"])
    except asyncssh.KeyImportError as error:
        raise ProviderError(f"failed to parse host key: {error}") from error
    limit, backoff, attempts = given.get("dialErrorLimit", 10), _FIRST_BACKOFF, 0
    while True:
        try:
            return await asyncio.wait_for(
                asyncssh.connect(
                    given["host"],
                    given.get("port", 22),
                    username=given.get("user", "root"),
                    # An empty list would mean the keys of whoever runs this.
                    client_keys=keys or None,
                    known_hosts=([pinned], [], []),
                    # As the plugin asks (1.2.1, provider/pkg/provider/remote/connection.go): for
                    # the kind of key that is pinned, though the server may have others.
                    server_host_key_algs=f"^{pinned.get_algorithm()}",
                    agent_path=None,
                    config=None,
                    preferred_auth="publickey",
                ),
                given.get("perDialTimeout", 15),
            )
        except (OSError, asyncssh.Error, asyncio.TimeoutError) as error:
            attempts += 1
            if -1 < limit < attempts:
                said = _DIAL_ERRORS.get(type(error), str(error))
                place = f"dial tcp {given['host']}:{given.get('port', 22)}"
                raise ProviderError(f"after {attempts} failed attempts: {place}: {said}") from error
        await asyncio.sleep(backoff)
        backoff = min(backoff * _BACKOFF_FACTOR, _LONGEST_BACKOFF)


class _Remote(Kind):
    """What both kinds share: triggers replace, everything else updates, and nothing is undone."""

    force_new: ClassVar[frozenset[str]] = frozenset({"triggers"})
    allowed: ClassVar[tuple[str, ...]]

    def __init__(self, provider: _CommandProvider) -> None:
        self._provider = provider

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """Unknown properties, and a connection that trusts any server."""
        failures, connection = unknown_inputs(new, self.allowed), new.get("connection")
        if connection is not UNKNOWN:
            given = connection or {}
            failures += unknown_inputs(given, _CONNECTION, "connection.")
            failures += [
                (f"connection.{name}", "is needed in a rehearsal")
                for name in ("host", "hostKey")
                if given.get(name) is None
            ]
        return new, failures

    def update(self, old: State, new: Properties, timeout: float) -> Properties:
        return self.create(new, timeout)[1]

    def delete(self, old: State, timeout: float) -> None:
        """Nothing is run, and a file stays."""


class _Command(_Remote):
    computed: ClassVar[frozenset[str]] = frozenset({"stdout", "stderr"})
    recomputed: ClassVar[frozenset[str]] = frozenset({"stdout", "stderr"})
    allowed = ("connection", "create", "triggers", "stdin", "addPreviousOutputInEnv")

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """What was printed before cannot be handed on: sshd refuses such variables."""
        inputs, failures = super().check(old, new)
        if inputs.get("addPreviousOutputInEnv") is not False:
            failures.append(("addPreviousOutputInEnv", "must be false in a rehearsal"))
        return inputs, failures

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        printed = self._provider.wait(_run(inputs), timeout)
        stdout, stderr = (text.removesuffix("\n") for text in printed)
        id = f"{self.name}{secrets.token_hex(4)}"
        return id, {**inputs, "stdout": stdout, "stderr": stderr}


async def _run(given: Properties) -> tuple[str, str]:
    """Stdout and stderr of a command; of one that fails, all in ProviderError, as really."""
    command = given["create"]
    connection = await _dial(given["connection"])
    try:
        text = given.get("stdin")
        # Without a text the command reads an end of file, as with Go's client.
        stdin = {"input": text} if text else {"stdin": asyncssh.DEVNULL}
        ran = await connection.run(command, errors="replace", **stdin)
        how = f"Process exited with status {ran.exit_status}"
    except (OSError, asyncssh.Error) as error:
        raise ProviderError(f"wait: running {json.dumps(command)}: {error}") from error
    finally:
        connection.abort()
    stdout, stderr = str(ran.stdout or ""), str(ran.stderr or "")
    if ran.exit_status == 0:
        return stdout, stderr
    if ran.exit_status is None:
        how = "wait: remote command exited without exit status or exit signal"
    raise ProviderError(f"{how}: running {json.dumps(command)}:\n{stdout}{stderr}")


class _CopyToRemote(_Remote):
    allowed = ("connection", "source", "remotePath", "triggers")

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """The rehearsal copies texts only."""
        inputs, failures = super().check(old, new)
        source: Any = inputs.get("source")
        if source is not UNKNOWN and not (is_asset(source) and source.get("text") is not None):
            failures.append(("source", "must be a text asset in a rehearsal"))
        return inputs, failures

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        self._provider.wait(_copy(inputs), timeout)
        return secrets.token_hex(4), inputs


async def _copy(given: Properties) -> None:
    remote = given["remotePath"]
    connection = await _dial(given["connection"])
    try:
        async with connection.start_sftp_client() as sftp:
            await sftp.makedirs(posixpath.dirname(remote) or ".", exist_ok=True)
            async with sftp.open(remote, "wb") as file:
                await file.write(str(given["source"]["text"]).encode())
    except (OSError, asyncssh.Error) as error:
        raise ProviderError(f"failed to copy to {remote}: {error}") from error
    finally:
        connection.abort()
