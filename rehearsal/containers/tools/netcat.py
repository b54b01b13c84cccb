"""`nc -z HOST PORT`: whether something listens."""

from __future__ import annotations

import socket

from rehearsal import inside
from rehearsal.containers.tools.common import NotUnderstood, Options, complain

NAMES = {"-z": "scan", "-v": "verbose", "-w": "wait", "-n": "numeric", "-4": "numeric"}


def main(name: str, arguments: list[str]) -> int:
    """0 when the port takes a connection, else 1."""
    options = Options(arguments, NAMES, {"wait"}, set())
    if not options.has("scan") or len(options.operands) != 2:
        raise NotUnderstood("nc " + " ".join(arguments))
    host, port = options.operands
    try:
        timeout = float(options.get("wait", "10"))
        socket.create_connection((inside.resolve(host), int(port)), timeout).close()
    except socket.gaierror:
        complain(f"nc: bad address '{host}'")
        return 1
    except OSError as error:
        if options.has("verbose"):
            complain(f"nc: {host} ({port}): {error.strerror}")
        return 1
    if options.has("verbose"):
        complain(f"{host} ({port}) open")
    return 0
