"""uv: the operator's own, or one from the package index; and the virtual environment it makes.

``python3 -m tools.uv ARGUMENT ...`` hands the arguments on to it.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.environment import ROOT, SetupError, cache_dir, venv_python
from tools.process import Say, exclusive, run

MINIMUM = (0, 9)
"""The oldest uv that the set-up was tried with."""

LOCK = ROOT / "tools" / "requirements-uv.txt"
RUNTIME_LOCK = ROOT / "requirements.txt"
DEV_LOCK = ROOT / "requirements-dev.txt"
"""A superset of the runtime lock, with the same versions (``make lock`` sees to it)."""

_UNFINISHED = "lab-unfinished"
_SHORT_SECONDS = 300.0
_INSTALL_SECONDS = 1800.0
_REDIRECTING = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_PYTHON")


@dataclass(frozen=True)
class Uv:
    """A uv to work with, and the environment it wants."""

    program: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str | Path, what: str, say: Say) -> str:
        """Run it to its end; see ``process.run``."""
        return run(
            [self.program, *arguments],
            what=what,
            deadline=_INSTALL_SECONDS,
            say=say,
            env=self.environment,
            cwd=ROOT,
        )


def obtain(cache: Path, say: Say) -> Uv:
    """The uv on PATH if it is recent enough, else the pinned one, kept in the cache folder.

    The caller holds the cache's lock.

    Raises:
        SetupError: there is no pip to get it with, or the package index is out of reach.
    """
    return on_path() or _pinned(cache, say)


def on_path(path: str | None = None) -> Uv | None:
    """The operator's uv, with the operator's settings."""
    program = shutil.which("uv", path=path)
    if program is None:
        return None
    try:
        command = [program, "--version"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"(\d+)\.(\d+)", answer.stdout)
    if version is None or (int(version[1]), int(version[2])) < MINIMUM:
        return None
    return Uv(Path(program), _without_target())


def _without_target() -> dict[str, str]:
    """The operator's environment without what would lead an installation elsewhere."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _REDIRECTING and name not in ("UV_PYTHON", "UV_SYSTEM_PYTHON", "PYTHONHOME")
    }


def _pinned(cache: Path, say: Say) -> Uv:
    pin = re.search(r"^uv==(\S+)", LOCK.read_text(), re.MULTILINE)
    if pin is None:
        raise SetupError(f"{LOCK} pins no uv. Is the checkout complete?")
    home = cache / f"uv-{pin[1]}-{sys.platform}-{os.uname().machine}"
    program = home / "bin" / "uv"
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        if not program.exists():
            say("Getting uv from the package index (there is none on PATH that is recent enough)")
            pip_install(LOCK, Path(scratch) / "uv", say)
            shutil.rmtree(home, ignore_errors=True)
            (Path(scratch) / "uv").replace(home)
    return Uv(program, _as_pip_does({"UV_CACHE_DIR": str(cache / "uv"), **_without_target()}))


