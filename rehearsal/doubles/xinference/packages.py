"""`pip` in Xinference's image, as far as it changes which models load: one package of its index.

    python -m rehearsal.doubles.xinference.packages install [options] name==version ...

Like the real one it asks nobody for what is installed already, and fails where the index does not
resolve. What is installed is in the container's own tree, so a new container begins anew.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rehearsal import inside
from rehearsal.doubles.xinference import hub

_SITE = "/usr/local/lib/python3.12/dist-packages"
_PEFT = "0.17.1"


def peft() -> tuple[int, ...]:
    """The version of peft in this container."""
    version = (_installed("peft") or _PEFT).split(".")
    return tuple(int(part) for part in version)


def main(arguments: list[str]) -> int:
    """Install what is named; the exit code."""
    inside.enter()
    if not arguments or arguments[0] != "install":
        print(f"ERROR: unknown command {' '.join(arguments[:1])!r}", file=sys.stderr)
        return 1
    for wanted in (word for word in arguments[1:] if not word.startswith("-")):
        exact = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9]+(?:\.[0-9]+)*)", wanted)
        if exact is None:
            print(f"ERROR: the rehearsed pip takes name==version, not {wanted}", file=sys.stderr)
            return 1
        if _installed(exact[1]) == exact[2]:
            continue
        if not hub.index_answers():
            print(
                f"ERROR: Could not find a version that satisfies the requirement {wanted} "
                f"(from versions: none); {hub.package_index()} does not resolve",
                file=sys.stderr,
            )
            return 1
        _put(exact[1], exact[2])
    return 0


def _installed(name: str) -> str | None:
    found = list(_site().glob(f"{name}-*.dist-info"))
    return found[0].name.removeprefix(f"{name}-").removesuffix(".dist-info") if found else None


def _put(name: str, version: str) -> None:
    for old in _site().glob(f"{name}-*.dist-info"):
        old.rmdir()
    (_site() / f"{name}-{version}.dist-info").mkdir(parents=True)


def _site() -> Path:
    return inside.path(_SITE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
