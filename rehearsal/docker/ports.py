"""Published ports: TCP forwarders from the server's address to the container's, or to its sshd."""

import asyncio
from collections.abc import Awaitable, Callable

from rehearsal.docker.engine import EngineError

Admits = Callable[[int, str], Awaitable[bool]]
"""Whether the server's firewall lets a source address reach a port."""

_CHUNK = 64 * 1024


class PublishedPorts:
    """All published ports of the server at `address`.

    `admits` is asked for each connection. One that is not let in is never answered: to its sender
    the packets are lost.
    """

    def __init__(self, address: str, admits: Admits) -> None:
        self._address, self._admits = address, admits
        self._servers: list[tuple[str, asyncio.Server]] = []
        self._open: dict[asyncio.Task[None], str] = {}

    async def publish(self, owner: str, port: int, target: str, inside: int) -> None:
        """Forward `port` of the server to `inside` of `target`; EngineError if it is taken."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._open[task] = owner
            source = writer.get_extra_info("peername")[0]
            try:
                if source != self._address and not await self._admits(port, source):
                    await asyncio.Event().wait()
                await pass_on(reader, writer, target, inside)
            except (OSError, asyncio.CancelledError):
                writer.transport.abort()
            finally:
                self._open.pop(task, None)

        try:
            server = await asyncio.start_server(serve, self._address, port)
        except OSError as error:
            taken = f"Bind for 0.0.0.0:{port} failed: port is already allocated"
            raise EngineError(taken) from error
        self._servers.append((owner, server))

    def release(self, owner: str) -> None:
        for each, server in self._servers:
            if each == owner:
                server.close()
        self._servers = [(each, server) for each, server in self._servers if each != owner]
        for task in [task for task, each in self._open.items() if each == owner]:
            task.cancel()


async def pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
) -> None:
    """Carry a connection on to `port` of `host`, both ways, to its end. Raises OSError: nobody
    listens there."""
    onward_reader, onward = await asyncio.open_connection(host, port)
    try:
        await asyncio.gather(_copy(reader, onward), _copy(onward_reader, writer))
    finally:
        writer.close()
        onward.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
