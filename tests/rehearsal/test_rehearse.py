"""`make rehearse` as its user runs it. Nothing cheaper shows that the whole chain holds, and that
Ctrl-C leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import until

PROJECT = Path(__file__).resolve().parents[2]
_PATIENCE = 240.0


def _start(base: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rehearsal", *arguments],
        cwd=PROJECT,
        env={**os.environ, "REHEARSAL_DIR": str(base), "COLUMNS": "160", **more},
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


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_an_end_in_the_midst_of_it_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    def has_containers() -> bool:
        """Then everything that can be left behind is there."""
        assert process.poll() is None, process.communicate()[0]
        return any("rehearsal.doubles.xinference" in command for command in _left_behind(tmp_path))

    with _start(tmp_path, STACK="dev") as process:
        until(has_containers, "a container", limit=_PATIENCE)
        process.send_signal(how)
        output, _ = process.communicate(timeout=30)
    if how is signal.SIGINT:
        assert process.returncode == 130, output
        assert json.loads((tmp_path / "report.json").read_text())["reason"] == "interrupted"
        assert _left_behind(tmp_path) == []
    until(lambda: not _left_behind(tmp_path), "everything to end", limit=30)


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


def test_what_keeps_it_from_beginning_is_said_at_once(tmp_path: Path) -> None:
    code, output = _rehearse(tmp_path, STACK="nonsense")
    assert code == 2
    assert "Pulumi.nonsense.yaml is not there: STACK may be" in output
    assert "dev" in output
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    code, output = _rehearse(in_the_way)
    assert code == 2
    assert "REHEARSAL_DIR" in output
    assert "Traceback" not in output
