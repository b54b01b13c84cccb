"""``make test``: every check of this project, with the time each part took.

All parts run even after a failure, so that one run shows everything that is wrong.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tools.environment import ROOT
from tools.process import end_group

NO_TESTS = 5
"""pytest's exit code when it collected nothing. Here it is a failure: nothing was tested."""

_CLEAN_UP_SECONDS = 60.0


@dataclass(frozen=True)
class Part:
    """One check: its command (after the interpreter) and how many seconds it may take."""

    name: str
    arguments: tuple[str, ...]
    deadline: float = 1800.0


def in_room(room: str, deadline: float = 1800.0, slow: bool = False) -> Part:
    """pytest over one room of ``tests/``."""
    arguments = _pytest("slow" if slow else "not slow", room)
    return Part(f"{'slow ' if slow else ''}{room} tests", arguments, deadline)


def faults(*tiers: str) -> tuple[Part, ...]:
    """The tests of faults (``tests/faults.py``) in these tiers, slow or not, and their table."""
    parts = (Part(f"{tier} faults", _pytest("fault", *_ROOMS[tier]), 3600.0) for tier in tiers)
    whole = "all" if len(tiers) > 1 else tiers[0]
    return (*parts, Part("table", ("-m", "tests.faults", whole)))


def _pytest(marked: str, *rooms: str) -> tuple[str, ...]:
    """A file's tests share what they set up: one worker."""
    workers = ("-n", "2", "--dist", "loadfile", "--durations", "5")
    # A first run builds the real OneAPI in a fixture, minutes beside another worker.
    patience = ("--timeout", "1200")
    folders = (f"tests/{room}" for room in rooms)
    return ("-m", "pytest", "-q", "-m", marked, *workers, *patience, *folders)


_ROOMS = {"stage": ("unit", "contract", "rehearsal"), "server": ("server",)}
_FAULTS_LOG = "FAULTS_LOG"
LINT = (
    Part("lint", ("-m", "ruff", "check", ".")),
    Part("format", ("-m", "ruff", "format", "--check", ".")),
    Part("types", ("-m", "mypy")),
)
ALL = (*LINT, in_room("unit"), in_room("contract"), in_room("rehearsal", 3600.0))
SLOW = (in_room("rehearsal", 3600.0, slow=True),)
SERVER = (in_room("server", 3600.0),)
SETS = {
    "lint": LINT,
    "unit": (in_room("unit"),),
    "slow": SLOW,
    "server": SERVER,
    "all": ALL,
    "everything": (*ALL, *SLOW, *SERVER),
    "faults-stage": faults("stage"),
    "faults-server": faults("server"),
    "faults-all": faults("stage", "server"),
}


def run(part: Part) -> str | None:
    """Run one part. Returns what is wrong, None when it passed."""
    print(f"\n== {part.name} ==", flush=True)
    process = subprocess.Popen(
        [sys.executable, *part.arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = process.wait(timeout=part.deadline)
    except subprocess.TimeoutExpired:
        return f"not finished after {part.deadline:.0f} s, ended"
    finally:
        _end(process)
    if code == NO_TESTS:
        return "no tests were found"
    return f"failed (code {code})" if code else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a part that still runs to end, as Ctrl-C would, then see to it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_CLEAN_UP_SECONDS)
    end_group(process)


def main(arguments: Sequence[str]) -> int:
    """Run the set of checks that the argument names (``all`` by default). Returns the exit code."""
    chosen = arguments[0] if arguments else "all"
    if chosen not in SETS:
        print(f"there is no set of checks {chosen!r}; there are {', '.join(SETS)}")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lines, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        if chosen.startswith("faults"):
            os.environ.setdefault(_FAULTS_LOG, f"{folder}/faults.jsonl")
        try:
            for part in SETS[chosen]:
                started = time.monotonic()
                problem = run(part)
                failed = failed or problem is not None
                seconds = time.monotonic() - started
                lines.append(f"{part.name:<15}  {seconds:7.1f} s  {problem or 'passed'}")
        except KeyboardInterrupt:
            print("\nStopped.", file=sys.stderr)
            return 130
    print("\nTime of each part:", *lines, sep="\n", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
