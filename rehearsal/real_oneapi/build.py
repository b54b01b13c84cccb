"""Builds the real OneAPI once, into the cache folder (docs/facts/oneapi.md §9).

Go comes from PATH, else from the package index. Its SQLite is written in Go
(docs/facts/xinference-cluster.md §3), so no C compiler is needed.
"""

import hashlib
import platform
import shutil
import sys
from pathlib import Path

from tools.environment import cache_dir
from tools.go_build import build_environment, find_go, install_go
from tools.process import Say, exclusive, run

SOURCE = Path(__file__).parent / "server"
_BUILD_SECONDS = 1800.0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def binary(say: Say = _say) -> Path:
    """The program, built now if it is not there yet: one to seven minutes, once.

    Args:
        say: gets a line now and then while it is built.

    Raises:
        SetupError: no Go, modules out of reach, or a failed build; the text says which.
    """
    found = place()
    if found.exists():
        return found
    found.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(found.with_suffix(".lock"), what="OneAPI's build", say=say):
        if not found.exists():
            _build(found, say)
    return found


def place() -> Path:
    """Where the program is, once built: named after its sources, which pin every module, and
    after the machine."""
    seen = hashlib.sha256(platform.machine().encode())
    for file in sorted(path for path in SOURCE.rglob("*") if path.is_file()):
        seen.update(str(file.relative_to(SOURCE)).encode() + file.read_bytes())
    return cache_dir() / f"oneapi-{seen.hexdigest()[:16]}"


def _build(target: Path, say: Say) -> None:
    work = cache_dir() / "oneapi-build"
    copy = work / "server"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(SOURCE, copy)
    go = find_go() or install_go(work, say)
    say("Building the real OneAPI from its Go module (minutes, once)")
    run(
        [go.program, "build", "-trimpath", "-o", copy / "oneapi", "."],
        what="OneAPI's build",
        deadline=_BUILD_SECONDS,
        say=say,
        env=build_environment(go, work),
        cwd=copy,
    )
    # Renaming is atomic: nobody ever sees half a program.
    (copy / "oneapi").rename(target)
    shutil.rmtree(work, ignore_errors=True)
