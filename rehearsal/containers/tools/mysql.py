"""`mysql`: runs SQL against the rehearsed MySQL, as the login it was given.

Understands literals and VERSION() in SELECT, COUNT(*) of a table, ALTER USER ... IDENTIFIED BY,
SET PASSWORD, FLUSH PRIVILEGES, USE, SHOW DATABASES.
"""

from __future__ import annotations

import os
import re
import sys

from rehearsal import inside
from rehearsal.containers.tools.common import NotUnderstood, Options, complain, say, statements
from rehearsal.doubles.database_client import Connection, DatabaseError, DatabaseUnreachable

SOCKET = "/var/run/mysqld/mysqld.sock"
NAMES = {
    "-h": "host",
    "--host": "host",
    "-P": "port",
    "--port": "port",
    "-u": "user",
    "--user": "user",
    "-p": "password",
    "--password": "password",
    "-e": "execute",
    "--execute": "execute",
    "-D": "database",
    "--database": "database",
    "-S": "socket",
    "--socket": "socket",
    "--protocol": "protocol",
    "--connect-timeout": "timeout",
    "--connect_timeout": "timeout",
    "--defaults-extra-file": "defaults",
    "--defaults-file": "defaults",
    "-N": "no-names",
    "--skip-column-names": "no-names",
    "-s": "silent",
    "--silent": "silent",
    "-B": "batch",
    "--batch": "batch",
    "-r": "batch",
    "-w": "wait",
    "--wait": "wait",
    "--no-auto-rehash": "batch",
    "-A": "batch",
}
VALUED = {
    "host",
    "port",
    "user",
    "execute",
    "database",
    "socket",
    "protocol",
    "timeout",
    "defaults",
}
_STRING = r"(?:'(?P<{0}>(?:[^'\\]|\\.|'')*)')"
_NAME = r"(?:'[^']*'|\"[^\"]*\"|`[^`]*`|[\w.%-]+)"
_ACCOUNT = rf"(?P<user>{_NAME})(?:\s*@\s*(?P<host>{_NAME}))?"
_CHANGE = re.compile(
    rf"\s*(?P<self>USER\(\)|CURRENT_USER(?:\(\))?)?(?:{_ACCOUNT})?\s+IDENTIFIED\s+"
    rf"(?:WITH\s+{_NAME}\s+)?BY\s+{_STRING.format('password')}\s*",
    re.I | re.S,
)
_SET = re.compile(
    rf"SET\s+PASSWORD(?:\s+FOR\s+{_ACCOUNT})?\s*=\s*{_STRING.format('password')}", re.I | re.S
)
_COUNT = re.compile(r"SELECT\s+COUNT\(\s*(?:\*|1)\s*\)\s+FROM\s+`?(\w+)`?", re.I)
_LITERALS = re.compile(r"SELECT\s+(\d+|'[^']*'|VERSION\(\)|DATABASE\(\))(\s+FROM\s+DUAL)?", re.I)


class Login:
    """Where and as whom: from options, an option file and the environment."""

    def __init__(self, options: Options) -> None:
        filed = _option_file(options.get("defaults")) if options.has("defaults") else {}
        self.host = options.get("host") or filed.get("host") or os.environ.get("MYSQL_HOST", "")
        self.port = int(options.get("port") or filed.get("port") or 3306)
        self.user = options.get("user") or filed.get("user") or "root"
        self.socket = options.get("socket") or filed.get("socket") or SOCKET
        self.password = filed.get("password", os.environ.get("MYSQL_PWD", ""))
        if options.has("password"):
            self.password = options.get("password")
            if not self.password:
                raise NotUnderstood("-p without an attached password: nobody is here to type it")
        by_tcp = options.get("protocol").lower() == "tcp"
        self.local = self.host in ("", "localhost") and not by_tcp

    def connect(self, database: str = "") -> Connection:
        """A logged-in connection.

        Raises:
            DatabaseUnreachable: with the real client's text.
            DatabaseError: the login was refused.
        """
        try:
            at = (self.socket, 0) if self.local else (self.host or "localhost", self.port)
            connection = Connection(*at)
        except DatabaseUnreachable as error:
            raise self._unreachable(error) from error
        request = {"op": "auth", "user": self.user, "password": self.password}
        connection.ask({**request, "database": database})
        return connection

    def _unreachable(self, error: DatabaseUnreachable) -> DatabaseUnreachable:
        number = getattr(error.__cause__, "errno", None)
        if self.local:
            text = f"Can't connect to local MySQL server through socket '{self.socket}' ({number})"
            return DatabaseUnreachable(text, 2002, "HY000")
        if "ENOTFOUND" in str(error):
            text = f"Unknown MySQL server host '{self.host}' (-2)"
            return DatabaseUnreachable(text, 2005, "HY000")
        text = f"Can't connect to MySQL server on '{self.host}:{self.port}' ({number})"
        return DatabaseUnreachable(text, 2003, "HY000")


