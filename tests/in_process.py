"""A double behind a client without a socket: its ASGI application answers in this process."""

import asyncio
import contextlib
from typing import Any

import httpx


class InProcess(httpx.BaseTransport):
    """A transport to `app`.

    Attributes:
        calls: (method, path) of what arrived, in order.
        down: nothing listens; no call arrives.
        override: a recorded or documented answer by path, where the application has no such state.
    """

    def __init__(self, app: Any) -> None:
        self.calls: list[tuple[str, str]] = []
        self.down = False
        self.override: dict[str, httpx.Response] = {}
        self._transport = httpx.ASGITransport(app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("connection refused", request=request)
        path = request.url.path
        self.calls.append((request.method, path))
        if path in self.override:
            return self.override[path]
        # A loop of its own: `asyncio.run` would take the thread's away from who comes next.
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            return loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=await answer.aread()
        )
