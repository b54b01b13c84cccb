"""The stage's Docker, as its provider reaches it: through the server's sshd, with our key only."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Sequence
from typing import Any

import asyncssh

from rehearsal.docker.engine import EngineError, Json, Unreachable
from rehearsal.providers.remote import LOOP

DIAL = "docker system dial-stdio"
"""The command by which Docker's SSH helper talks to an engine."""

_REUSED_FOR_SECONDS = 3.0


class StageEngine:
    """`rehearsal.docker.records.Records` of the server at `ssh://user@address:port`.

    Of the options of `ssh` it follows the key file (`-i`), the host key (`KnownHostsCommand`) and
    `ConnectTimeout`; the real ones are tried on a real server. A connection is kept for moments
    only, because what changed meanwhile (firewall, keys) must show.
    """

    def __init__(self, host: str, options: Sequence[str]) -> None:
        self._host, self._options = host, " ".join(options)
        self._idle: list[tuple[float, asyncssh.SSHClientConnection, Any]] = []

    def _call(self, operation: str, **arguments: Any) -> Any:  # noqa: ANN401 - JSON both ways
        answer = LOOP.wait(self._ask(json.dumps([operation, arguments])))
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
        user, address, port = self._address()
        connection = await asyncio.wait_for(
            asyncssh.connect(
                address,
                port,
                username=user,
                client_keys=[self._option(r"-i (\S+)")],
                known_hosts=([self._host_key()], [], []),
                agent_path=None,
                config=None,
            ),
            float(self._option(r"ConnectTimeout=(\d+)", "30")),
        )
        return connection, await connection.create_process(DIAL)

    def _address(self) -> tuple[str, str, int]:
        match = re.fullmatch(r"ssh://([^@/]+)@([^:/]+)(?::(\d+))?/?", self._host)
        if match is None:
            raise Unreachable(f"the rehearsal reaches Docker by ssh:// only, not by {self._host!r}")
        return match[1], match[2], int(match[3] or 22)

    def _host_key(self) -> asyncssh.SSHKey:
        return asyncssh.import_public_key(self._option(r"KnownHostsCommand=\S+ \* (\S+ \S+)"))

    def _option(self, form: str, default: str = "") -> str:
        match = re.search(form, self._options)
        if match is None and not default:
            raise Unreachable(f"among the options of ssh there must be one like {form!r}")
        return match[1] if match else default

    def create_container(self, name: str, config: Json) -> str:
        """See `Engine`, as for all that follow."""
        return str(self._call("create_container", name=name, config=config))

    def connect_network(self, network: str, container: str, aliases: list[str]) -> None:
        """See `Engine`."""
        self._call("connect_network", network=network, container=container, aliases=aliases)

    def disconnect_network(self, network: str, container: str) -> None:
        """See `Engine`."""
        self._call("disconnect_network", network=network, container=container)

    def put_file(self, container: str, path: str, content: bytes, mode: int) -> None:
        """See `Engine`."""
        text = base64.b64encode(content).decode()
        self._call("put_file", container=container, path=path, content=text, mode=mode)

    def start_container(self, container: str) -> None:
        """See `Engine`."""
        self._call("start_container", container=container)

    def stop_container(self, container: str, seconds: int) -> None:
        """See `Engine`."""
        self._call("stop_container", container=container, seconds=seconds)

    def remove_container(self, container: str, volumes: bool) -> None:
        """See `Engine`."""
        self._call("remove_container", container=container, volumes=volumes)

    def update_container(self, container: str, config: Json) -> None:
        """See `Engine`."""
        self._call("update_container", container=container, config=config)

    def inspect_container(self, container: str) -> Json:
        """See `Engine`."""
        return dict(self._call("inspect_container", container=container))

    def create_network(self, config: Json) -> str:
        """See `Engine`."""
        return str(self._call("create_network", config=config))

    def inspect_network(self, network: str) -> Json:
        """See `Engine`."""
        return dict(self._call("inspect_network", network=network))

    def remove_network(self, network: str) -> None:
        """See `Engine`."""
        self._call("remove_network", network=network)

    def create_volume(self, config: Json) -> Json:
        """See `Engine`."""
        return dict(self._call("create_volume", config=config))

    def inspect_volume(self, volume: str) -> Json:
        """See `Engine`."""
        return dict(self._call("inspect_volume", volume=volume))

    def remove_volume(self, volume: str) -> None:
        """See `Engine`."""
        self._call("remove_volume", volume=volume)

    def pull_image(self, reference: str) -> None:
        """See `Engine`."""
        self._call("pull_image", reference=reference)

    def inspect_image(self, reference: str) -> Json:
        """See `Engine`."""
        return dict(self._call("inspect_image", reference=reference))

    def remove_image(self, reference: str, force: bool) -> None:
        """See `Engine`."""
        self._call("remove_image", reference=reference, force=force)
