"""The stage's Docker, as its provider reaches it: through the server's sshd, with our key only."""

import asyncio
import base64
import functools
import json
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import asyncssh

from rehearsal.docker.engine import Engine, EngineError, Json, Unreachable
from rehearsal.providers import remote

DIAL = "docker system dial-stdio"
"""The command by which Docker's SSH helper talks to an engine."""

_REUSED_FOR_SECONDS = 3.0


def stage_engine(host: str, options: Sequence[str]) -> Engine:
    """The engine of the server at `ssh://user@address:port`; dials at the first use."""
    return cast("Engine", _Proxy(host, options))


class _Proxy:
    """Hands every call of `Engine` on to `rehearsal.docker.records.Records`.

    Of the options of `ssh` it follows the key file (`-i`), the host key (`KnownHostsCommand`) and
    `ConnectTimeout`; the real ones are tried on a real server. A connection is kept for moments
    only, because what changed meanwhile (firewall, keys) must show.
    """

    def __init__(self, host: str, options: Sequence[str]) -> None:
        self._host, self._options = host, " ".join(options)
        self._idle: list[tuple[float, asyncssh.SSHClientConnection, Any]] = []

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return functools.partial(self._call, operation)

    def _call(self, operation: str, *arguments: Any) -> Any:  # noqa: ANN401 - JSON both ways
        answer = remote.wait(self._ask(json.dumps([operation, arguments], default=_text)))
        if "error" in answer:
            raise EngineError(answer["error"], answer["status"])
        return answer["answer"]

    async def _ask(self, request: str) -> Json:
        try:
            connection, process = await self._dialled()
            process.stdin.write(f"{request}\n")
            line = await process.stdout.readline()
        except (asyncssh.Error, OSError, asyncio.TimeoutError) as error:
            raise self._unreachable(f"{type(error).__name__}: {error}") from error
        if not line:
            connection.abort()
            raise self._unreachable("Connection closed by remote host.")
        self._idle.append((time.monotonic(), connection, process))
        answer: Json = json.loads(line)
        return answer

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(f"error during connect: {DIAL} on {self._host}: {why}")

    async def _dialled(self) -> tuple[asyncssh.SSHClientConnection, Any]:
        while self._idle:
            since, connection, process = self._idle.pop()
            if time.monotonic() - since < _REUSED_FOR_SECONDS and not process.is_closing():
                return connection, process
            connection.abort()
        user, address, port = _found(r"ssh://([^@/]+)@([^:/]+):(\d+)", self._host)
        (key_file,) = _found(r"-i (.+?) -o ", self._options)
        (host_key,) = _found(r"KnownHostsCommand=\S+ \* (\S+ \S+)", self._options)
        (limit,) = _found(r"ConnectTimeout=(\d+)", self._options)
        connection = await asyncio.wait_for(
            asyncssh.connect(
                address,
                int(port),
                username=user,
                client_keys=[key_file],
                known_hosts=([asyncssh.import_public_key(host_key)], [], []),
                agent_path=None,
                config=None,
            ),
            float(limit),
        )
        return connection, await connection.create_process(DIAL)


def _found(form: str, text: str) -> tuple[str, ...]:
    match = re.search(form, text)
    if match is None:
        raise Unreachable(f"the rehearsal needs {form!r} in {text!r}")
    return match.groups()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
