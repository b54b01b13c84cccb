"""Published ports: TCP forwarders from the server's address to the container's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rehearsal.docker.engine import EngineError

Admits = Callable[[int, str], Awaitable[bool]]
"""Whether the server's firewall lets a source address reach a port."""

_CHUNK = 64 * 1024


class PublishedPorts:
    """All published ports of one engine.

    Attributes:
        address: the server's.
        admits: asked for each connection. One that is not let in is never answered: to its sender
            the packets are lost.
    """

    def __init__(self, address: str, admits: Admits) -> None:
        self._address, self._admits = address, admits
        self._servers: dict[int, asyncio.Server] = {}
        self._owners: dict[int, str] = {}
        self._open: dict[asyncio.Task[None], str] = {}

    async def publish(self, container: str, port: int, target: str, inside: int) -> None:
        """Forward `port` of the server to `inside` of the container at `target`.

        Raises:
            EngineError: the port is taken.
        """
        if port in self._owners:
            raise EngineError(f"Bind for 0.0.0.0:{port} failed: port is already allocated")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._open[task] = container
            try:
                await self._forward(reader, writer, port, (target, inside))
            except (OSError, asyncio.CancelledError):
                writer.transport.abort()
            finally:
                self._open.pop(task, None)

        try:
            server = await asyncio.start_server(serve, self._address, port)
        except OSError as error:
            raise EngineError(
                f"failed to bind host port 0.0.0.0:{port}/tcp: address already in use"
            ) from error
        self._owners[port], self._servers[port] = container, server

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        port: int,
        target: tuple[str, int],
    ) -> None:
        source = writer.get_extra_info("peername")[0]
        if source != self._address and not await self._admits(port, source):
            await asyncio.Event().wait()
        onward_reader, onward_writer = await asyncio.open_connection(*target)
        await join(reader, writer, onward_reader, onward_writer)

    def release(self, container: str) -> None:
        """Close the container's ports and the connections through them."""
        for key in [key for key, owner in self._owners.items() if owner == container]:
            self._servers.pop(key).close()
            del self._owners[key]
        for task in [task for task, owner in self._open.items() if owner == container]:
            task.cancel()


async def join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    onward_reader: asyncio.StreamReader,
    onward_writer: asyncio.StreamWriter,
) -> None:
    """Copy both ways until both sides have ended."""
    try:
        await asyncio.gather(_copy(reader, onward_writer), _copy(onward_reader, writer))
    finally:
        writer.close()
        onward_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
