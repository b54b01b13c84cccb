"""Starts and stops the programs that cases talk to, on loopback, with their own folders."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.waiting import until

PROJECT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0
_numbers = itertools.count()


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
        return self._log.read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def listens(self) -> bool:
        """Whether something accepts connections where it should."""
        with socket.socket() as attempt:
            attempt.settimeout(1)
            return attempt.connect_ex((self.address, self.port)) == 0

    def wait_until_listening(self) -> None:
        """An error when it ends before, or takes too long."""
        until(lambda: self.exit_code is not None or self.listens(), "a port", self._last_words)
        assert self.exit_code is None, f"it ended with code {self.exit_code}: {self._last_words()}"

    def wait_exit(self) -> int:
        """The code with which it ends by itself."""
        until(lambda: self.exit_code is not None, "the process to end", self._last_words)
        assert self.exit_code is not None
        return self.exit_code

    def stop(self) -> None:
        if self.exit_code is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def _last_words(self) -> str:
        return self.log[-2000:]


class Network(httpx.HTTPTransport):
    """Our side's real connections.

    Attributes:
        calls: (method, path), in order.
        address: sent as X-Forwarded-For, which OneAPI believes (`docs/facts/oneapi.md §3`).
        override: a documented answer by path, where a service cannot be brought to it.
        spoil: by method and path, what is changed in a request, as by a mistake of ours.
    """

    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self.calls: list[tuple[str, str]] = []
        self.address = ""
        self.override: dict[str, httpx.Response] = {}
        self.spoil: dict[tuple[str, str], dict[str, Any]] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        call = (request.method, request.url.path)
        self.calls.append(call)
        if call[1] in self.override:
            return self.override[call[1]]
        if self.address:
            request.headers["X-Forwarded-For"] = self.address
        if call in self.spoil:
            body = {**json.loads(request.content), **self.spoil[call]}
            headers = {**request.headers}
            del headers["content-length"]
            request = httpx.Request(*call[:1], request.url, headers=headers, json=body)
        return super().handle_request(request)

    def changes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] != "GET"]


def contained(
    folder: Path,
    command: str,
    address: str,
    port: int,
    pass_fds: Any = (),
    **environment: str,
) -> Program:
    """A Python module as the stage runs it in a container, whose tree is `folder/root`."""
    (folder / "root").mkdir(parents=True, exist_ok=True)
    usual = {
        "REHEARSAL_ADDRESS": address,
        "REHEARSAL_ROOT": str(folder / "root"),
        "REHEARSAL_HOSTS": str(folder / "hosts.json"),
    }
    words = [sys.executable, "-m", *command.split()]
    told = plain_environment(**{**usual, **environment})
    return Program(words, told, folder, port, address, pass_fds)


def resolve(folder: Path, hosts: Mapping[str, str]) -> None:
    """The names that a container of this folder can look up from now on."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / "hosts.new"
    fresh.write_text(json.dumps(dict(hosts)))
    fresh.replace(folder / "hosts.json")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def new_address() -> str:
    """A loopback address that nothing else of this test run has."""
    return f"127.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}.{next(_numbers) % 250 + 1}"


def plain_environment(**own: str) -> dict[str, str]:
    """The caller's environment without settings that would reach into a subject, plus `own`."""
    kept = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "TMPDIR", "SYSTEMROOT")
    usual = {name: os.environ[name] for name in kept if name in os.environ}
    return {**usual, "PYTHONPATH": str(PROJECT), **own}
