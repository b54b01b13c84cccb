"""Which uv is taken, and when the virtual environment is made, mended or left alone."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from tools import uv
from tools.environment import SetupError
from tools.process import CommandFailed
from tools.uv import Uv


def make_uv(folder: Path, answer: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "uv").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (folder / "uv").chmod(0o755)
    return folder / "uv"


class Recorder:
    """Stands for the long commands: notes them, and leaves what they would leave."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.fail_install = False

    def run(self, command: list[object], *, env: dict[str, str] | None = None, **_: object) -> str:
        words = [str(word) for word in command]
        self.commands.append(words)
        self.environments.append(env or {})
        if "--target" in words:
            make_uv(Path(words[words.index("--target") + 1]) / "bin", "uv 0.13.9")
        elif "venv" in words:
            make_interpreter(Path(words[-1]))
        elif self.fail_install:
            raise CommandFailed("the dependencies: ended with code 1")
        return "Installed 2 packages in 1ms\n"

    @property
    def kinds(self) -> list[str]:
        return [words[2] if words[1] == "pip" else words[1] for words in self.commands]


def make_interpreter(venv: Path) -> None:
    """A virtual environment as Python knows one: a link, and the file beside its folder."""
    (venv / "bin").mkdir(parents=True, exist_ok=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / "pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix) / 'bin'}\n")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(uv, "run", recorder.run)
    return recorder


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        ("uv 0.9.0", True),
        ("uv 0.13.9 (x86_64-unknown-linux-gnu)", True),
        ("uv 1.0.0", True),
        ("uv 0.8.24", False),
        ("no version", False),
    ],
)
def test_uv_on_path_is_taken_when_recent(tmp_path: Path, answer: str, taken: bool) -> None:
    make_uv(tmp_path / "bin", answer)
    assert (uv.on_path(str(tmp_path / "bin")) is not None) is taken


def test_uv_from_the_package_index_is_checked_kept_and_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Recorder
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    first = uv.obtain(tmp_path, lambda _: None)
    second = uv.obtain(tmp_path, lambda _: None)

    assert first.program == second.program
    assert first.program.is_file()
    assert len(commands.commands) == 1
    assert "--require-hashes" in commands.commands[0]
    assert first.environment["UV_CACHE_DIR"] == str(tmp_path / "uv")


def test_ours_uses_the_index_and_certificates_set_for_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Recorder
) -> None:
    """A mirror is set for pip where the default index is slow; uv does not look there."""
    settings = tmp_path / "pip.conf"
    settings.write_text("[global]\nindex-url = http://127.0.0.1/mirror\ncert = /a/file.pem\n")
    for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))

    found = uv.obtain(tmp_path, lambda _: None).environment

    assert found["UV_DEFAULT_INDEX"] == "http://127.0.0.1/mirror"
    assert found["SSL_CERT_FILE"] == "/a/file.pem"


def test_what_is_set_for_uv_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Recorder
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1/pip")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1/uv")

    found = uv.obtain(tmp_path, lambda _: None).environment

    assert found["UV_DEFAULT_INDEX"] == "http://127.0.0.1/uv"


def test_a_python_without_pip_makes_an_environment_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Recorder
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", {"ensurepip": True}.get)

    uv.pip_install(uv.LOCK, tmp_path / "target", lambda _: None)

    assert commands.commands[0][1:4] == ["-I", "-m", "venv"]
    assert commands.commands[1][0].startswith(commands.commands[0][-1])


def test_python_with_neither_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Recorder
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(SetupError, match="apt-get install python3-venv"):
        uv.pip_install(uv.LOCK, tmp_path / "target", lambda _: None)

    assert commands.commands == []


def sync(venv: Path, *, dev: bool = True) -> list[str]:
    said: list[str] = []
    uv.sync(Uv(Path("uv"), {}), venv, dev=dev, say=said.append)
    return said


def test_first_run_makes_and_fills_it_with_hashes(tmp_path: Path, commands: Recorder) -> None:
    said = sync(tmp_path / ".venv")

    assert commands.kinds == ["venv", "sync"]
    assert {"--require-hashes", str(uv.DEV_LOCK)} <= set(commands.commands[1])
    assert said[-1] == "Installed 2 packages of requirements-dev.txt"


def test_a_plain_up_does_not_take_the_tests_tools_away(tmp_path: Path, commands: Recorder) -> None:
    sync(tmp_path / ".venv")
    sync(tmp_path / ".venv", dev=False)

    assert commands.kinds == ["venv", "sync", "install"]
    assert str(uv.RUNTIME_LOCK) in commands.commands[2]


def test_unfinished_installation_starts_from_an_empty_folder(
    tmp_path: Path, commands: Recorder
) -> None:
    commands.fail_install = True
    with pytest.raises(SetupError, match="Run again to start afresh"):
        sync(tmp_path / ".venv")
    leftover = tmp_path / ".venv" / "half-installed"
    leftover.touch()
    commands.fail_install = False

    sync(tmp_path / ".venv")

    assert commands.kinds == ["venv", "sync", "venv", "sync"]
    assert not leftover.exists()


def _python_has_gone(venv: Path) -> None:
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to(venv / "uninstalled-python")


def _not_an_environment(venv: Path) -> None:
    (venv / "pyvenv.cfg").unlink()


@pytest.mark.parametrize("damage", [_python_has_gone, _not_an_environment])
def test_an_environment_that_does_not_run_is_made_anew(
    tmp_path: Path, commands: Recorder, damage: object
) -> None:
    sync(tmp_path / ".venv")
    damage(tmp_path / ".venv")  # type: ignore[operator]

    sync(tmp_path / ".venv")

    assert commands.kinds == ["venv", "sync", "venv", "sync"]


def test_environment_made_by_pulumi_install_is_kept(tmp_path: Path, commands: Recorder) -> None:
    make_interpreter(tmp_path / ".venv")

    sync(tmp_path / ".venv")

    assert commands.kinds == ["sync"]


def test_a_link_in_place_of_the_environment_is_left_alone(
    tmp_path: Path, commands: Recorder
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / ".venv").symlink_to(elsewhere)

    with pytest.raises(SetupError, match="not a folder of its own"):
        sync(tmp_path / ".venv")

    assert elsewhere.exists()


def test_a_read_only_checkout_says_what_to_do(commands: Recorder) -> None:
    """The kernel's own folder, because modes do not bind a test that runs as root."""
    with pytest.raises(SetupError, match=r"cannot be written: .*\n.*git clone"):
        sync(Path("/proc/self/.venv"))


def test_the_real_uv_takes_these_options(tmp_path: Path) -> None:
    """An environment and an empty lock, so that no package index is asked.

    The recorders above would take any word; only uv itself knows its own.
    """
    program = shutil.which("uv") or next(uv.cache_dir().glob("uv-*/bin/uv"), None)
    if program is None:
        pytest.skip("no uv on PATH or in the cache folder")
    real, venv = Uv(Path(program), {"HOME": str(tmp_path)}), tmp_path / ".venv"
    lock = tmp_path / "requirements.txt"
    lock.touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uv, "DEV_LOCK", lock)
        patch.setattr(uv, "RUNTIME_LOCK", lock)
        for dev in (True, False, True):
            uv.sync(real, venv, dev=dev, say=lambda _: None)

    assert uv._runs(venv)
    assert not (venv / "lab-unfinished").exists()
