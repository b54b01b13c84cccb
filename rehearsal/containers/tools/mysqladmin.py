"""`mysqladmin ping|status|password NEW`; a ping succeeds although the password is refused."""

from __future__ import annotations

from rehearsal.containers.tools.common import NotUnderstood, Options, complain, say
from rehearsal.containers.tools.mysql import NAMES, VALUED, Login
from rehearsal.doubles.database_client import DatabaseError, DatabaseUnreachable


def main(name: str, arguments: list[str]) -> int:
    """Run one command against the server."""
    options = Options(arguments, NAMES, VALUED, {"password"})
    login = Login(options)
    command = next(iter(options.operands), "")
    if command not in ("ping", "status", "password"):
        raise NotUnderstood(f"the command {command!r}")
    try:
        connection = login.connect()
    except DatabaseError as error:
        if not (options.has("silent") and command == "ping"):
            complain(f"{name}: connect to server at '{login.host or 'localhost'}' failed")
            complain(f"error: '{error}'")
        # The server runs and refuses: to a ping that is success (MySQL's manual, mysqladmin).
        refused = not isinstance(error, DatabaseUnreachable)
        return 0 if command == "ping" and refused else 1
    if command == "password":
        host = "localhost" if login.local else "%"
        new = options.operands[1]
        connection.ask({"op": "set_password", "user": login.user, "host": host, "password": new})
    elif command == "ping":
        say("mysqld is alive")
    else:
        say("Uptime: 1  Threads: 1  Questions: 1  Slow queries: 0  Opens: 1")
    return 0
