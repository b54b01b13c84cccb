"""Starting processes that cannot outlive the world."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rehearsal import guard

_GUARD = guard.__file__


class Lifeline:
    """A pipe that only this process can keep open: who holds its other end sees us die."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    def close(self) -> None:
        """Let everything that hangs on it end."""
        for end in (self._writer, self.reader):
            try:
                os.close(end)
            except OSError:
                continue


def guarded(command: Sequence[str], lifeline: Lifeline) -> list[str]:
    """`command` under the guard (`guard.py`)."""
    return [sys.executable, "-I", "-S", _GUARD, str(lifeline.reader), *command]


async def spawn(
    command: Sequence[str],
    lifeline: Lifeline,
    *,
    env: Mapping[str, str],
    cwd: Path,
    **streams: Any,  # noqa: ANN401 - as asyncio takes them
) -> Process:
    """Start `command` in a session of its own. `streams`: stdin, stdout, stderr."""
    return await asyncio.create_subprocess_exec(
        *guarded(command, lifeline),
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
        pass_fds=[lifeline.reader],
        **streams,
    )


def let_go(process: Process) -> None:
    """Close our ends of its streams, even where something else still holds the other ends."""
    # asyncio has no public way to do so before the streams have ended.
    process._transport.close()  # type: ignore[attr-defined]


def end_session(process: Process) -> None:
    """Kill everything that `process` started; what is gone is no error."""
    guard.end_session(process.pid)
