"""Which uv is taken, and when the virtual environment is made, mended or left alone."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from tests.tables import table
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


@table("tools_uv")
def test_uv_on_path_is_taken_when_recent(answer: str, taken: bool, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("own", "index"),
    [
        ({}, "http://127.0.0.1/mirror"),
        ({"PIP_INDEX_URL": "http://pip"}, "http://pip"),
        ({"UV_DEFAULT_INDEX": "http://own", "PIP_INDEX_URL": "http://pip"}, "http://own"),
    ],
)
def test_the_index_and_certificates_set_for_pip_serve_where_uv_has_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    commands: Recorder,
    own: dict[str, str],
    index: str,
) -> None:
    """A mirror is set for pip where the default index is slow; uv does not look there."""
    settings = tmp_path / "pip.conf"
    settings.write_text("[global]\nindex-url = http://127.0.0.1/mirror\ncert = /a/file.pem\n")
    for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"PATH": tmp_path, "PIP_CONFIG_FILE": settings, **own}.items():
        monkeypatch.setenv(name, str(value))
    found = uv.obtain(tmp_path, lambda _: None).environment
    assert found["UV_DEFAULT_INDEX"] == index
    assert found["SSL_CERT_FILE"] == "/a/file.pem"


def test_a_python_without_pip_makes_an_environment_that_has_it_or_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Recorder
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SetupError, match="apt-get install python3-venv"):
        uv.pip_install(uv.LOCK, tmp_path / "target", lambda _: None)
    assert commands.commands == []

    monkeypatch.setattr(importlib.util, "find_spec", {"ensurepip": True}.get)
    uv.pip_install(uv.LOCK, tmp_path / "target", lambda _: None)
    assert commands.commands[0][1:4] == ["-I", "-m", "venv"]
    assert commands.commands[1][0].startswith(commands.commands[0][-1])


def sync(venv: Path, *, dev: bool = True) -> list[str]:
    said: list[str] = []
    uv.sync(Uv(Path("uv"), {}), venv, dev=dev, say=said.append)
    return said


def test_first_run_fills_it_with_hashes_and_a_plain_up_leaves_the_tests_tools_there(
    tmp_path: Path, commands: Recorder
) -> None:
    said = sync(tmp_path / ".venv")
    assert commands.kinds == ["venv", "sync"]
    assert {"--require-hashes", str(uv.DEV_LOCK)} <= set(commands.commands[1])
    assert said[-1] == "Installed 2 packages of requirements-dev.txt"
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


def test_an_environment_that_does_not_run_is_made_anew_and_pulumi_s_is_kept(
    tmp_path: Path, commands: Recorder
) -> None:
    venv = tmp_path / ".venv"
    make_interpreter(venv)
    sync(venv)
    assert commands.kinds == ["sync"], "one that `pulumi install` made"
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to(venv / "uninstalled-python")
    sync(venv)
    assert commands.kinds == ["sync", "venv", "sync"]
    (venv / "pyvenv.cfg").unlink()
    sync(venv)
    assert commands.kinds == ["sync", *["venv", "sync"] * 2]


def test_a_link_in_its_place_or_a_read_only_checkout_says_what_to_do(
    tmp_path: Path, commands: Recorder
) -> None:
    """The kernel's own folder, because modes do not bind a test that runs as root."""
    (tmp_path / ".venv").symlink_to(tmp_path)
    with pytest.raises(SetupError, match="not a folder of its own"):
        sync(tmp_path / ".venv")
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
