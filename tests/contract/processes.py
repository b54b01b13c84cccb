"""Starts and stops the programs that cases talk to, on loopback, with their own folders."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0
_POLL_SECONDS = 0.02


class Program:
    """A child process; its output is in `folder/log`, `address` and `port` are where it listens."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        port: int = 0,
        address: str = "127.0.0.1",
        pass_fds: Sequence[int] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port
        self.address = address
        self._log = folder / "log"
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=pass_fds,
            )

    @property
    def log(self) -> str:
        """All it printed so far."""
        return self._log.read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait for `ready`; an error when the program ends before, or takes too long."""

        def settled() -> bool:
            return self.exit_code is not None or ready()

        wait_for(settled, what, lambda: self.log[-2000:])
        if self.exit_code is not None:
            raise AssertionError(
                f"waited for {what}, but it ended with code {self.exit_code}:\n{self.log[-2000:]}"
            )

    def wait_exit(self) -> int:
        """The code with which it ends by itself."""
        wait_for(lambda: self.exit_code is not None, "the process to end", lambda: self.log[-2000:])
        assert self.exit_code is not None
        return self.exit_code

    def stop(self) -> None:
        """End it, if it still runs."""
        if self.exit_code is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


def wait_for(
    done: Callable[[], bool],
    what: str,
    last_seen: Callable[[], str] = str,
    seconds: float = START_SECONDS,
) -> None:
    """Poll until `done`; the error says what was waited for and what was seen last."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}; last seen: {last_seen()}")
        time.sleep(_POLL_SECONDS)


def listens(address: str, port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as attempt:
        attempt.settimeout(1)
        return attempt.connect_ex((address, port)) == 0


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def plain_environment(**own: str) -> dict[str, str]:
    """The caller's environment without settings that would reach into a subject, plus `own`."""
    kept = ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR", "SYSTEMROOT")
    return {**{name: os.environ[name] for name in kept if name in os.environ}, **own}


def own_address(number: int) -> str:
    """The `number`th (1 to 254) loopback address of this test run."""
    return f"127.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}.{number}"
