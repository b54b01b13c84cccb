"""``make test``: every check of this project, with the time each part took.

Formatting, types and unit tests run side by side, then contract tests, then the rehearsal's. All
parts run even after a failure, so that one run shows everything that is wrong.
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
from typing import IO

from tools.environment import ROOT, venv_python
from tools.process import end_group

NO_TESTS = 5
"""pytest's exit code when it collected nothing. Here it is a failure: nothing was tested."""


@dataclass(frozen=True)
class Part:
    """One check: its command (after the interpreter) and how many seconds it may take."""

    name: str
    arguments: tuple[str, ...]
    deadline: float = 1200.0


@dataclass(frozen=True)
class Outcome:
    """How a part ended. ``problem`` is None when it passed."""

    name: str
    seconds: float
    problem: str | None


def tests_of(room: str, deadline: float) -> Part:
    """pytest over one room of ``tests/``."""
    return Part(f"{room} tests", ("-m", "pytest", "-q", f"tests/{room}"), deadline)


LINT = Part("lint", ("-m", "ruff", "check", "."))
FORMAT = Part("format", ("-m", "ruff", "format", "--check", "."))
TYPES = Part("types", ("-m", "mypy"))

STAGES: dict[str, tuple[tuple[Part, ...], ...]] = {
    "all": (
        (tests_of("unit", 1200.0), LINT, FORMAT, TYPES),
        (tests_of("contract", 1200.0),),
        (tests_of("rehearsal", 3000.0),),
    ),
    "lint": ((LINT, FORMAT, TYPES),),
}
"""What runs: the stages one after another, the parts of a stage side by side."""


class Running:
    """A started part. The first of a stage writes to the terminal, the others into a file."""

    def __init__(self, part: Part, *, live: bool) -> None:
        self._part = part
        self._started = time.monotonic()
        self._output: IO[bytes] | None = None if live else tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(venv_python()), *part.arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT if self._output else None,
            start_new_session=True,
        )

    def poll(self) -> Outcome | None:
        """The outcome once it has ended or its time is up."""
        seconds = time.monotonic() - self._started
        code = self._process.poll()
        if code is not None:
            return Outcome(self._part.name, seconds, problem_of(code))
        if seconds > self._part.deadline:
            self.end()
            problem = f"not finished after {self._part.deadline:.0f} s, ended"
            return Outcome(self._part.name, seconds, problem)
        return None

    def show(self) -> None:
        """Print what went into the file, and close it."""
        if self._output is None:
            return
        with self._output as output:
            output.seek(0)
            text = output.read().decode(errors="replace")
        print(f"\n== {self._part.name} ==\n{text}", flush=True)

    def end(self) -> None:
        """Ask the part to end, as Ctrl-C would, then see to it."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=30)
        end_group(self._process)


def problem_of(code: int) -> str | None:
    """What an exit code means; None for success."""
    if code == 0:
        return None
    if code == NO_TESTS:
        return "no tests were found"
    return f"failed (code {code})"


def run_stage(parts: Sequence[Part]) -> list[Outcome]:
    """Run the parts side by side and show their output in the given order."""
    print(f"\n== {parts[0].name} ==", flush=True)
    running = [Running(part, live=place == 0) for place, part in enumerate(parts)]
    outcomes: dict[int, Outcome] = {}
    try:
        while len(outcomes) < len(running):
            for place, one in enumerate(running):
                if place not in outcomes and (outcome := one.poll()) is not None:
                    outcomes[place] = outcome
            time.sleep(0.1)
    finally:
        for one in running:
            one.end()
    for one in running:
        one.show()
    return [outcomes[place] for place in range(len(running))]


def summary(outcomes: Sequence[Outcome]) -> str:
    """A line per part: name, seconds, verdict."""
    width = max(len(outcome.name) for outcome in outcomes)
    lines = [
        f"{outcome.name:<{width}}  {outcome.seconds:7.1f} s  {outcome.problem or 'passed'}"
        for outcome in outcomes
    ]
    return "\n".join(["", "Time of each part:", *lines])


def main(arguments: Sequence[str]) -> int:
    """Run the stages named by the argument (``all`` by default). Returns the exit code."""
    chosen = arguments[0] if arguments else "all"
    if chosen not in STAGES:
        print(f"there is no set of checks {chosen!r}; there are {', '.join(STAGES)}")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes: list[Outcome] = []
    try:
        for parts in STAGES[chosen]:
            outcomes += run_stage(parts)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    print(summary(outcomes), flush=True)
    return int(any(outcome.problem for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
