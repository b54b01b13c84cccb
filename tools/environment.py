"""Where the set-up put things: the virtual environment, the Pulumi CLI, the cache folder.

Standard library only: the set-up itself uses it before any dependency is installed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder."""

VENV = ROOT / ".venv"


class SetupError(Exception):
    """The set-up cannot go on. The message says what was tried and what to do."""


class NotSetUp(SetupError):
    """Something that the set-up provides is missing."""


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder for what is fetched or built once per user, not once per checkout.

    ``$AI_LAB_CACHE``, else ``ai-lab`` in ``$XDG_CACHE_HOME``, else ``~/.cache/ai-lab``.

    Raises:
        SetupError: none of them can be told, because this user has no home folder.
    """
    chosen, base = environ.get("AI_LAB_CACHE"), environ.get("XDG_CACHE_HOME")
    try:
        if chosen:
            return Path(chosen).expanduser().absolute()
        return (Path(base) if base else Path("~/.cache").expanduser()) / "ai-lab"
    except RuntimeError as error:
        raise SetupError(
            f"user {os.getuid()} has no home folder: HOME is not set and the system knows no such "
            "user. Say where one is: export HOME=/a/folder/you/may/write"
        ) from error


def venv_python(venv: Path = VENV) -> Path:
    """The virtual environment's interpreter, whether it exists yet or not."""
    return venv / "bin" / "python"


def link_pulumi(pulumi: Path, venv: Path = VENV) -> None:
    """Put the CLI that the set-up found where an activated environment has it on PATH."""
    link = venv / "bin" / "pulumi"
    if not (link.is_symlink() and link.readlink() == pulumi):
        # Renamed into place: a reader finds the old one or the new one.
        temporary = link.with_name(f"pulumi.{os.getpid()}")
        temporary.symlink_to(pulumi)
        temporary.replace(link)


def pulumi_environment(base: Mapping[str, str] = os.environ, venv: Path = VENV) -> dict[str, str]:
    """``base`` with the virtual environment activated, which holds the Pulumi CLI too.

    Raises:
        NotSetUp: no set-up ran in this checkout, or the CLI has gone since.
    """
    pulumi = venv / "bin" / "pulumi"
    if not pulumi.exists():
        gone = f"has gone from {pulumi.readlink()}" if pulumi.is_symlink() else "is not set up here"
        raise NotSetUp(f"the Pulumi CLI {gone}: run `make setup`")
    environment = dict(base)
    environment.pop("PYTHONHOME", None)
    environment.update(
        PATH=os.pathsep.join([str(venv / "bin"), base.get("PATH", os.defpath)]),
        VIRTUAL_ENV=str(venv),
        PULUMI_SKIP_UPDATE_CHECK="1",
    )
    return environment
