"""Finding and ending what a process has started, so that nothing outlives a rehearsal."""

import contextlib
import ctypes
import os
import signal
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
"""The project's folder: where `python -m rehearsal...` runs."""


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
