"""Set up the lab's tools: ``python3 tools/setup.py [--dev] [--quiet]``.

Makes the virtual environment with locked dependencies, finds the Pulumi CLI (or gets it) and the
token vocabulary. Needs nothing but Python 3.10 and its standard library.

This file alone must be readable by older Pythons too, so that they can say what is missing.
"""

import os
import shutil
import subprocess
import sys

MINIMUM = (3, 10)


def _newer_python():  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Path of a new enough Python on PATH, or None. Asked, not guessed: shims may lead nowhere."""
    question = "import sys; sys.exit(sys.version_info < %r)" % (MINIMUM,)  # noqa: UP031
    for minor in (13, 12, 11, 10, 14):
        python = shutil.which("python3.%d" % minor)  # noqa: UP031
        if python is None:
            continue
        answer = subprocess.call(
            [python, "-c", question], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if answer == 0:
            return python
    return None


def _leave_old_python():  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Go on with a newer Python where there is one, else say what to install."""
    found = "%d.%d.%d (%s)" % (sys.version_info[:3] + (sys.executable,))  # noqa: RUF005
    newer = _newer_python()
    if newer is not None:
        print("python3 is %s, too old: using %s" % (found, newer))  # noqa: UP031
        sys.stdout.flush()
        os.execv(newer, [newer] + sys.argv)  # noqa: RUF005, S606
    sys.exit(
        "Python 3.10 or newer is needed; python3 is %s.\n"  # noqa: UP031
        "Install one, or say where it is: make PYTHON=/path/to/python3.12 ..." % found
    )


if __name__ == "__main__":
    if sys.version_info < MINIMUM:
        _leave_old_python()
    # The rooms' names are looked up from the project, never from tools/ itself.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    from tools.bootstrap import main

    sys.exit(main(sys.argv[1:]))
