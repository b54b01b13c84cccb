"""SSH for the attached providers: one event loop for all their connections.

The gRPC calls are threads; `wait` runs a coroutine in the loop for them.
"""

import asyncio
import functools
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_Answer = TypeVar("_Answer")


class Loop:
    """An event loop in a thread of its own, started with the first use."""

    @functools.cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name="providers-ssh", daemon=True).start()
        return loop

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def wait(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        """The result of `work`; its exceptions are raised here."""
        with self._lock:
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(work, loop).result()


LOOP = Loop()
"""The loop of all SSH connections of the providers."""
