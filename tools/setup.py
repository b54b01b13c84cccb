"""Set up the lab's tools: ``python3 tools/setup.py [--dev]``.

Makes the virtual environment with locked dependencies, finds the Pulumi CLI (or gets it) and the
token vocabulary. Needs nothing but Python 3.10 and its standard library.

This file alone must be readable by older Pythons too, so that they can say what is missing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

MINIMUM = (3, 10)


def newer_python() -> str:
    """A new enough Python on PATH; empty if none. Each is asked: a shim may lead nowhere."""
    question = f"import sys; sys.exit(sys.version_info < {MINIMUM})"
    for minor in (13, 12, 11, 10, 14):
        python = shutil.which(f"python3.{minor}")
        if python is None:
            continue
        answer = subprocess.call(
            [python, "-c", question], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if answer == 0:
            return python
    return ""


def leave_old_python() -> None:
    """Go on with a newer Python where there is one, else say what to install."""
    found = f"{sys.version.split()[0]} ({sys.executable})"
    newer = newer_python()
    if newer:
        print(f"python3 is {found}, too old: using {newer}", flush=True)
        os.execv(newer, [newer, *sys.argv])  # noqa: S606
    sys.exit(
        f"Python 3.10 or newer is needed; python3 is {found}.\n"
        "Install one, or say where it is: make PYTHON=/path/to/python3.12 ..."
    )


if __name__ == "__main__":
    if sys.version_info < MINIMUM:
        leave_old_python()
    # The rooms' names are looked up from the project, never from tools/ itself.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from tools.bootstrap import main

    sys.exit(main(sys.argv[1:]))
