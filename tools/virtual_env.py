"""Make the project's virtual environment from the locked requirements, once per lock.

A stamp in the environment says which lock and which Python it was made from; an unfinished
installation leaves a mark instead, and the next run starts from an empty folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.environment import SetupError, venv_python
from tools.process import CommandFailed, Say, run

RUNTIME_LOCK = "requirements.txt"
DEV_LOCK = "requirements-dev.txt"
"""A superset of the runtime lock, with the same versions (``make lock`` sees to it)."""

_STAMP = "lab-stamp.json"
_UNFINISHED = "lab-unfinished"
_CREATE_SECONDS = 300.0
_INSTALL_SECONDS = 1800.0
_PIP_LOCK = Path(__file__).parent / "pip" / "requirements.txt"


@dataclass(frozen=True)
class Stamp:
    """What a finished virtual environment was made from."""

    python: str
    locks: dict[str, str]

    def serves(self, python: str, lock: str, digest: str) -> bool:
        """Whether nothing is left to do for ``lock`` with this content."""
        return self.python == python and self.locks.get(lock) == digest


def ensure(root: Path, *, dev: bool, say: Say) -> str:
    """Bring ``root/.venv`` up to the lock. Returns the version of its Python.

    Args:
        dev: install what tests and rehearsal need too.

    Raises:
        SetupError: no venv module, no pip, or the installation failed.
    """
    venv = root / ".venv"
    lock = DEV_LOCK if dev else RUNTIME_LOCK
    python = interpreter_version(venv)
    if python is not None and not (venv / _UNFINISHED).exists():
        stamp = read_stamp(venv)
        if stamp is not None and stamp.serves(python, lock, digest_of(root / lock)):
            return python
        if stamp is not None and stamp.python != python:
            python = None
    else:
        python = None
    if python is None:
        _create(venv, say)
    _install(root, venv, lock, say)
    return interpreter_version(venv) or "unknown"


def interpreter_version(venv: Path) -> str | None:
    """Version of the environment's Python; None when it does not run or is too old for the lab."""
    question = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    try:
        answer = subprocess.run(
            [venv_python(venv), "-I", "-c", question],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return answer if tuple(map(int, answer.split("."))) >= (3, 10) else None


def digest_of(lock: Path) -> str:
    """sha256 of a lock file."""
    try:
        return hashlib.sha256(lock.read_bytes()).hexdigest()
    except OSError as error:
        raise SetupError(f"the lock file is missing: {error}. Is the checkout complete?") from error


def read_stamp(venv: Path) -> Stamp | None:
    """The stamp of a finished environment; None when there is none or it cannot be read."""
    try:
        data = json.loads((venv / _STAMP).read_text())
        return Stamp(python=str(data["python"]), locks=dict(data["locks"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _create(venv: Path, say: Say) -> None:
    """An empty environment in place of whatever is there."""
    say(f"Making the virtual environment {venv} (Python {sys.version.split()[0]})")
    if venv.is_symlink() or (venv.exists() and not venv.is_dir()):
        raise SetupError(f"{venv} is not a folder of its own: move it away and run again.")
    try:
        if venv.exists():
            shutil.rmtree(venv)
        venv.mkdir()
        (venv / _UNFINISHED).touch()
    except OSError as error:
        raise SetupError(f"the virtual environment cannot be written: {error}") from error
    with_pip = importlib.util.find_spec("ensurepip") is not None
    if not with_pip and importlib.util.find_spec("pip") is None:
        raise SetupError(
            f"{sys.executable} can neither make a virtual environment with pip nor has pip itself."
            "\nOn Debian and Ubuntu: apt-get install python3-venv. Then run again."
        )
    options = [] if with_pip else ["--without-pip"]
    run(
        [sys.executable, "-I", "-m", "venv", *options, venv],
        what="the virtual environment",
        deadline=_CREATE_SECONDS,
        say=say,
    )
    if not with_pip:
        _lend_pip(venv, say)


def _lend_pip(venv: Path, say: Say) -> None:
    """Put pip into the environment with the pip of the Python that runs the set-up.

    That is Debian without python3-venv. Its pip may be too old for ``--python``, hence
    ``--target``.
    """
    question = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = run(
        [venv_python(venv), "-I", "-c", question],
        what="the environment's library",
        deadline=_CREATE_SECONDS,
        say=say,
    )
    run(
        [
            *(sys.executable, "-I", "-m", "pip", "install", "--require-hashes"),
            *("--target", target.strip(), "-r", _PIP_LOCK),
        ],
        what="pip for the virtual environment",
        deadline=_INSTALL_SECONDS,
        say=say,
        env=pip_environment(),
    )


def pip_command(venv: Path) -> list[str | Path]:
    """The environment's pip. ``-I`` shuts out PYTHONPATH, whose packages it would count as its."""
    return [venv_python(venv), "-I", "-m", "pip"]


def pip_environment() -> dict[str, str]:
    """The operator's environment (index, proxy, certificates) without what redirects the target."""
    redirecting = {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_PYTHON"}
    environment = {key: value for key, value in os.environ.items() if key not in redirecting}
    return environment | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def _install(root: Path, venv: Path, lock: str, say: Say) -> None:
    """Install the lock and leave the stamp; a mark stands there in the meantime."""
    digest = digest_of(root / lock)
    say(f"Installing the locked dependencies of {lock}")
    (venv / _UNFINISHED).touch()
    (venv / _STAMP).unlink(missing_ok=True)
    try:
        run(
            [*pip_command(venv), "install", "--require-hashes", "-r", root / lock],
            what="the dependencies",
            deadline=_INSTALL_SECONDS,
            say=say,
            env=pip_environment(),
        )
    except CommandFailed as error:
        raise SetupError(
            f"{error}\n\nRun again to start afresh. Behind a slow package index, set a mirror: "
            "pip config set global.index-url ADDRESS"
        ) from error
    locks = {lock: digest}
    if lock == DEV_LOCK:
        locks[RUNTIME_LOCK] = digest_of(root / RUNTIME_LOCK)
    stamp = {"python": interpreter_version(venv), "locks": locks}
    (venv / _STAMP).write_text(json.dumps(stamp, indent=2) + "\n")
    (venv / _UNFINISHED).unlink()
