"""Runs the rehearsed commands: accepts what `client.py` sends, one thread per command."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import rehearsal.server.commands  # noqa: F401  (registers them)
from rehearsal.server.commands.call import Call, HungUp, run

if TYPE_CHECKING:
    from rehearsal.server.machine import Machine

_STREAMS = 3


class Commander:
    """The server's end of its commands. Its socket has a name nobody can guess, and no file."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._listener: socket.socket | None = None

    def start(self) -> None:
        """Accept commands until `stop`."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind("\0" + self._machine.system.socket)
        self._listener.listen(128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Accept no more."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        streams: list[int] = []
        try:
            with connection:
                header, streams, _, _ = socket.recv_fds(connection, 4, _STREAMS)
                if len(header) == 4 and len(streams) == _STREAMS:
                    code = self._answer(connection, int.from_bytes(header, "big"), streams)
                    connection.sendall(bytes([code & 255]))
        except (OSError, HungUp):
            return
        finally:
            for stream in streams:
                os.close(stream)

    def _answer(self, connection: socket.socket, length: int, streams: list[int]) -> int:
        message = b""
        while len(message) < length:
            message += connection.recv(length - len(message)) or _hang_up()
        count, cwd, *rest = message.decode(errors="surrogateescape").split("\0")
        (name, *arguments), environment = rest[: int(count)], rest[int(count) :]
        machine = self._machine
        call = Call(
            name=name,
            arguments=arguments,
            cwd=Path(cwd),
            env=dict(entry.partition("=")[::2] for entry in environment),
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            system=machine.system,
            engine=machine.engine,
            loop=machine.loop,
            connection=connection,
            address=machine.address,
            pace=machine.pace,
            reboot=machine.reboot_soon,
        )
        try:
            return run(call)
        except HungUp:
            raise
        except Exception:
            call.err(f"the rehearsed {name} failed:\n{traceback.format_exc()}")
            return 255


def _hang_up() -> bytes:
    raise HungUp
