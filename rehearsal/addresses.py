"""Addresses of a rehearsal: a block of 127.0.0.0/8 that no other rehearsal on this machine has."""

import errno
import random
import socket
import sys
from collections.abc import Iterator, Sequence

SSH_PORT = 2222
PUBLISHED_PORTS = (3000, 3001, 9997)
_CLAIM_PORT = 3999
_BLOCKS = range(2, 251)
_SERVERS = range(1, 255)


class NoAddresses(Exception):
    """This machine cannot give the rehearsal addresses; the text says why and what to do."""


class Block:
    """127.A.0.0/16. Server n lives at 127.A.n.1, with 127.A.n.2 and up for its containers.

    `outside` (127.A.0.2 and up) is for the emulated world beyond the servers. The block is ours
    until `release`, or until this process ends.
    """

    def __init__(self, number: int, claim: socket.socket) -> None:
        self.number = number
        self._claim = claim
        self._servers = iter(_SERVERS)

    @property
    def prefix(self) -> str:
        """`127.A.`, with which all its addresses begin."""
        return f"127.{self.number}."

    @property
    def outside(self) -> str:
        """An address that belongs to no server."""
        return f"{self.prefix}0.2"

    def fresh_server(self, ports: Sequence[int] = (*PUBLISHED_PORTS, SSH_PORT)) -> str:
        """An address that had no server before, with all of `ports` free.

        Raises:
            NoAddresses: a port is taken on every address, or all addresses were given out.
        """
        for number in self._servers:
            address = f"{self.prefix}{number}.1"
            taken = [port for port in ports if not _is_free(address, port)]
            if not taken:
                return address
            if not any(_is_free(f"{self.prefix}{last}.1", taken[0]) for last in (200, 254)):
                raise NoAddresses(
                    f"port {taken[0]} is taken on all addresses of this machine: another program "
                    f"listens on 0.0.0.0:{taken[0]}. Stop it, or bind it to 127.0.0.1, and run the "
                    "rehearsal again"
                )
        raise NoAddresses(f"all of {self.prefix}0.0/16 was given out: start a new rehearsal")

    def release(self) -> None:
        """Let another rehearsal have the block."""
        self._claim.close()


def claim_block() -> Block:
    """A free block, chosen at random so that rehearsals side by side seldom meet.

    Raises:
        NoAddresses: not on Linux, or no block is free.
    """
    if sys.platform != "linux":
        raise NoAddresses(
            "a rehearsal needs Linux, where all of 127.0.0.0/8 belongs to this machine. On macOS "
            "and Windows run it in a Linux virtual machine or container, or in WSL"
        )
    for number in _shuffled():
        claim = socket.socket()
        try:
            claim.bind((f"127.{number}.0.1", _CLAIM_PORT))
            claim.listen(1)
        except OSError as error:
            claim.close()
            if error.errno == errno.EADDRINUSE:
                continue
            raise NoAddresses(f"127.{number}.0.1 cannot be used: {error}") from error
        return Block(number, claim)
    raise NoAddresses(
        f"no block of 127.0.0.0/8 is free: {len(_BLOCKS)} rehearsals run, or another program "
        f"listens on 0.0.0.0:{_CLAIM_PORT}"
    )


def _shuffled() -> Iterator[int]:
    numbers = list(_BLOCKS)
    random.shuffle(numbers)
    return iter(numbers)


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: what a finished connection left behind is no hindrance, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
