"""Run the set-up's long commands: with a deadline, signs of life, and no orphan left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools.environment import SetupError

Say = Callable[[str], None]

_GRACE_SECONDS = 10.0
_SIGN_OF_LIFE_SECONDS = 20.0
_LINES_SHOWN = 20


class CommandFailed(SetupError):
    """A command ended with an error, or was ended by us. Carries the last lines it printed."""


@dataclass(frozen=True)
class Stall:
    """Ends a command that has stopped moving: ``measure()`` unchanged for ``seconds``."""

    measure: Callable[[], int]
    seconds: float


def run(
    command: Sequence[str | Path],
    *,
    what: str,
    deadline: float,
    say: Say,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stall: Stall | None = None,
) -> str:
    """Run ``command`` to its end and return what it printed (both streams).

    Args:
        what: names the step in messages ("the Pulumi CLI's build").
        deadline: seconds the command may take.
        say: gets a line now and then while the command runs.
        stall: a second, shorter limit for commands that move bytes.

    Raises:
        CommandFailed: it could not start, failed, stalled or took too long.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = _start(command, what, log, env, cwd)
        try:
            problem = _watch(process, what, deadline, say, stall)
        finally:
            end_group(process)
        log.seek(0)
        output = log.read()
    if problem is None and process.returncode == 0:
        return output
    reason = problem or f"ended with code {process.returncode}"
    last = "\n".join(output.strip().splitlines()[-_LINES_SHOWN:]) or "(it printed nothing)"
    raise CommandFailed(f"{what}: {reason}. Its last lines:\n{last}")


def _start(
    command: Sequence[str | Path],
    what: str,
    log: IO[str],
    env: Mapping[str, str] | None,
    cwd: Path | None,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(f"{what}: {command[0]} does not start: {error}") from error


def _watch(
    process: subprocess.Popen[bytes], what: str, deadline: float, say: Say, stall: Stall | None
) -> str | None:
    """Wait for the end; return why the command has to be ended early, or None."""
    started = spoken = moved = time.monotonic()
    measured = -1
    while True:
        try:
            process.wait(timeout=0.5)
            return None
        except subprocess.TimeoutExpired:
            now = time.monotonic()
        if now - started > deadline:
            return f"not finished after {deadline:.0f} s"
        if stall is not None:
            current = stall.measure()
            if current != measured:
                measured, moved = current, now
            elif now - moved > stall.seconds:
                return f"nothing moved for {stall.seconds:.0f} s"
        if now - spoken > _SIGN_OF_LIFE_SECONDS:
            spoken = now
            say(f"... {what}: {now - started:.0f} s so far")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process started with ``start_new_session`` and all its children."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except (ProcessLookupError, PermissionError):
            break
        try:
            process.wait(timeout=_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def folder_size(folder: Path) -> int:
    """Bytes of all files below ``folder``; files that vanish meanwhile count nothing."""
    return sum(_size(file) for file in folder.rglob("*"))


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:
        return 0


@contextmanager
def exclusive(lock: Path, *, what: str, say: Say, deadline: float = 3600.0) -> Iterator[None]:
    """Hold a lock file: one set-up at a time. Others wait, and say every so often for whom.

    The lock goes with the process, so nothing has to be cleaned up after a crash.

    Raises:
        SetupError: the folder cannot be written, or the other one took too long.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a+")
    except OSError as error:
        raise SetupError(
            f"the cache folder cannot be written: {error}\n"
            "Choose another with the variable AI_LAB_CACHE."
        ) from error
    with file:
        _wait_for(file, f"works on {what}", say, deadline)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def _wait_for(lock: IO[str], works: str, say: Say, deadline: float) -> None:
    import fcntl  # POSIX only, like the lab's tools

    started = time.monotonic()
    spoken = -_SIGN_OF_LIFE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            waited = time.monotonic() - started
        lock.seek(0)
        holder = f"another set-up (process {lock.read().strip() or 'unknown'})"
        if waited > deadline:
            raise SetupError(
                f"waited {deadline:.0f} s for {holder}, which {works} ({lock.name}). "
                "End it and try again."
            )
        if waited - spoken >= _SIGN_OF_LIFE_SECONDS:
            spoken = waited
            say(f"Waiting for {holder} that {works}: {waited:.0f} s so far")
        time.sleep(0.3)
