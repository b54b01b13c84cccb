"""A real ssh-agent for tests, and keys with a passphrase."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import until

_PASSPHRASE = "words-of-a-test"
needs_openssh = pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="no ssh-agent here")


@contextlib.contextmanager
def ssh_agent() -> Iterator[None]:
    """One that holds nothing, at SSH_AUTH_SOCK until the block ends."""
    # A socket's path may have some hundred characters only.
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        socket = Path(folder, "agent")
        with subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL
        ) as agent:
            try:
                until(socket.exists, "the agent")
                patched.setenv("SSH_AUTH_SOCK", str(socket))
                yield
            finally:
                agent.terminate()


def lock(key: Path, form: str = "RFC4716") -> None:
    """Give a key a passphrase; `form` is ssh-keygen's name of the file's."""
    change = ["ssh-keygen", "-q", "-p", "-m", form, "-P", "", "-N", _PASSPHRASE, "-f", str(key)]
    subprocess.run(change, check=True)


def add(key: Path) -> None:
    """As its operator, who types the passphrase where the key has one."""
    ask = key.with_name("ask")
    ask.write_text(f"#!/bin/sh\necho {_PASSPHRASE}\n")
    ask.chmod(0o700)
    asked = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", str(key)], env=asked, check=True, timeout=30)
