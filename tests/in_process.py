"""A double behind a client without a socket: its ASGI application answers in this process."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal


class InProcess(httpx.BaseTransport):
    """A transport to `app`, which has to be `running` where it works beside its answers.

    Attributes:
        calls: (method, path) of what arrived, in order.
        down: nothing listens; no call arrives.
        override: a recorded or documented answer by path, where the application has no such state.
    """

    def __init__(self, app: Any) -> None:
        self.calls: list[tuple[str, str]] = []
        self.down = False
        self.override: dict[str, httpx.Response] = {}
        self._app = app
        self._transport = httpx.ASGITransport(app)
        self._portal: BlockingPortal | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator["InProcess"]:
        """The app's life from start to stop, in a thread of its own."""
        with start_blocking_portal() as portal:
            life = self._app.router.lifespan_context(self._app)
            with portal.wrap_async_context_manager(life):
                self._portal = portal
                yield self

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("connection refused", request=request)
        path = request.url.path
        self.calls.append((request.method, path))
        if path in self.override:
            return self.override[path]
        if self._portal is not None:
            return self._portal.call(self._answer, request)
        # A loop of its own: `asyncio.run` would take the thread's away from who comes next.
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            return loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=await answer.aread()
        )
