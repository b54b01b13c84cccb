"""SSH for the attached providers: one event loop for all their connections.

The gRPC calls are threads; `wait` runs a coroutine in the loop for them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import asyncssh

_Answer = TypeVar("_Answer")


class Loop:
    """An event loop in a thread of its own, started with the first use."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def wait(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        """The result of `work`; its exceptions are raised here."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="providers-ssh", daemon=True
                ).start()
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(work, loop).result()


LOOP = Loop()
"""The loop of all SSH connections of the providers."""


def private_key(text: str) -> asyncssh.SSHKey:
    """A private key from its text.

    Raises:
        ValueError: it cannot be read; the text says why, and holds nothing of the key.
    """
    try:
        return asyncssh.import_private_key(text)
    except asyncssh.KeyEncryptionError as error:
        raise ValueError("ssh: this private key is passphrase protected") from error
    except asyncssh.KeyImportError as error:
        raise ValueError("ssh: no key found") from error
