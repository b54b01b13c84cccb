"""What a login on a rehearsed server finds in its environment."""

from __future__ import annotations

from pathlib import Path


def of_login(root: Path) -> dict[str, str]:
    """The environment of a command; `LAB_ROOT` stands for `/`: host scripts put it before system
    paths, so that nothing outside of the tree is written."""
    return {
        "HOME": str(root / "root"),
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/bin/bash",
        "PATH": str(root / "usr/bin"),
        "TMPDIR": str(root / "tmp"),
        "LAB_ROOT": str(root),
    }
