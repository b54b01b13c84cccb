"""Commands on a real server, over this machine's own `ssh`."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from provisioning.host import Step

LIMIT = 300.0
_SSH_FAILED = 255


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it said on both streams."""

    code: int
    said: str


class Running:
    """A command that is under way."""

    def __init__(self, words: list[str], stdin: str) -> None:
        folder = Path(tempfile.mkdtemp(prefix="shell-"))
        self._log = folder / "said"
        self._ssh_log = folder / "ssh"
        (folder / "stdin").write_text(stdin)
        words = ["ssh", "-E", str(self._ssh_log), *words]
        with (folder / "stdin").open() as given, self._log.open("wb") as log:
            self._process = subprocess.Popen(words, stdin=given, stdout=log, stderr=log)

    @property
    def said(self) -> str:
        """What it said until now."""
        return self._log.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait_for(self, text: str) -> None:
        """Until it says this; a failure of the test if it ends without."""
        until(
            lambda: text in self.said or not self.runs,
            f"the command to say {text!r}",
            seen=lambda: self.said,
        )
        if text not in self.said:
            raise AssertionError(f"it did not say {text!r}: {self.end()}")

    def kill(self) -> None:
        """Cut the session."""
        self._process.kill()
        self.end()

    def end(self, limit: float = LIMIT) -> Ran:
        """Its end; a failure of the test if that does not come."""
        code = self._process.wait(timeout=limit)
        broke = self._ssh_log.read_text() if code == _SSH_FAILED else ""
        ran = Ran(code, self.said + broke)
        shutil.rmtree(self._log.parent)
        return ran


@dataclass(frozen=True)
class Shell:
    """Root's login on a server."""

    address: str
    port: int
    key_file: Path

    def begin(self, command: str, stdin: str = "") -> Running:
        """Start a command; `stdin` is all that it reads."""
        return Running([*self._options(), command], stdin)

    def run(self, command: str, stdin: str = "", limit: float = LIMIT) -> Ran:
        """Run a command to its end."""
        return self.begin(command, stdin).end(limit)

    def out(self, command: str, stdin: str = "", limit: float = LIMIT) -> str:
        """What a command says that has to succeed."""
        ran = self.run(command, stdin, limit)
        assert ran.code == 0, f"{command} ended with {ran.code}: {ran.said}"
        return ran.said.strip()

    def upload(self, step: Step) -> None:
        """Put a step's files in place, once the server lets us in: it may be booting."""
        for path, text in step.files.items():
            command = f"mkdir -p $(dirname {path}) && cat >{path}"
            until(
                lambda command=command, text=text: self.run(command, text).code != _SSH_FAILED,
                f"{self.address} to let us in",
            )

    def begin_step(self, step: Step, secrets: dict[str, str] | None = None) -> Running:
        """Upload a step's files and start its command."""
        self.upload(step)
        return self.begin(step.command, (step.stdin or "").format(**(secrets or {})))

    def step(self, step: Step, secrets: dict[str, str] | None = None) -> Ran:
        """Run a step as the program does."""
        return self.begin_step(step, secrets).end(step.time_limit_seconds)

    def _options(self) -> list[str]:
        options = {
            "IdentityFile": str(self.key_file),
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "ConnectTimeout": "10",
        }
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["-F", "none", "-p", str(self.port), *given, f"root@{self.address}"]


def until(
    condition: Callable[[], bool],
    what: str,
    limit: float = LIMIT,
    seen: Callable[[], object] = lambda: None,
) -> None:
    """Wait until it holds; the failure says what was waited for and the last thing seen."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit:.0f} s for {what}; seen: {seen()}"
        time.sleep(0.2)
