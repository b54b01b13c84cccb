"""`python -m rehearsal.real_oneapi.run`: the real OneAPI as a rehearsed container's process.

It takes the environment and the file tree of the container that the double would run in, listens on
`REHEARSAL_ADDRESS`, and sees that container's network only (`server/network.go`).

What differs from the image it stands for:
- The rehearsed MySQL does not speak MySQL's wire protocol. `SQL_DSN` is tried once at boot, so that
  a missing or refusing database ends it as in a lab; the data are then kept in SQLite, in the
  container's own tree. A *restarted* container finds them again, a *replaced* one starts anew.
- v0.6.10 reads a second vocabulary (docs/facts/oneapi.md §2), which labs lack: it gets a copy of
  the first one. Its token counts are therefore not to be trusted.

`REHEARSAL_REAL_ONEAPI` names the program where the container cannot see the cache folder.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rehearsal import inside
from rehearsal.doubles.oneapi.environment import Environment
from rehearsal.doubles.oneapi.store import StoreError, open_store
from rehearsal.real_oneapi.build import UnavailableError, binary
from rehearsal.real_oneapi.vocabulary import CL100K, O200K


def main() -> None:
    """Become the real OneAPI; 1 when its database cannot be had, as the real one exits."""
    given = dict(os.environ)
    try:
        program = given.get("REHEARSAL_REAL_ONEAPI") or str(binary())
    except UnavailableError as error:
        sys.exit(f"ONEAPI=real: {error}")
    problem = _database_problem(given)
    if problem:
        stamp = time.strftime("%Y/%m/%d - %H:%M:%S")
        print(f"[FATAL] {stamp} | [{problem}] ", file=sys.stderr, flush=True)
        sys.exit(1)
    home = inside.path("/data")
    home.mkdir(parents=True, exist_ok=True)
    os.chdir(home)
    os.execve(program, [program], environment(given))


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The container's environment, with its paths as this machine sees them."""
    settings = Environment.read(given)
    kept = {name: value for name, value in given.items() if name != "SQL_DSN"}
    return {
        **kept,
        "SQLITE_PATH": str(settings.sqlite),
        "TIKTOKEN_CACHE_DIR": str(_vocabularies(settings.vocabulary)),
        "PORT": str(settings.port),
    }


def _database_problem(given: Mapping[str, str]) -> str:
    settings = Environment.read(given)
    if not settings.dsn:
        return ""
    # The names in a DSN are the container's, so they must be looked up as it does.
    inside.enter()
    try:
        open_store(settings.dsn, settings.sqlite)
    except StoreError as error:
        return str(error)
    return ""


def _vocabularies(mounted: Path) -> Path:
    """A folder with both names, if the one that a lab provides is there."""
    folder = inside.path("/tmp/vocabularies")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if (mounted / CL100K).exists():
        for name in (CL100K, O200K):
            shutil.copyfile(mounted / CL100K, folder / name)
    return folder


if __name__ == "__main__":
    main()
