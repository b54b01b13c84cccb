"""`pg_isready`: 0 accepting, 2 no response; it looks at no password."""

from __future__ import annotations

import os

from rehearsal.containers.tools.common import Options, say
from rehearsal.doubles.database_client import Connection, DatabaseError

SOCKET_FOLDER = "/var/run/postgresql"
NAMES = {
    "-h": "host",
    "--host": "host",
    "-p": "port",
    "--port": "port",
    "-U": "user",
    "--username": "user",
    "-d": "database",
    "--dbname": "database",
    "-t": "timeout",
    "--timeout": "timeout",
    "-q": "quiet",
    "--quiet": "quiet",
}


def main(name: str, arguments: list[str]) -> int:
    """Look whether the server answers."""
    options = Options(arguments, NAMES, {"host", "port", "user", "database", "timeout"}, set())
    host = options.get("host") or os.environ.get("PGHOST") or SOCKET_FOLDER
    port = int(options.get("port") or os.environ.get("PGPORT") or 5432)
    answers = _answers(host, port)
    if not options.has("quiet"):
        say(f"{host}:{port} - {'accepting connections' if answers else 'no response'}")
    return 0 if answers else 2


def _answers(host: str, port: int) -> bool:
    try:
        place = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else host
        connection = Connection(place, port, timeout=3)
        connection.ask({"op": "ping"})
    except DatabaseError:
        return False
    connection.close()
    return True
