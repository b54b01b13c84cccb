"""Write the lock files anew: ``make lock``. Takes the newest versions the ``.in`` files allow.

uv does the resolving, from a virtual environment that is thrown away afterwards. The locks hold
for every system and for Python 3.10 and newer, with hashes and without any index's address.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tools.environment import ROOT

UV = "uv>=0.9,<1"
"""The form of the locks has not changed over these versions."""

LOCKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("requirements", ()),
    ("requirements-dev", ("--constraints", "requirements.txt")),
    ("tools/go/requirements", ()),
    ("tools/pip/requirements", ()),
)
"""Each lock's name without ``.in``/``.txt``, and what it must agree with."""

_OPTIONS = (
    *("--universal", "--python-version", "3.10", "--generate-hashes", "--no-emit-index-url"),
    *("--upgrade", "--quiet", "--custom-compile-command", "make lock"),
)


def main() -> int:
    """Write all locks. Returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        bin_dir = Path(folder) / "bin"
        subprocess.run([bin_dir / "python", "-m", "pip", "install", "--quiet", UV], check=True)
        for name, options in LOCKS:
            print(f"Locking {name}.in", flush=True)
            source, lock = f"{name}.in", f"{name}.txt"
            command: list[str | Path] = [
                bin_dir / "uv",
                "pip",
                "compile",
                source,
                "-o",
                lock,
                *_OPTIONS,
                *options,
            ]
            subprocess.run(command, cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
