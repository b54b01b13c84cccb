"""Where the set-up's results are found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import environment
from tools.environment import NotSetUp, SetupError, cache_dir, pulumi_environment


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


@pytest.mark.parametrize("environ", [{}, {"AI_LAB_CACHE": "~/cache"}])
def test_a_user_without_a_home_folder_is_told_to_name_one(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's user id that has no name, as hosted CI gives it."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 123456)

    with pytest.raises(SetupError, match=r"user 123456 has no home .*\. Say .*export HOME="):
        cache_dir(environ)


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A checkout's environment whose set-up found a CLI."""
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "pulumi").touch()
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    environment.link_pulumi(tmp_path / "cli" / "pulumi", venv)
    return venv


def test_an_activated_environment_has_the_cli_that_was_found(venv: Path) -> None:
    given = {"PATH": "/usr/bin", "PYTHONHOME": "/old", "KEPT": "yes"}

    made = pulumi_environment(given, venv)

    assert made["PATH"].split(os.pathsep) == [str(venv / "bin"), "/usr/bin"]
    assert (venv / "bin" / "pulumi").resolve() == venv.parent / "cli" / "pulumi"
    assert made["VIRTUAL_ENV"] == str(venv)
    assert "PYTHONHOME" not in made
    assert made["KEPT"] == "yes"


def test_a_later_set_up_may_find_another_cli(venv: Path, tmp_path: Path) -> None:
    environment.link_pulumi(tmp_path / "other", venv)
    environment.link_pulumi(tmp_path / "other", venv)

    assert (venv / "bin" / "pulumi").readlink() == tmp_path / "other"
    assert [file.name for file in (venv / "bin").iterdir()] == ["pulumi"]


def test_without_a_set_up(tmp_path: Path) -> None:
    with pytest.raises(NotSetUp, match="is not set up here: run `make setup`"):
        pulumi_environment({}, tmp_path)


def test_cli_that_has_gone(venv: Path) -> None:
    (venv.parent / "cli" / "pulumi").unlink()
    with pytest.raises(NotSetUp, match=r"has gone from .*cli/pulumi: run `make setup`"):
        pulumi_environment({}, venv)


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
