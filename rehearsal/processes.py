"""Starting processes that cannot outlive the world, finding them, ending them."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rehearsal import guard

PROJECT = Path(__file__).resolve().parent.parent
"""The project's folder: where `python -m rehearsal...` runs."""
_GUARD = guard.__file__


class Lifeline:
    """A pipe that only this process can keep open: who holds its other end sees us die."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    def close(self) -> None:
        """Let everything that hangs on it end."""
        for end in (self._writer, self.reader):
            with contextlib.suppress(OSError):
                os.close(end)


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


def adopt_orphans() -> None:
    """Become the parent of what our children leave behind, so that nothing can slip away."""
    set_child_subreaper = 36
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, children before grandchildren."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def end_tree(pid: int) -> None:
    """Kill `pid` and everything below it.

    Process groups do not do: the engine puts each of its plugins into a group of its own.
    """
    for process in [pid, *descendants(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def command_of(pid: int) -> str:
    """Its command line, "" if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return ""


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
