"""The harmless real tools that rehearsed servers and containers have on their PATH.

Neither can be confined without root, so an absolute path in a script would reach this machine.
Therefore a tool that writes or reads files refuses paths outside of its own tree, in words that
say what to do.
"""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

PLAIN = [
    "[",
    "awk",
    "base64",
    "basename",
    "comm",
    "date",
    "df",
    "diff",
    "dirname",
    "echo",
    "env",
    "expr",
    "false",
    "flock",
    "free",
    "getopt",
    "grep",
    "id",
    "join",
    "kill",
    "nl",
    "nohup",
    "nproc",
    "od",
    "paste",
    "printenv",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "realpath",
    "sed",
    "seq",
    "sleep",
    "split",
    "stat",
    "stty",
    "sum",
    "sync",
    "tac",
    "test",
    "timeout",
    "tr",
    "true",
    "tsort",
    "tty",
    "unexpand",
    "uniq",
    "wait",
    "wc",
    "whoami",
    "xargs",
    "yes",
]
"""Tools whose operands are mostly not files, or that only look."""

GUARDED = [
    "cat",
    "chmod",
    "cmp",
    "cp",
    "cut",
    "dd",
    "du",
    "find",
    "gunzip",
    "gzip",
    "head",
    "ln",
    "ls",
    "md5sum",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "rmdir",
    "sha1sum",
    "sha256sum",
    "shred",
    "sort",
    "tail",
    "tar",
    "tee",
    "touch",
    "truncate",
]
"""Tools that get the check of their absolute paths."""

SHELLS = ("sh", "bash")

_GUARD = """#!/bin/sh
for a in "$@"; do
  case $a in
    "${root}"|"${root}"/*|/dev/*|/proc/*) ;;
    /*) echo "$name: $a is outside of the rehearsed tree: write $hint$a" >&2; exit 1 ;;
  esac
done
exec "$tool" "$@"
"""


@functools.cache
def _real(tool: str) -> str | None:
    return shutil.which(tool, path="/usr/bin:/bin:/usr/sbin:/sbin")


def script(place: Path, text: str) -> None:
    """Write an executable."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(0o755)


def fill(folder: Path, root_variable: str, hint: str) -> None:
    """Put the tools into `folder`; one that this machine lacks is left out.

    Args:
        root_variable: environment variable that names the tree's root.
        hint: what belongs in front of an absolute path, for the refusal's text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for tool in (*PLAIN, *SHELLS):
        real = _real(tool)
        if real and not (folder / tool).exists():
            (folder / tool).symlink_to(real)
    for tool in GUARDED:
        real = _real(tool)
        if real:
            text = _GUARD.replace("${root}", f"${root_variable}").replace("$tool", real)
            script(folder / tool, text.replace("$name", tool).replace("$hint", hint))
