"""`python -m rehearsal.real_oneapi.run PROGRAM`: the real OneAPI as a container's process.

It takes the container's environment and file tree, listens on `REHEARSAL_ADDRESS`, and sees that
container's network only (`server/network.go`).

What differs from the lab's image:
- `SQL_DSN` is not followed: the data are in SQLite in the container's `/data`, a volume of the
  lab's, so that a restarted container and a replaced one find them again.
- It is v0.6.10 for the lab's v0.6.6, which no module proxy has (docs/facts/oneapi.md §9).
- v0.6.10 reads a second vocabulary (docs/facts/oneapi.md §2), which labs lack: it gets a copy of
  the first one. Its token counts are therefore not to be trusted.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from rehearsal import inside

CL100K = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
"""The name of the vocabulary that v0.6.6 and v0.6.10 read; sha1 of its URL."""
O200K = "fb374d419588a4632f3f557e76b4b70aebbca790"
"""What v0.6.10 reads besides."""
_HOME = "/data"
"""The image's working directory."""


def main() -> None:
    """Become the real OneAPI, or end with 1 and the reason."""
    program = sys.argv[1]
    if not Path(program).exists():
        sys.exit(f"OneAPI is not built ({program}): `python -m rehearsal` builds it")
    home = inside.path(_HOME)
    home.mkdir(parents=True, exist_ok=True)
    os.chdir(home)
    os.execve(program, [program], environment(os.environ))


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The container's environment, with its paths as this machine sees them."""
    kept = {name: value for name, value in given.items() if name != "SQL_DSN"}
    vocabularies = _place(given.get("TIKTOKEN_CACHE_DIR") or "/tmp/data-gym-cache")
    return {
        **kept,
        "SQLITE_PATH": str(_place(given.get("SQLITE_PATH") or "one-api.db")),
        "TIKTOKEN_CACHE_DIR": str(_both_names(vocabularies)),
    }


def _place(path: str) -> Path:
    return inside.path(path if path.startswith("/") else f"{_HOME}/{path}")


def _both_names(mounted: Path) -> Path:
    """A folder with both vocabularies, if the one that a lab provides is there."""
    folder = inside.path("/tmp/vocabularies")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in (CL100K, O200K) if (mounted / CL100K).exists() else ():
        shutil.copyfile(mounted / CL100K, folder / name)
    return folder


if __name__ == "__main__":
    main()
