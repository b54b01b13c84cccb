"""Long commands: deadlines, stalls, last lines, no orphans, one set-up at a time."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tools import process
from tools.environment import SetupError
from tools.process import CommandFailed, Stall, exclusive, run

FOREVER = "import time; time.sleep(600)"


def python(code: str, **options: object) -> str:
    arguments: dict[str, object] = {"what": "the step", "deadline": 60.0, "say": lambda _: None}
    return run([sys.executable, "-c", code], **(arguments | options))  # type: ignore[arg-type]


def test_output_of_both_streams_is_returned_and_no_input_offered() -> None:
    output = python("import sys; print(sys.stdin.read(), flush=True); print(1, file=sys.stderr)")
    assert output.split() == ["1"]


def test_what_fails_does_not_start_or_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        CommandFailed, match=r"the step: ended with code 3(?s:.*)line 39"
    ) as failure:
        python("print('first'); [print('line', n) for n in range(40)]; raise SystemExit(3)")
    assert "first" not in str(failure.value)
    with pytest.raises(CommandFailed, match="the step: /nowhere/pip does not start"):
        run(["/nowhere/pip"], what="the step", deadline=60, say=lambda _: None)
    with pytest.raises(CommandFailed, match="nothing moved for 0 s"):
        python(FOREVER, stall=Stall(lambda: 7, 0.0))
    monkeypatch.setattr(process, "_SIGN_OF_LIFE_SECONDS", 0.0)
    said: list[str] = []
    with pytest.raises(CommandFailed, match="the step: not finished after 1 s"):
        python(FOREVER, deadline=1.0, say=said.append)
    assert said[0].startswith("... the step: ")


def test_grandchildren_are_ended_too(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys, pathlib, os\n"
        f"child = subprocess.Popen([sys.executable, '-c', {FOREVER!r}])\n"
        f"pathlib.Path({str(pid_file)!r} + '.new').write_text(str(child.pid))\n"
        f"os.replace({str(pid_file)!r} + '.new', {str(pid_file)!r})\n"
        "child.wait()\n"
    )
    # It counts as stuck only once the grandchild is there.
    ticks = iter(range(10_000))
    with pytest.raises(CommandFailed, match="nothing moved"):
        python(code, stall=Stall(lambda: -2 if pid_file.exists() else next(ticks), 0.0))

    # A signal was sent; a busy machine takes a moment to carry it out.
    limit = time.monotonic() + 30
    while (state := state_of(int(pid_file.read_text()))) not in ("", "Z"):
        assert time.monotonic() < limit, f"the grandchild still is in state {state}"
        time.sleep(0.01)


def state_of(pid: int) -> str:
    """The letter of a process's state, "" when it is gone; Z waits only for its new parent."""
    told = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip()[:1]


def test_second_one_waits_for_the_first_names_it_and_shows_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_SIGN_OF_LIFE_SECONDS", 0.0)
    lock = tmp_path / "cache" / "a.lock"
    said: list[str] = []
    waiting, order = threading.Event(), []

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 3:
            waiting.set()

    def second() -> None:
        with exclusive(lock, what="the cache", say=say):
            order.append("second")

    with exclusive(lock, what="the cache", say=lambda _: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(60)
        order.append("first")
    thread.join(60)

    assert order == ["first", "second"]
    assert all(f"process {os.getpid()}) that works on the cache" in line for line in said)


def test_a_lock_that_is_held_too_long_or_cannot_be_made_is_told(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    with (
        exclusive(lock, what="the cache", say=lambda _: None),
        pytest.raises(SetupError, match="waited 0 s for another set-up"),
        exclusive(lock, what="the cache", say=lambda _: None, deadline=0.0),
    ):
        pytest.fail("two at once")
    with (
        pytest.raises(SetupError, match="AI_LAB_CACHE"),
        exclusive(lock / "a.lock", what="x", say=lambda _: None),
    ):
        pytest.fail("locked in a file")
