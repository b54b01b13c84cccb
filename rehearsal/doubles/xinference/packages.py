"""`pip` in Xinference's image, as far as it changes which models load: one package of its index.

    python -m rehearsal.doubles.xinference.packages install [options] name==version ...

Like the real one it asks nobody for what is installed already, and fails where the index does not
resolve. What is installed is in the container's own tree, so a new container begins anew.
"""

import sys

from rehearsal import inside
from rehearsal.doubles.xinference import hub

_SITE = "/usr/local/lib/python3.12/dist-packages"


def installed(name: str) -> str:
    """The version of a package in this container; "" where it is the image's own."""
    found = list(inside.path(_SITE).glob(f"{name}-*.dist-info"))
    return found[0].name.removeprefix(f"{name}-").removesuffix(".dist-info") if found else ""


def main(arguments: list[str]) -> int:
    """Install what is named; the exit code."""
    inside.enter()
    assert arguments[:1] == ["install"], f"the rehearsed pip has no command {arguments[:1]}"
    for wanted in (each for each in arguments[1:] if not each.startswith("-")):
        name, _, version = wanted.partition("==")
        if installed(name) == version:
            continue
        if not hub.index_answers():
            text = f"ERROR: Could not find a version that satisfies the requirement {wanted}"
            print(f"{text}; {hub.package_index()} does not resolve", file=sys.stderr)
            return 1
        (inside.path(_SITE) / f"{name}-{version}.dist-info").mkdir(parents=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
