"""The options of the operator's own `ssh`, which the Docker provider runs."""

from __future__ import annotations

from pathlib import Path


def ssh_options(key_file: Path, host_key: str) -> list[str]:
    """Options for the `ssh` that the Docker provider runs: our key, and no other host's key.

    KnownHostsCommand needs no file, so the state works from another machine as well (OpenSSH 8.5+).
    """
    options = {
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": "/dev/null",
        "KnownHostsCommand": f"/bin/echo * {host_key}",
        "ConnectTimeout": "15",
        "ServerAliveInterval": "15",
    }
    words = ["-i", str(key_file)]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    return words
