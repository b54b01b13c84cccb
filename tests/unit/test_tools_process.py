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


def test_output_of_both_streams_is_returned() -> None:
    output = python("import sys; print('out', flush=True); print('err', file=sys.stderr)")
    assert output.split() == ["out", "err"]


def test_failure_carries_step_code_and_last_lines() -> None:
    with pytest.raises(CommandFailed) as failure:
        python("print('first'); [print('line', n) for n in range(40)]; raise SystemExit(3)")

    message = str(failure.value)
    assert "the step: ended with code 3" in message
    assert "line 39" in message
    assert "first" not in message


def test_missing_program_is_a_clear_error() -> None:
    with pytest.raises(CommandFailed, match="the step: /nowhere/pip does not start"):
        run(["/nowhere/pip"], what="the step", deadline=60, say=lambda _: None)


def test_no_input_is_offered() -> None:
    assert python("import sys; print(repr(sys.stdin.read()))").strip() == "''"


def test_deadline_ends_the_command() -> None:
    with pytest.raises(CommandFailed, match="the step: not finished after 0 s"):
        python(FOREVER, deadline=0.0)


def test_command_that_stops_moving_is_ended() -> None:
    with pytest.raises(CommandFailed, match="nothing moved for 0 s"):
        python(FOREVER, stall=Stall(lambda: 7, 0.0))


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


def test_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_SIGN_OF_LIFE_SECONDS", 0.0)
    said: list[str] = []

    with pytest.raises(CommandFailed):
        python(FOREVER, deadline=1.0, say=said.append)

    assert said
    assert said[0].startswith("... the step: ")


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


def test_waiting_has_an_end(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    with (
        exclusive(lock, what="the cache", say=lambda _: None),
        pytest.raises(SetupError, match="waited 0 s for another set-up"),
        exclusive(lock, what="the cache", say=lambda _: None, deadline=0.0),
    ):
        pytest.fail("two at once")


def test_cache_folder_that_cannot_be_made_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(SetupError, match="AI_LAB_CACHE"),
        exclusive(tmp_path / "file" / "a.lock", what="x", say=lambda _: None),
    ):
        pytest.fail("locked in a file")
