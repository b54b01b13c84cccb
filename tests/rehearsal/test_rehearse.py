"""`make rehearse` as its user runs it. Nothing cheaper shows that the whole chain holds, and that
Ctrl-C leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
_PATIENCE = 240.0


def _environment(base: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "REHEARSAL_DIR": str(base), "COLUMNS": "160", **more}


def _start(base: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rehearsal", *arguments],
        cwd=PROJECT,
        env=_environment(base, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _rehearse(base: Path, *arguments: str, **more: str) -> tuple[int, str]:
    with _start(base, *arguments, **more) as process:
        try:
            output, _ = process.communicate(timeout=_PATIENCE)
        finally:
            process.kill()
        return process.returncode, output


def _report(base: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((base / "report.json").read_text())
    return found


def _left_behind(base: Path) -> list[str]:
    """Command lines of processes that have to do with a rehearsal under `base`."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (place / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if command and (str(base) in command or str(base) in environment):
            found.append(command[:200])
    return found


def test_an_interrupt_ends_everything(tmp_path: Path) -> None:
    with _start(tmp_path, STACK="dev") as process:
        _wait_for_containers(tmp_path, process)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert _report(tmp_path)["reason"] == "interrupted"
    assert _left_behind(tmp_path) == []


def test_even_a_killed_rehearsal_leaves_nothing(tmp_path: Path) -> None:
    with _start(tmp_path, STACK="dev") as process:
        _wait_for_containers(tmp_path, process)
        process.kill()
    deadline = time.monotonic() + 30
    while left := _left_behind(tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.slow
def test_a_lab_that_is_kept_stands_until_it_is_stopped(tmp_path: Path) -> None:
    code, output = _rehearse(tmp_path, STACK="dev", KEEP="1")
    assert code == 0, output
    current = json.loads((tmp_path / "current.json").read_text())
    assert (tmp_path / "current.json").stat().st_mode & 0o077 == 0
    assert current["addresses"]["fastgptUrl"].startswith("http://127.")
    assert "Passwords" in output
    assert _left_behind(tmp_path)
    assert _rehearse(tmp_path, "stop")[0] == 0
    assert _left_behind(tmp_path) == []


def test_a_stack_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    code, output = _rehearse(tmp_path, STACK="nonsense")
    assert code == 2
    assert "Pulumi.nonsense.yaml is not there; STACK may be" in output
    assert "dev" in output


def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    code, output = _rehearse(in_the_way)
    assert code == 2
    assert "REHEARSAL_DIR" in output
    assert "Traceback" not in output


def _wait_for_containers(base: Path, process: subprocess.Popen[str]) -> None:
    """Until containers run: then everything that can be left behind is there."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        if any("rehearsal.doubles.xinference" in command for command in _left_behind(base)):
            return
        time.sleep(0.1)
    raise AssertionError(f"no container within {_PATIENCE} s")
