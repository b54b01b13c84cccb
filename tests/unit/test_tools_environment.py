"""Where the set-up's results are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import environment
from tools.environment import NotSetUp, cache_dir, pulumi_bin_dir, pulumi_environment


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"AI_LAB_CACHE": "/a", "XDG_CACHE_HOME": "/x"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/x"}, Path("/x/ai-lab")),
        ({"AI_LAB_CACHE": "", "XDG_CACHE_HOME": ""}, Path.home() / ".cache" / "ai-lab"),
    ],
)
def test_cache_folder(environ: dict[str, str], expected: Path) -> None:
    assert cache_dir(environ) == expected


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A checkout's environment whose set-up found a CLI."""
    bin_dir = tmp_path / "cli"
    bin_dir.mkdir()
    (bin_dir / "pulumi").touch()
    venv = tmp_path / ".venv"
    venv.mkdir()
    environment.write_record({"pulumi": {"bin_dir": str(bin_dir)}}, venv)
    return venv


def test_recorded_cli_is_found(venv: Path) -> None:
    assert pulumi_bin_dir(venv) == venv.parent / "cli"


def test_record_leaves_no_temporary_file(venv: Path) -> None:
    assert [file.name for file in venv.iterdir()] == ["lab-env.json"]


def test_without_a_set_up(tmp_path: Path) -> None:
    with pytest.raises(NotSetUp, match="make setup"):
        pulumi_bin_dir(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pulumi": null}'])
def test_damaged_record(venv: Path, content: str) -> None:
    (venv / "lab-env.json").write_text(content)
    with pytest.raises(NotSetUp, match="make setup"):
        pulumi_bin_dir(venv)


def test_cli_that_has_gone(venv: Path) -> None:
    (venv.parent / "cli" / "pulumi").unlink()
    with pytest.raises(NotSetUp, match="has gone"):
        pulumi_bin_dir(venv)


def test_environment_puts_venv_then_cli_first(venv: Path) -> None:
    given = {"PATH": "/usr/bin", "PYTHONHOME": "/old", "KEPT": "yes"}

    made = pulumi_environment(given, venv)

    assert made["PATH"].split(os.pathsep) == [
        str(venv / "bin"),
        str(venv.parent / "cli"),
        "/usr/bin",
    ]
    assert made["VIRTUAL_ENV"] == str(venv)
    assert "PYTHONHOME" not in made
    assert made["KEPT"] == "yes"


def test_the_gate_can_be_read_by_old_pythons() -> None:
    """It must get as far as saying that the Python is too old."""
    import ast

    source = (environment.ROOT / "tools" / "setup.py").read_text()
    ast.parse(source, feature_version=(3, 6))


def test_too_old_python_says_what_to_do(tmp_path: Path) -> None:
    """The gate's own words, by raising what it asks for; no other Python is on PATH."""
    gate = environment.ROOT / "tools" / "setup.py"
    source = gate.read_text().replace("MINIMUM = (3, 10)", "MINIMUM = (3, 99)")
    copy = tmp_path / "setup.py"
    copy.write_text(source)

    answer = subprocess.run(
        [sys.executable, copy], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )

    assert answer.returncode == 1
    assert "Python 3.10 or newer is needed" in answer.stderr
    assert "make PYTHON=" in answer.stderr


def test_too_old_python_goes_on_with_a_newer_one(tmp_path: Path) -> None:
    gate = environment.ROOT / "tools" / "setup.py"
    copy = tmp_path / "setup.py"
    copy.write_text(gate.read_text().replace("MINIMUM = (3, 10)", "MINIMUM = (3, 99)"))
    newer = tmp_path / "python3.12"
    newer.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\necho newer "$@"\n')
    newer.chmod(0o755)

    answer = subprocess.run(
        [sys.executable, copy, "--dev"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert f"newer {copy} --dev" in answer.stdout
    assert answer.returncode == 0
