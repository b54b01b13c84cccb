"""The test runner fails when anything failed, and when nothing ran."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import run_tests
from tools.environment import ROOT
from tools.run_tests import Part


def part(name: str, code: str, deadline: float = 60.0) -> Part:
    return Part(name, ("-c", code), deadline)


@pytest.mark.parametrize(
    ("code", "problem"),
    [(0, None), (1, "failed (code 1)"), (5, "no tests were found"), (-9, "failed (code -9)")],
)
def test_exit_codes(code: int, problem: str | None) -> None:
    assert run_tests.problem_of(code) == problem


def run(monkeypatch: pytest.MonkeyPatch, *stages: tuple[Part, ...]) -> int:
    monkeypatch.setitem(run_tests.STAGES, "all", stages)
    return run_tests.main([])


def test_all_passed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    code = run(monkeypatch, (part("one", "print('hello')"), part("two", "print('there')")))

    output = capfd.readouterr().out
    assert code == 0
    assert output.index("hello") < output.index("== two ==") < output.index("there")
    assert output.count("passed") == 2


@pytest.mark.parametrize("place", [0, 1, 2])
def test_any_failure_fails_the_run_and_the_rest_still_runs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], place: int
) -> None:
    codes = [5 if n == place else 0 for n in range(3)]
    parts = [part(f"part {n}", f"raise SystemExit({code})") for n, code in enumerate(codes)]

    code = run(monkeypatch, (parts[0], parts[1]), (parts[2],))

    output = capfd.readouterr().out
    assert code == 1
    assert output.count(" passed") == 2
    assert "no tests were found" in output


def test_part_that_hangs_is_ended(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run(monkeypatch, (part("stuck", "import time; time.sleep(600)", deadline=0.0),))

    assert code == 1
    assert "not finished after 0 s" in capfd.readouterr().out


def test_unknown_set_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tests.main(["lnit"]) == 2
    assert "lint" in capsys.readouterr().out


def test_unit_tests_come_first_and_every_room_is_run() -> None:
    stages = run_tests.STAGES["all"]
    names = [[one.name for one in parts] for parts in stages]
    assert names[0][0] == "unit tests"
    assert names[1:] == [["contract tests"], ["rehearsal tests"]]


@pytest.mark.parametrize(
    ("codes", "expected"), [((0, 0), 0), ((1, 0), 1), ((0, 1), 1), ((1, 1), 1)]
)
def test_ci_fails_when_either_part_fails_and_runs_both(
    tmp_path: Path, codes: tuple[int, int], expected: int
) -> None:
    make = tmp_path / "make"
    make.write_text(
        f'#!/bin/sh\n[ "$1" = test ] && exit {codes[0]}\n[ "$1" = rehearse ] && exit {codes[1]}\n'
    )
    make.chmod(0o755)

    answer = subprocess.run(
        [ROOT / ".ci" / "run"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )

    assert answer.returncode == expected
    assert "make test " in answer.stdout
    assert "make rehearse " in answer.stdout
    assert answer.stdout.count(" passed") == codes.count(0)
