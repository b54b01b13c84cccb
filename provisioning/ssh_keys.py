"""The operator's SSH key files, looked at before anything is rented."""

from __future__ import annotations

import stat
from pathlib import Path

import asyncssh


def key_problem(private: Path) -> str | None:
    """What keeps this key pair from being used, and what would be right; None if nothing does.

    The public key is expected beside the private one, with `.pub`. A key with a passphrase is
    refused: three SSH clients use it at once and none of them can ask.
    """
    public = private.with_name(private.name + ".pub")
    make = f"make one with: ssh-keygen -t rsa -b 4096 -N '' -f {private}"
    if not private.is_file():
        return f"{private} is not there; {make}"
    if not public.is_file():
        return f"{public} is not there; ssh-keygen -y -f {private} > {public} makes it"
    if private.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return f"{private} is readable by others, so ssh refuses it; chmod 600 {private}"
    return _unreadable(private, public, make)


def _unreadable(private: Path, public: Path, make: str) -> str | None:
    try:
        key = asyncssh.read_private_key(private)
    except asyncssh.KeyEncryptionError:
        return f"{private} has a passphrase, and nobody is asked for it during a run; {make}"
    except (asyncssh.KeyImportError, OSError, ValueError):
        return f"{private} is not a private SSH key; {make}"
    try:
        announced = asyncssh.read_public_key(public)
    except (asyncssh.KeyImportError, OSError, ValueError):
        return f"{public} is not a public SSH key; ssh-keygen -y -f {private} > {public} makes it"
    if key.convert_to_public().public_data != announced.public_data:
        return f"{public} belongs to another key than {private}; ssh-keygen -y makes the right one"
    return None
