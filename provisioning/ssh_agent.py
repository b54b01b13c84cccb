"""The operator's ssh-agent, asked before anything is rented."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from provisioning.problems import Problem

_SECONDS = 10.0
# An sshd hangs up after so many keys that it does not know (MaxAuthTries), and the command provider
# offers all that the agent holds, in the agent's order.
_OFFERS = 6
_NOBODY = 2


def agent_problems(wanted: bool, private: Path, public: str) -> Iterator[Problem]:
    """What keeps the agent at SSH_AUTH_SOCK from signing for the lab's key.

    The command provider dials that socket with a private key of its own, too, and takes silence
    there for an error (1.2.1, provider/pkg/provider/remote/connection.go).

    Args:
        wanted: whether the agent is to sign, as the setting `sshAgent` says.
        private: the key's file, for the advice.
        public: the key's public half; what follows its type and itself is not looked at.
    """
    if not wanted and not os.environ.get("SSH_AUTH_SOCK"):
        return
    add = f"ssh-add {shlex.quote(str(private))}"
    path = "sshAgent" if wanted else "SSH_AUTH_SOCK"
    try:
        listed = subprocess.run(
            ["ssh-add", "-L"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        if wanted:
            yield Problem(path, "the program ssh-add is not there", "install OpenSSH's client")
        return
    except subprocess.TimeoutExpired:
        listed = subprocess.CompletedProcess([], _NOBODY)
    if listed.returncode == _NOBODY:
        start = f'start one and give it the key: eval "$(ssh-agent)" && {add}'
        right = start if wanted else "take the name away: `unset SSH_AUTH_SOCK`"
        yield Problem(path, "no ssh-agent answers at SSH_AUTH_SOCK", right)
    elif wanted:
        held = [line.split()[:2] for line in listed.stdout.splitlines()]
        yield from _missing(held, public.split()[:2], private, add)


def _missing(held: list[list[str]], key: list[str], private: Path, add: str) -> Iterator[Problem]:
    if key not in held:
        yield Problem("sshAgent", f"the ssh-agent does not hold {private}", f"run `{add}`")
    elif (before := held.index(key)) >= _OFFERS:
        wrong = f"the ssh-agent offers {before} keys before {private}, and a server hangs up first"
        yield Problem("sshAgent", wrong, f"empty it and begin with this key: ssh-add -D && {add}")
