# ruff: noqa: PTH109
"""The other half of a rehearsed command: hands its arguments and streams to the world, and waits.

Started as `python -I -S client.py SOCKET NAME ARGUMENTS...`; only the standard library, and little
of it (no pathlib), because preparing a server runs dozens of these.
"""

import os
import signal
import socket
import sys


def main() -> int:
    """The command's exit code."""
    place, *argv = sys.argv[1:]
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect("\0" + place)
    except OSError:
        sys.stderr.write(f"{argv[0]}: the rehearsed server is gone\n")
        return 255
    environment = [f"{name}={value}" for name, value in os.environ.items()]
    parts = [str(len(argv)), os.getcwd(), *argv, *environment]
    message = "\0".join(parts).encode(errors="surrogateescape")
    header = len(message).to_bytes(4, "big")
    streams = [
        number if _is_open(number) else os.open(os.devnull, os.O_RDWR) for number in range(3)
    ]
    socket.send_fds(connection, [header], streams)
    connection.sendall(message)
    code = connection.recv(1)
    return code[0] if code else 255


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    # A pipe that is closed early ends the command as it would end any other.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
