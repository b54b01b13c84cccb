"""The test runner fails when anything failed, and when nothing ran."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tools import run_tests
from tools.environment import ROOT
from tools.run_tests import Part


def part(name: str, code: str, deadline: float = 60.0) -> Part:
    return Part(name, ("-c", code), deadline)


def run(monkeypatch: pytest.MonkeyPatch, *parts: Part) -> int:
    monkeypatch.setitem(run_tests.SETS, "all", parts)
    return run_tests.main([])


@pytest.mark.parametrize(("code", "said"), [(0, ""), (5, "no tests were found"), (3, "code 3")])
def test_any_failure_fails_the_run_and_the_rest_still_runs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], code: int, said: str
) -> None:
    codes = (0, code, 0)
    parts = [part(f"part {n}", f"raise SystemExit({code})") for n, code in enumerate(codes)]
    assert run(monkeypatch, *parts) == bool(code)
    output = capfd.readouterr().out
    assert output.count(" passed") == codes.count(0)
    assert said in output
    assert run(monkeypatch, part("stuck", "import time; time.sleep(600)", deadline=0.0)) == 1
    assert "not finished after 0 s" in capfd.readouterr().out


CLEANS_UP = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    os.kill(os.getppid(), signal.{sign})
    time.sleep(600)
except KeyboardInterrupt:
    pathlib.Path(sys.argv[1]).touch()
"""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_part_may_clean_up(tmp_path: Path, sign: signal.Signals) -> None:
    """Elsewhere it would leave servers of a rehearsal behind."""
    code = (
        "import signal, sys; from tools import run_tests as r; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"r.SETS['all'] = (r.Part('one', ('-c', {CLEANS_UP.format(sign=sign.name)!r}, "
        f"{str(tmp_path / 'cleaned')!r})), r.Part('two', ('-c', 'print(\"went on\")'))); "
        "sys.exit(r.main([]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 130
    assert (tmp_path / "cleaned").exists()
    assert "went on" not in answer.stdout


def test_every_room_of_the_tests_is_run_and_an_unknown_one_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rooms = {folder.name for folder in (ROOT / "tests").iterdir() if any(folder.glob("test_*.py"))}
    named = {one.arguments[-1] for one in run_tests.SETS["everything"] if "pytest" in one.arguments}
    assert named == {f"tests/{room}" for room in rooms}
    assert run_tests.main(["lnit"]) == 2
    assert "lint" in capsys.readouterr().out


def ci(
    tmp_path: Path, codes: dict[str, int], pythons: bool = False, engine: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run .ci/run with a ``make`` that ends as told; another Python and Docker where wanted."""
    cases = "".join(f"{target}) exit {code};;\n" for target, code in codes.items())
    programs = {"make": f'case "$1" in\ndocker) exit {int(not engine)};;\n{cases}esac\n'}
    if pythons:
        programs |= {f"python3.{minor}": f"echo 3.{minor}" for minor in (10, 13)}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    return subprocess.run(
        [ROOT / ".ci" / "run"], env=environment, capture_output=True, text=True, timeout=120
    )


CI_TARGETS = (
    "test",
    "test-python",
    "rehearse",
    "test-slow",
    "test-server",
    "rehearse-server",
    "faults-table",
)


@pytest.mark.parametrize("failing", ["", *CI_TARGETS])
def test_ci_fails_when_any_part_fails_and_runs_them_all(tmp_path: Path, failing: str) -> None:
    codes = {target: int(target == failing) for target in CI_TARGETS}
    answer = ci(tmp_path, codes, pythons=True)
    assert answer.returncode == int(failing != "")
    assert answer.stdout.count(" passed") == len(CI_TARGETS) - int(failing != "")
    assert ("failed (code 1)" in answer.stdout) == (failing != "")


def test_ci_says_so_where_there_is_no_docker_and_no_second_python(tmp_path: Path) -> None:
    has_one = any((Path("/usr/bin") / f"python3.{minor}").exists() for minor in (10, 13))
    codes = {"test-server": 1, "rehearse-server": 1, "test-python": int(not has_one)}
    answer = ci(tmp_path, codes, engine=False)
    assert answer.returncode == 0
    assert answer.stdout.count("not run: no Docker engine") == 2
    assert ("No second Python" in answer.stdout) is not has_one
