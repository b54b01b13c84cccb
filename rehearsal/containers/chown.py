# ruff: noqa: PTH101, PTH116, PTH118
"""`chown` and `chgrp` without root: the owner becomes an extended attribute of the file.

`python -I -S chown.py chown [-R] OWNER[:GROUP] FILE...`. Doubles that look at owners read the
attribute `user.rehearsal.owner`, a number. A file system without such attributes keeps no owners.
"""

from __future__ import annotations

import os
import sys

ATTRIBUTE = "user.rehearsal.owner"
_NUMBERS = {"root": 0, "mongodb": 999, "mysql": 999, "postgres": 999, "nextjs": 1001}


def main(name: str, arguments: list[str]) -> int:
    """The exit code of the real tool."""
    options = [a for a in arguments if a.startswith("-") and a != "-"]
    operands = [a for a in arguments if not a.startswith("-")]
    unknown = [o for o in options if not set(o[1:]) <= set("Rhvfc") and not o.startswith("--")]
    if unknown or len(operands) < 2:
        return _fail(f"{name}: {'invalid option ' + unknown[0] if unknown else 'missing operand'}")
    owner = operands[0].partition(":")[0]
    if owner and not owner.isdigit() and owner not in _NUMBERS:
        return _fail(f"{name}: invalid user: '{operands[0]}'")
    for path in operands[1:]:
        if not os.path.lexists(path):
            return _fail(f"{name}: cannot access '{path}': No such file or directory")
        if owner and name == "chown":
            for place in _all(path) if any("R" in o for o in options) else [path]:
                _record(place, _NUMBERS.get(owner, owner))
    return 0


def _all(path: str) -> list[str]:
    below = [os.path.join(top, n) for top, dirs, files in os.walk(path) for n in dirs + files]
    return [path, *below]


def _record(place: str, owner: int | str) -> None:
    mode = os.stat(place).st_mode
    try:
        # Setting an attribute needs the right to write, which 0400 does not give.
        os.chmod(place, mode | 0o200)
        os.setxattr(place, ATTRIBUTE, str(owner).encode())
    except OSError:
        pass
    finally:
        os.chmod(place, mode)


def _fail(text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
