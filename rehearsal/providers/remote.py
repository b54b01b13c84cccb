"""SSH for the attached providers: one event loop, in a thread of its own, for all connections."""

import asyncio
import functools
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_Answer = TypeVar("_Answer")
_STARTING = threading.Lock()


def wait(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """The result of `work`, for a thread that is not the loop's; its exceptions are raised here."""
    with _STARTING:
        loop = _loop()
    return asyncio.run_coroutine_threadsafe(work, loop).result()


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="providers-ssh", daemon=True).start()
    return loop
