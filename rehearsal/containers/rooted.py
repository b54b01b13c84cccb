"""Where a container's absolute paths lie on this machine.

A container's programs map their paths themselves (`rehearsal/inside.py`). A shell cannot: what it
is told to run is rewritten here, so that `cp /data/key /etc/key` stays inside the container's tree.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_PATH = re.compile(
    r"(?P<before>^|[\s'\"=<>(;&|`])(?P<path>/(?:[A-Za-z0-9_][\w.@+-]*/?)+)", re.MULTILINE
)
_LEFT_ALONE = ("/dev", "/proc")
_PROGRAM_FOLDERS = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")


def host_path(root: Path, inside: str) -> Path:
    """The place of a container's absolute path on this machine."""
    return root / inside.lstrip("/")


def rooted(text: str, root: Path) -> str:
    """A shell text with its absolute paths moved into the tree at `root`.

    Paths of programs become their names, so that they are looked up on the container's PATH.
    """

    def moved(match: re.Match[str]) -> str:
        path = match["path"]
        if path.startswith(_LEFT_ALONE):
            return match[0]
        folder, _, name = path.rpartition("/")
        if folder in _PROGRAM_FOLDERS:
            return f"{match['before']}{name}"
        return f"{match['before']}{root}{path}"

    return _PATH.sub(moved, text)


def rooted_argument(argument: str, root: Path) -> str:
    """One argument of a real tool: moved into the tree where it is an absolute path."""
    return rooted(argument, root) if argument.startswith("/") else argument


def unrooting_wrapper(command: str, before: str = "") -> str:
    """A script that runs `command` with the arguments' paths as the container names them.

    `before` is shell text that runs with those arguments first.

    A program called from a rewritten shell text gets rewritten paths; it wants the container's.
    """
    return (
        "#!/bin/sh\n"
        "for a; do\n"
        "  shift\n"
        '  while case $a in *"$REHEARSAL_ROOT"/*) true ;; *) false ;; esac; do\n'
        '    a="${a%%"$REHEARSAL_ROOT"/*}/${a#*"$REHEARSAL_ROOT"/}"\n'
        "  done\n"
        '  set -- "$@" "$a"\n'
        "done\n"
        f"{before}"
        f'exec {command} "$@"\n'
    )


def quoted(*words: str) -> str:
    """Words for a shell."""
    return " ".join(shlex.quote(word) for word in words)
