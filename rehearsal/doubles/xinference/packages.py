"""`pip` in Xinference's image, as far as it changes which models load: one package of its index.

    python -m rehearsal.doubles.xinference.packages install [options] name==version ...

Like the real one it asks nobody for what is installed already, and fails where the index does not
resolve. What is installed is in the container's own tree, so a new container begins anew.
"""

from __future__ import annotations

import re
import sys

from rehearsal import inside
from rehearsal.doubles.xinference import hub

_SITE = "/usr/local/lib/python3.12/dist-packages"
_PEFT = "0.17.1"


def peft() -> tuple[int, ...]:
    """The version of peft in this container."""
    return tuple(int(part) for part in (_installed("peft") or _PEFT).split("."))


def main(arguments: list[str]) -> int:
    """Install what is named; the exit code."""
    inside.enter()
    if arguments[:1] != ["install"]:
        print(f"ERROR: unknown command {' '.join(arguments[:1])!r}", file=sys.stderr)
        return 1
    problems = [_install(wanted) for wanted in arguments[1:] if not wanted.startswith("-")]
    for problem in filter(None, problems):
        print(f"ERROR: {problem}", file=sys.stderr)
    return int(any(problems))


def _install(wanted: str) -> str:
    exact = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9]+(?:\.[0-9]+)*)", wanted)
    if exact is None:
        return f"the rehearsed pip takes name==version, not {wanted}"
    name, version = exact.groups()
    if _installed(name) == version:
        return ""
    if not hub.index_answers():
        return (
            f"Could not find a version that satisfies the requirement {wanted} (from versions: "
            f"none); {hub.package_index()} does not resolve"
        )
    for old in inside.path(_SITE).glob(f"{name}-*.dist-info"):
        old.rmdir()
    (inside.path(_SITE) / f"{name}-{version}.dist-info").mkdir(parents=True)
    return ""


def _installed(name: str) -> str | None:
    found = list(inside.path(_SITE).glob(f"{name}-*.dist-info"))
    return found[0].name.removeprefix(f"{name}-").removesuffix(".dist-info") if found else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