def main(name: str, arguments: list[str]) -> int:
    """Run the statements of `-e`, else those of stdin."""
    options = Options(arguments, NAMES, VALUED, {"password"})
    login = Login(options)
    if options.get("password"):
        complain(
            f"{name}: [Warning] Using a password on the command line interface can be insecure."
        )
    database = options.get("database") or next(iter(options.operands), "")
    text = options.get("execute") if options.has("execute") else sys.stdin.read()
    try:
        connection = login.connect(database)
        for place, statement in enumerate(statements(text), 1):
            connection = _run(statement, connection, login, options, place)
    except DatabaseError as error:
        state = f" ({error.sqlstate})" if error.sqlstate else ""
        complain(f"ERROR {error.code}{state}: {error}")
        return 1
    return 0


def _run(
    statement: str, connection: Connection, login: Login, options: Options, place: int
) -> Connection:
    """Carry out one statement; the connection to go on with."""
    bare = " ".join(statement.split())
    if bare.upper() == "FLUSH PRIVILEGES":
        connection.ask({"op": "ping"})
    elif match := re.fullmatch(r"USE\s+`?(\w+)`?", bare, re.I):
        return login.connect(match[1])
    elif match := _COUNT.fullmatch(bare):
        rows = connection.ask({"op": "list", "collection": match[1]})["items"]
        _table(bare[7 : bare.upper().index(" FROM")], [str(len(rows))], options)
    elif match := _LITERALS.fullmatch(bare):
        connection.ask({"op": "ping"})
        _table(match[1].strip("'"), [_literal(match[1])], options)
    elif bare.upper().startswith("ALTER USER "):
        _alter(statement, connection, login)
    elif match := _SET.fullmatch(statement):
        _change(connection, [_account(match, login)])
    else:
        raise NotUnderstood(_without_secrets(bare))
    return connection


def _alter(statement: str, connection: Connection, login: Login) -> None:
    rest = re.sub(r"(?is)^ALTER\s+USER\s+(?:IF\s+EXISTS\s+)?", "", statement)
    accounts = []
    while rest:
        match = _CHANGE.match(rest)
        if match is None:
            raise NotUnderstood(_without_secrets(statement))
        accounts.append(_account(match, login))
        rest = rest[match.end() :]
        if rest and not rest.startswith(","):
            raise NotUnderstood(_without_secrets(statement))
        rest = rest[1:]
    _change(connection, accounts)


def _change(connection: Connection, accounts: list[dict[str, str]]) -> None:
    connection.ask({"op": "set_password", "accounts": accounts})


def _account(match: re.Match[str], login: Login) -> dict[str, str]:
    password = _unescaped(match["password"])
    user = match["user"]
    if user is None:
        return {
            "user": login.user,
            "host": "localhost" if login.local else "%",
            "password": password,
        }
    host = match["host"]
    return {"user": _name(user), "host": _name(host) if host else "%", "password": password}


def _literal(text: str) -> str:
    if text.upper() == "VERSION()":
        return os.environ.get("REHEARSAL_IMAGE_TAG", "8.0.36")
    return text.strip("'")


def _table(title: str, rows: list[str], options: Options) -> None:
    """Tab-separated as for anything that is no terminal."""
    for line in rows if options.has("no-names") else [title, *rows]:
        say(line)


def _option_file(inner: str) -> dict[str, str]:
    """The `[client]` and `[mysql]` sections' values."""
    place = inside.path(inner) if inner.startswith("/") else None
    if place is None or not place.exists():
        raise NotUnderstood(f"the option file {inner}, which is not in the container")
    lines = [line.strip() for line in place.read_text().splitlines()]
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _name(quoted: str) -> str:
    return quoted[1:-1] if quoted[0] in "'\"`" else quoted


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text.replace("''", "'"), flags=re.S)


def _without_secrets(statement: str) -> str:
    return re.sub(r"'[^']*'", "'...'", statement)
