"""The virtual environment is made once per lock, and again whenever it cannot be trusted."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tools import virtual_env
from tools.environment import SetupError
from tools.process import CommandFailed

HERE = "{}.{}.{}".format(*sys.version_info[:3])


class Recorder:
    """Stands for the two long commands: notes them, and leaves what they would leave."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.fail_install = False

    def run(self, command: list[object], **_: object) -> str:
        words = [str(word) for word in command]
        self.commands.append(words)
        if "venv" in words:
            make_interpreter(Path(words[-1]))
        elif self.fail_install:
            raise CommandFailed("the dependencies: ended with code 1")
        return ""

    @property
    def kinds(self) -> list[str]:
        return ["create" if "venv" in words else "install" for words in self.commands]


def make_interpreter(venv: Path) -> None:
    (venv / "bin").mkdir(parents=True, exist_ok=True)
    (venv / "bin" / "python").symlink_to(sys.executable)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(virtual_env, "run", recorder.run)
    return recorder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "requirements.txt").write_text("one==1 --hash=sha256:00\n")
    (tmp_path / "requirements-dev.txt").write_text("one==1 --hash=sha256:00\ntwo==2\n")
    return tmp_path


def ensure(root: Path, *, dev: bool = True) -> str:
    return virtual_env.ensure(root, dev=dev, say=lambda _: None)


def test_first_run_creates_and_installs_with_hashes(root: Path, commands: Recorder) -> None:
    assert ensure(root) == HERE

    assert commands.kinds == ["create", "install"]
    assert "--require-hashes" in commands.commands[1]
    assert commands.commands[1][-1] == str(root / "requirements-dev.txt")


def test_second_run_does_nothing(root: Path, commands: Recorder) -> None:
    ensure(root)
    commands.commands.clear()

    ensure(root)

    assert commands.commands == []


def test_dev_environment_serves_a_plain_up(root: Path, commands: Recorder) -> None:
    ensure(root)
    commands.commands.clear()

    ensure(root, dev=False)

    assert commands.commands == []


def test_plain_environment_does_not_serve_the_tests(root: Path, commands: Recorder) -> None:
    ensure(root, dev=False)
    commands.commands.clear()

    ensure(root)

    assert commands.kinds == ["install"]


def test_changed_lock_installs_over(root: Path, commands: Recorder) -> None:
    ensure(root)
    commands.commands.clear()
    (root / "requirements-dev.txt").write_text("one==2 --hash=sha256:00\n")

    ensure(root)

    assert commands.kinds == ["install"]


def test_unfinished_installation_starts_from_an_empty_folder(
    root: Path, commands: Recorder
) -> None:
    commands.fail_install = True
    with pytest.raises(SetupError, match="Run again to start afresh"):
        ensure(root)
    leftover = root / ".venv" / "half-installed"
    leftover.touch()
    commands.fail_install = False
    commands.commands.clear()

    ensure(root)

    assert commands.kinds == ["create", "install"]
    assert not leftover.exists()


def test_failed_update_does_not_pass_for_finished(root: Path, commands: Recorder) -> None:
    ensure(root)
    (root / "requirements-dev.txt").write_text("one==2 --hash=sha256:00\n")
    commands.fail_install = True
    with pytest.raises(SetupError):
        ensure(root)
    (root / "requirements-dev.txt").write_text("one==1 --hash=sha256:00\ntwo==2\n")
    commands.fail_install = False
    commands.commands.clear()

    ensure(root)

    assert commands.kinds == ["create", "install"]


def test_environment_whose_python_has_gone_is_made_anew(root: Path, commands: Recorder) -> None:
    ensure(root)
    python = root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(root / "uninstalled-python")
    commands.commands.clear()

    ensure(root)

    assert commands.kinds == ["create", "install"]


def test_environment_whose_python_was_upgraded_is_made_anew(root: Path, commands: Recorder) -> None:
    ensure(root)
    stamp = root / ".venv" / "lab-stamp.json"
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"python": "3.10.0"}))
    commands.commands.clear()

    ensure(root)

    assert commands.kinds == ["create", "install"]


def test_environment_made_by_pulumi_install_is_kept(root: Path, commands: Recorder) -> None:
    make_interpreter(root / ".venv")

    ensure(root)

    assert commands.kinds == ["install"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"python": "3.11.0"}', "\x00\x00"])
def test_damaged_stamp_counts_as_none(root: Path, commands: Recorder, content: str) -> None:
    ensure(root)
    (root / ".venv" / "lab-stamp.json").write_text(content)
    commands.commands.clear()

    ensure(root)

    assert commands.kinds == ["install"]


def test_python_without_ensurepip_lends_its_own_pip(
    root: Path, commands: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = {"pip": True, "ensurepip": None}
    monkeypatch.setattr(importlib.util, "find_spec", present.get)

    ensure(root)

    assert "--without-pip" in commands.commands[0]
    lending = next(words for words in commands.commands if "--target" in words)
    assert lending[:4] == [sys.executable, "-I", "-m", "pip"]
    assert "--require-hashes" in lending
    assert commands.commands[-1][0] == str(root / ".venv" / "bin" / "python")


def test_python_with_neither_says_what_to_install(
    root: Path, commands: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(SetupError, match="apt-get install python3-venv"):
        ensure(root)

    assert commands.commands == []


def test_a_link_in_place_of_the_environment_is_left_alone(
    root: Path, commands: Recorder, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / ".venv").symlink_to(elsewhere)

    with pytest.raises(SetupError, match="not a folder of its own"):
        ensure(root)

    assert elsewhere.exists()


def test_what_redirects_pip_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1/simple")

    environment = virtual_env.pip_environment()

    assert "PIP_USER" not in environment
    assert environment["PIP_INDEX_URL"] == "http://127.0.0.1/simple"
