"""Where the set-up put things: the virtual environment, the Pulumi CLI, the cache folder.

Standard library only: the set-up itself uses it before any dependency is installed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder."""

VENV = ROOT / ".venv"

_RECORD = "lab-env.json"


class SetupError(Exception):
    """The set-up cannot go on. The message says what was tried and what to do."""


class NotSetUp(SetupError):
    """Something that the set-up provides is missing."""


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder for what is fetched or built once per user, not once per checkout.

    ``$AI_LAB_CACHE``, else ``ai-lab`` in ``$XDG_CACHE_HOME``, else ``~/.cache/ai-lab``.
    """
    chosen = environ.get("AI_LAB_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ai-lab"


def venv_python(venv: Path = VENV) -> Path:
    """The virtual environment's interpreter, whether it exists yet or not."""
    return venv / "bin" / "python"


def write_record(record: Mapping[str, Any], venv: Path = VENV) -> None:
    """Keep what the set-up found. Written beside and renamed, so that no reader sees half of it."""
    temporary = venv / f"{_RECORD}.{os.getpid()}"
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    temporary.replace(venv / _RECORD)


def pulumi_bin_dir(venv: Path = VENV) -> Path:
    """Folder with ``pulumi`` and its Python language host, as the last set-up found it.

    Raises:
        NotSetUp: no set-up ran in this checkout, or the CLI has gone since.
    """
    try:
        found = Path(json.loads((venv / _RECORD).read_text())["pulumi"]["bin_dir"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotSetUp("the Pulumi CLI is not set up in this checkout: run `make setup`") from error
    if not (found / "pulumi").exists():
        raise NotSetUp(f"the Pulumi CLI has gone from {found}: run `make setup`")
    return found


def pulumi_environment(base: Mapping[str, str] = os.environ, venv: Path = VENV) -> dict[str, str]:
    """``base`` made ready for the Pulumi CLI: its folder and the virtual environment on PATH.

    A CLI built from Go modules comes with a language host that does not read
    ``runtime.options.virtualenv``; it takes the first Python on PATH (docs/facts/engine.md).

    Raises:
        NotSetUp: see ``pulumi_bin_dir``.
    """
    path = [str(venv / "bin"), str(pulumi_bin_dir(venv)), base.get("PATH", os.defpath)]
    environment = dict(base)
    environment.pop("PYTHONHOME", None)
    environment.update(
        PATH=os.pathsep.join(path), VIRTUAL_ENV=str(venv), PULUMI_SKIP_UPDATE_CHECK="1"
    )
    return environment