def pip_install(lock: Path, target: Path, say: Say) -> None:
    """Put a lock's wheels into a folder, by the pip of the Python that runs the set-up.

    Raises:
        SetupError: this Python has no pip and cannot make a virtual environment with one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        python = Path(sys.executable)
        if importlib.util.find_spec("pip") is None:
            python = _python_with_pip(Path(scratch), say)
        run(
            [
                *(python, "-I", "-m", "pip", "install", "--require-hashes", "--no-deps"),
                *("--disable-pip-version-check", "--no-input", "--target", target, "-r", lock),
            ],
            what=f"the download of {lock.stem.removeprefix('requirements-')}",
            deadline=_INSTALL_SECONDS,
            say=say,
            env=_without_target(),
        )


def _python_with_pip(scratch: Path, say: Say) -> Path:
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError(
            f"{sys.executable} has neither pip nor the means to make a virtual environment with it."
            "\nOn Debian and Ubuntu: apt-get install python3-venv. Or install uv. Then run again."
        )
    run(
        [sys.executable, "-I", "-m", "venv", scratch],
        what="a Python with pip",
        deadline=_SHORT_SECONDS,
        say=say,
    )
    return venv_python(scratch)


def _as_pip_does(environment: dict[str, str]) -> dict[str, str]:
    """Lend pip's index and certificates: who has no uv of one's own has not set them for uv."""
    for variable, option in (("UV_DEFAULT_INDEX", "index-url"), ("SSL_CERT_FILE", "cert")):
        if variable not in environment and (value := _pip_setting(option)):
            environment[variable] = value
    return environment


def _pip_setting(option: str) -> str:
    """An option of pip's, from the environment or its files; empty where it is not set."""
    if value := os.environ.get(f"PIP_{option.upper().replace('-', '_')}"):
        return value
    # Not `get`: an older pip reads the user's file only. A newer `list` shows each file's value,
    # the one that holds last.
    command = [sys.executable, "-I", "-m", "pip", "config", "list"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.findall(rf"^global\.{option}=(.+)$", answer.stdout, re.MULTILINE)
    return str(ast.literal_eval(found[-1])) if found else ""


def sync(uv: Uv, venv: Path, *, dev: bool, say: Say) -> None:
    """Bring the virtual environment to the lock; at once where it is there already.

    Args:
        dev: to exactly the development lock. Without it the runtime's lock is put over what is
            there, so that a plain ``up`` does not take the tests' tools away.

    Raises:
        SetupError: the folder cannot be written, or the installation failed.
    """
    mark = venv / _UNFINISHED
    if mark.exists() or not _runs(venv):
        _make(uv, venv, say)
    _touch(mark)
    lock = DEV_LOCK if dev else RUNTIME_LOCK
    # The lock is whole: resolving it again would ask the index for what the cache holds.
    how = ("sync",) if dev else ("install", "--no-deps", "-r")
    try:
        said = uv.run(
            *("pip", *how, lock, "--require-hashes", "--python", venv_python(venv)),
            what="the dependencies",
            say=say,
        )
    except SetupError as error:
        raise SetupError(
            f"{error}\n\nRun again to start afresh. Behind a slow package index, set a mirror: "
            "pip config set global.index-url ADDRESS (with a uv of your own: UV_DEFAULT_INDEX)"
        ) from error
    mark.unlink()
    if installed := re.search(r"Installed \d+ packages?", said):
        say(f"{installed[0]} of {lock.name}")


def _make(uv: Uv, venv: Path, say: Say) -> None:
    if venv.is_symlink() or (venv.exists() and not venv.is_dir()):
        raise SetupError(f"{venv} is not a folder of its own: move it away and run again.")
    try:
        if venv.exists():
            shutil.rmtree(venv)
        venv.mkdir()
    except OSError as error:
        raise _unwritable(error) from error
    say(f"Making the virtual environment {venv} (Python {sys.version.split()[0]})")
    uv.run(
        *("venv", "--quiet", "--no-python-downloads", "--python", sys.executable, venv),
        what="the virtual environment",
        say=say,
    )


def _touch(mark: Path) -> None:
    try:
        mark.touch()
    except OSError as error:
        raise _unwritable(error) from error


def _unwritable(error: OSError) -> SetupError:
    return SetupError(
        f"the virtual environment cannot be written: {error}\n"
        f"Work in a copy of the project that you may write: git clone {ROOT} ai-lab"
    )


def _runs(venv: Path) -> bool:
    """Whether the environment's Python is there and new enough."""
    question = "import sys; sys.exit(sys.version_info < (3, 10) or sys.prefix == sys.base_prefix)"
    try:
        command = [str(venv_python(venv)), "-I", "-c", question]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def main(arguments: list[str]) -> int:
    """Become uv. Returns the exit code where there is none."""
    try:
        cache = cache_dir()
        with exclusive(cache / "cache.lock", what=str(cache), say=print):
            uv = obtain(cache, print)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    return os.execve(uv.program, ["uv", *arguments], dict(uv.environment))  # noqa: S606


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
