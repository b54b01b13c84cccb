"""MySQL for both subjects: MariaDB for the real one, the rehearsed database for the double."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tests.contract.processes import Program, free_port, listens, plain_environment

PROJECT = Path(__file__).resolve().parents[2]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Login:
    """Where a database is, and as whom."""

    host: str
    port: int
    password: str
    database: str
    user: str = "root"

    @property
    def dsn(self) -> str:
        """In go-sql-driver's form (docs/facts/oneapi.md §1)."""
        return f"{self.user}:{self.password}@tcp({self.host}:{self.port})/{self.database}"

    def but(self, **changes: str | int) -> Login:
        """The same with some parts changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


class Databases(Protocol):
    """Gives away empty MySQL databases."""

    def new(self) -> Login:
        """An empty database."""

    def stop(self) -> None:
        """End all servers."""


class MariaDb:
    """One server on loopback, one database for every call. Skips nothing: see `missing`."""

    def __init__(self, folder: Path) -> None:
        data, self._socket = folder / "data", folder / "s"
        self._password = secrets.token_hex(8) + "p@s/s:w#1"
        common = ["--no-defaults", f"--datadir={data}"]
        if os.geteuid() == 0:
            common.append("--user=root")
        _quietly(
            "mariadb-install-db",
            *common,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )
        self._port = free_port()
        self._server = Program(
            [
                _mariadbd(),
                *common,
                f"--socket={self._socket}",
                f"--port={self._port}",
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                f"--pid-file={folder / 'pid'}",
            ],
            plain_environment(),
            folder / "server",
        )
        self._server.wait_until(lambda: listens("127.0.0.1", self._port), "MariaDB to listen")
        self._run(
            f"ALTER USER root@localhost IDENTIFIED BY '{self._password}';"
            f"CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{self._password}';"
            "GRANT ALL ON *.* TO root@'127.0.0.1';",
            "",
        )

    @staticmethod
    def missing() -> str:
        """Why it cannot be had here; empty when it can."""
        installed = _mariadbd() and shutil.which("mariadb-install-db") and shutil.which("mariadb")
        return "" if installed else "MariaDB is not installed (Debian: mariadb-server)"

    def new(self) -> Login:
        """See `Databases`."""
        name = f"oneapi_{secrets.token_hex(4)}"
        self._run(f"CREATE DATABASE {name} CHARACTER SET utf8mb4", self._password)
        return Login("127.0.0.1", self._port, self._password, name)

    def stop(self) -> None:
        """See `Databases`."""
        self._server.stop()

    def _run(self, statement: str, password: str) -> None:
        _quietly(
            "mariadb",
            "--no-defaults",
            f"--socket={self._socket}",
            "--user=root",
            statement=statement,
            password=password,
        )


class RehearsedMySql:
    """A rehearsed MySQL container for every database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: list[Program] = []

    def new(self) -> Login:
        """See `Databases`."""
        number = next(_numbers)
        address = own_address(number)
        root = self._folder / f"mysql{number}"
        (root / "var/lib/mysql").mkdir(parents=True)
        login = Login(address, 3306, secrets.token_hex(8) + "p@s/s:w#1", "oneapi")
        environment = plain_environment(
            PYTHONPATH=str(PROJECT),
            REHEARSAL_ADDRESS=address,
            REHEARSAL_ROOT=str(root),
            MYSQL_ROOT_PASSWORD=login.password,
            MYSQL_DATABASE=login.database,
            REHEARSAL_DATABASE_FIRST_BOOT="0",
        )
        command = [sys.executable, "-m", "rehearsal.doubles.database", "mysql"]
        server = Program(command, environment, root / "process")
        self._servers.append(server)
        server.wait_until(lambda: listens(address, 3306), "the rehearsed MySQL to listen")
        return login

    def stop(self) -> None:
        """See `Databases`."""
        for server in self._servers:
            server.stop()


class Gate:
    """A TCP forwarder that can be shut: a database that goes away under its clients."""

    def __init__(self, behind: Login) -> None:
        self._behind = behind
        self._lines: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.login = behind.but(host="127.0.0.1", port=self._listening.getsockname()[1])
        self._open = threading.Event()
        self._open.set()
        threading.Thread(target=self._serve, args=(self._listening,), daemon=True).start()

    def shut(self) -> None:
        """Refuse new connections and break those that stand."""
        self._open.clear()
        _hang_up(self._listening)
        for line in self._lines:
            _hang_up(line)

    def open_again(self) -> None:
        """Listen on the same port as before."""
        self._lines.clear()
        self._open.set()
        self._listening = socket.create_server(("127.0.0.1", self.login.port))
        threading.Thread(target=self._serve, args=(self._listening,), daemon=True).start()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                near, _ = listening.accept()
                far = socket.create_connection((self._behind.host, self._behind.port))
            except OSError:
                return
            self._lines += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def own_address(number: int) -> str:
    """The `number`th (1 to 254) loopback address of this test run; databases count from 1."""
    return f"127.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}.{number}"


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    _hang_up(source)
    _hang_up(target)


def _hang_up(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()


def _mariadbd() -> str:
    return shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""


def _quietly(*command: str, statement: str = "", password: str = "") -> None:
    environment = plain_environment(MYSQL_PWD=password)
    done = subprocess.run(
        command,
        env=environment,
        input=statement,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{command[0]} failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
