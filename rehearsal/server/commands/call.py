"""One run of a rehearsed command, and the register of all commands."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rehearsal.containers.engine import Engine
    from rehearsal.server.system import System

_Answer = TypeVar("_Answer")


class Ends(Exception):
    """Ends the command with an exit code, and a text on stderr."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(text)
        self.code, self.text = code, text


class HungUp(Exception):
    """Who called the command is gone: a broken connection, or a `timeout`."""


@dataclass
class Call:
    """What a command works with.

    Attributes:
        name, arguments: as typed.
        env: the caller's environment.
        stdin, stdout, stderr: the caller's own file descriptors.
        reboot: reboots (True) or switches off the server.
        region, address: of the server.
    """

    name: str
    arguments: list[str]
    cwd: Path
    env: dict[str, str]
    stdin: int
    stdout: int
    stderr: int
    system: System
    engine: Engine
    loop: asyncio.AbstractEventLoop
    connection: socket.socket
    address: str
    pace: float
    reboot: Callable[[bool], None] = field(repr=False)

    @property
    def region(self) -> str:
        """The server's region."""
        return self.system.region

    def out(self, text: str | bytes) -> None:
        """Write to stdout."""
        _write(self.stdout, text)

    def err(self, text: str | bytes) -> None:
        """Write to stderr."""
        _write(self.stderr, text)

    def read_stdin(self) -> bytes:
        """All of stdin."""
        chunks = []
        while chunk := os.read(self.stdin, 65536):
            chunks.append(chunk)
        return b"".join(chunks)

    def path(self, argument: str) -> Path:
        """The file that an argument names.

        Raises:
            Ends: it lies outside of the server's tree.
        """
        place = self.cwd / argument
        # Symbolic links are not followed: a link out of the tree is what a script made itself.
        inside = Path(os.path.normpath(place))
        if not inside.is_relative_to(self.system.root) and not str(inside).startswith("/dev/"):
            raise Ends(
                1,
                f"{self.name}: {argument} is outside of the rehearsed tree: write "
                f"${{LAB_ROOT:-}}{argument}\n",
            )
        return inside

    def wait(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        """Run `work` in the engine's loop.

        Raises:
            HungUp: the caller went away; `work` is cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        while not concurrent.futures.wait([future], timeout=0.25).done:
            self._check(future.cancel)
        return future.result()

    def pause(self, seconds: float) -> None:
        """Take some time.

        Raises:
            HungUp: the caller went away.
        """
        until = time.monotonic() + seconds / self.pace
        while (left := until - time.monotonic()) > 0:
            self._check(lambda: None)
            time.sleep(min(left, 0.05))

    def _check(self, cleanup: Callable[[], object]) -> None:
        try:
            gone = self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            cleanup()
            raise HungUp


def _write(stream: int, text: str | bytes) -> None:
    left = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    try:
        while left:
            left = left[os.write(stream, left) :]
    except OSError as error:
        raise HungUp from error


Command = Callable[[Call], int]
"""Carries a call out; its exit code."""

COMMANDS: dict[str, Command] = {}
"""By name. Which of them are on PATH is decided by what is installed."""


def command(*names: str) -> Callable[[Command], Command]:
    """Register a function as the commands of these names."""

    def register(function: Command) -> Command:
        COMMANDS.update(dict.fromkeys(names, function))
        return function

    return register


def run(call: Call) -> int:
    """The exit code of a call; what a command says when it fails is on its stderr."""
    try:
        return COMMANDS[call.name](call)
    except Ends as end:
        if end.text:
            call.err(end.text)
        return end.code


@dataclass
class Options:
    """Parsed options of one command line.

    Attributes:
        flags: those without a value, as written (`-q`, `--now`).
        values: those with one; repeated ones keep all.
        operands: everything else.
    """

    flags: set[str] = field(default_factory=set)
    values: dict[str, list[str]] = field(default_factory=dict)
    operands: list[str] = field(default_factory=list)

    def value(self, *names: str) -> str | None:
        """The last value of any of these options."""
        found = [value for name in names for value in self.values.get(name, [])]
        return found[-1] if found else None

    def has(self, *names: str) -> bool:
        """Whether any of these flags was given."""
        return bool(self.flags & set(names))


def parse(
    arguments: list[str],
    flags: str,
    values: str = "",
    unknown: Callable[[str], Exception] | None = None,
    stop_at_operand: bool = False,
) -> Options:
    """Options as getopt reads them: `-qy`, `-o X`, `-oX`, `--name X`, `--name=X`.

    Args:
        flags, values: the known options without and with a value, separated by spaces.
        unknown: makes the error for any other option.
        stop_at_operand: options end at the first operand (`docker run IMAGE -c ...`).

    Raises:
        Ends: an unknown option, unless `unknown` says otherwise.
    """
    known, valued = set(flags.split()), set(values.split())
    found = Options()
    queue = list(arguments)
    refuse = unknown or (lambda option: Ends(2, f"unrecognized option '{option}'\n"))
    while queue:
        item = queue.pop(0)
        if item == "--":
            found.operands += queue
            break
        if not item.startswith("-") or item == "-":
            found.operands.append(item)
            if stop_at_operand:
                found.operands += queue
                break
            continue
        name, equals, attached = item.partition("=")
        if item.startswith("--") or name in valued or name in known:
            _long(found, name, attached if equals else None, queue, known, valued, refuse)
        else:
            _short(found, item, queue, known, valued, refuse)
    return found


def _long(
    found: Options,
    name: str,
    attached: str | None,
    queue: list[str],
    known: set[str],
    valued: set[str],
    refuse: Callable[[str], Exception],
) -> None:
    if name in valued:
        if attached is None and not queue:
            raise refuse(name)
        value = queue.pop(0) if attached is None else attached
        found.values.setdefault(name, []).append(value)
    elif name in known and attached in (None, "true"):
        found.flags.add(name)
    elif not (name in known and attached == "false"):
        raise refuse(name)


def _short(
    found: Options,
    item: str,
    queue: list[str],
    known: set[str],
    valued: set[str],
    refuse: Callable[[str], Exception],
) -> None:
    letters = item[1:]
    while letters:
        name, letters = f"-{letters[0]}", letters[1:]
        if name in known:
            found.flags.add(name)
        elif name in valued:
            if not letters and not queue:
                raise refuse(name)
            found.values.setdefault(name, []).append(letters or queue.pop(0))
            letters = ""
        else:
            raise refuse(name)
