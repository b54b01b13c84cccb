"""`psql`: runs SQL against the rehearsed PostgreSQL, as the login it was given.

Understands literals and version() in SELECT, COUNT(*) of a table, ALTER USER|ROLE ... PASSWORD,
and from stdin `\\getenv`, `\\set` and variables. As the real one it ends with 0 after a failed
statement from stdin, unless ON_ERROR_STOP is set.
"""

from __future__ import annotations

import os
import re
import sys
from urllib.parse import unquote, urlsplit

from rehearsal import inside
from rehearsal.containers.tools.common import NotUnderstood, Options, complain, say, statements
from rehearsal.doubles.database_client import (
    LOOPBACK,
    Connection,
    DatabaseError,
    DatabaseUnreachable,
)

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
    "-c": "command",
    "--command": "command",
    "-f": "file",
    "--file": "file",
    "-v": "set",
    "--set": "set",
    "--variable": "set",
    "-t": "tuples",
    "--tuples-only": "tuples",
    "-A": "unaligned",
    "--no-align": "unaligned",
    "-q": "quiet",
    "--quiet": "quiet",
    "-X": "no-rc",
    "--no-psqlrc": "no-rc",
    "-w": "no-password",
    "--no-password": "no-password",
    "-1": "single",
}
VALUED = {"host", "port", "user", "database", "command", "file", "set"}
_NAME = r"(?:\"[^\"]*\"|\w+)"
_ALTER = re.compile(
    rf"ALTER\s+(?:USER|ROLE)\s+(?P<user>{_NAME}|CURRENT_USER)\s+(?:WITH\s+)?"
    r"(?:ENCRYPTED\s+)?PASSWORD\s+'(?P<password>(?:[^']|'')*)'",
    re.I | re.S,
)
_COUNT = re.compile(r"SELECT\s+COUNT\(\s*(?:\*|1)\s*\)\s+FROM\s+\"?(\w+)\"?", re.I)
_LITERAL = re.compile(r"SELECT\s+(\d+|'[^']*'|version\(\)|now\(\))", re.I)
_VARIABLE = re.compile(r"(?<![:\w]):(?:'(\w+)'|\"(\w+)\"|(\w+))")


class Login:
    """Where and as whom: from options, a URI and the environment."""

    def __init__(self, options: Options) -> None:
        env = os.environ
        operands = [*options.operands, "", ""]
        database = options.get("database") or operands[0]
        uri = urlsplit(database) if re.match(r"postgres(ql)?://", database) else None
        self.host = (uri and uri.hostname) or options.get("host") or env.get("PGHOST", "")
        port = (uri and uri.port) or options.get("port") or env.get("PGPORT") or 5432
        self.port = int(port)
        user = (uri and unquote(uri.username or "")) or options.get("user") or operands[1]
        self.user = user or env.get("PGUSER") or "root"
        self.password = (uri and unquote(uri.password or "")) or env.get("PGPASSWORD", "")
        named = uri.path.lstrip("/") if uri else database
        self.database = named or env.get("PGDATABASE") or self.user

    def connect(self) -> Connection:
        """A logged-in connection.

        Raises:
            DatabaseError: with the real client's text.
        """
        local = self.host == "" or self.host.startswith("/")
        path = f"{self.host or SOCKET_FOLDER}/.s.PGSQL.{self.port}"
        where = f'on socket "{path}"' if local else self._at()
        try:
            connection = Connection(path if local else self.host, self.port)
        except DatabaseUnreachable as error:
            if "ENOTFOUND" in str(error):
                text = f'could not translate host name "{self.host}" to address: '
                raise DatabaseUnreachable(f"{text}Name or service not known") from error
            reason = getattr(error.__cause__, "strerror", None) or str(error)
            hint = (
                "locally and accepting connections on that socket?"
                if local
                else ("on that host and accepting TCP/IP connections?")
            )
            text = f"connection to server {where} failed: {reason}\n\tIs the server running {hint}"
            raise DatabaseUnreachable(text) from error
        request = {"op": "auth", "user": self.user, "password": self.password}
        request["database"] = self.database
        if self.host in LOOPBACK:
            request["via"] = "loopback"
        try:
            connection.ask(request)
        except DatabaseError as error:
            lacking = error.sqlstate == "28P01" and not self.password
            said = "fe_sendauth: no password supplied" if lacking else f"FATAL:  {error}"
            raise DatabaseError(f"connection to server {where} failed: {said}") from error
        return connection

    def _at(self) -> str:
        try:
            address = inside.resolve(self.host)
        except OSError:
            address = self.host
        return f'at "{self.host}" ({address}), port {self.port}'


def main(name: str, arguments: list[str]) -> int:
    """Run `-c`, `-f`, else stdin. Exit codes as psql's: 1 command, 2 connection, 3 script."""
    options = Options(arguments, NAMES, VALUED, set())
    login = Login(options)
    try:
        connection = login.connect()
    except DatabaseError as error:
        complain(f"psql: error: {error}")
        return 2
    if options.has("command"):
        return _commands(connection, login, options)
    return _script(_text(options), connection, login, options)


def _text(options: Options) -> str:
    inner = options.get("file", "-")
    return sys.stdin.read() if inner == "-" else inside.path(inner).read_text()


def _commands(connection: Connection, login: Login, options: Options) -> int:
    for command in options.all("command"):
        for statement in statements(command):
            try:
                _run(statement, connection, login, options)
            except DatabaseError as error:
                complain(f"ERROR:  {error}")
                return 1
    return 0


def _script(text: str, connection: Connection, login: Login, options: Options) -> int:
    variables = dict(pair.split("=", 1) for pair in options.all("set") if "=" in pair)
    lines = []
    for line in text.splitlines():
        if line.lstrip().startswith("\\"):
            _meta(line.split(), variables)
        else:
            lines.append(_VARIABLE.sub(lambda found: _value(found, variables), line))
    stops = variables.get("ON_ERROR_STOP", "0").lower() in ("1", "on", "true", "yes")
    for statement in statements("\n".join(lines)):
        try:
            _run(statement, connection, login, options)
        except DatabaseError as error:
            complain(f"psql:<stdin>: ERROR:  {error}")
            if stops:
                return 3
    return 0


def _meta(words: list[str], variables: dict[str, str]) -> None:
    if words[0] == "\\getenv" and len(words) == 3:
        if words[2] in os.environ:
            variables[words[1]] = os.environ[words[2]]
    elif words[0] == "\\set" and len(words) == 3 and "`" not in words[2]:
        variables[words[1]] = words[2].strip("'")
    elif words[0] != "\\q":
        raise NotUnderstood(words[0])


def _value(found: re.Match[str], variables: dict[str, str]) -> str:
    literal, identifier, plain = found.groups()
    name = literal or identifier or plain
    if name not in variables:
        return found[0]
    value = variables[name]
    if literal:
        return "'" + value.replace("'", "''") + "'"
    return '"' + value.replace('"', '""') + '"' if identifier else value


def _run(statement: str, connection: Connection, login: Login, options: Options) -> None:
    bare = " ".join(statement.split())
    if match := _ALTER.fullmatch(statement):
        user = match["user"]
        named = user[1:-1] if user.startswith('"') else user.lower()
        user = login.user if named == "current_user" else named
        password = match["password"].replace("''", "'")
        connection.ask({"op": "set_password", "user": user, "password": password})
        if not options.has("quiet"):
            say("ALTER ROLE")
    elif match := _COUNT.fullmatch(bare):
        rows = connection.ask({"op": "list", "collection": match[1]})["items"]
        _table("count", str(len(rows)), options)
    elif match := _LITERAL.fullmatch(bare):
        connection.ask({"op": "ping"})
        title = match[1].rstrip("()") if match[1].endswith("()") else "?column?"
        _table(title, match[1].strip("'"), options)
    else:
        raise NotUnderstood(re.sub(r"'[^']*'", "'...'", bare))


def _table(title: str, value: str, options: Options) -> None:
    if options.has("tuples"):
        say(value if options.has("unaligned") else f" {value}\n")
    elif options.has("unaligned"):
        say(f"{title}\n{value}\n(1 row)")
    else:
        width = max(len(title), len(value))
        say(f" {title.center(width)} \n{'-' * (width + 2)}\n {value.rjust(width)}\n(1 row)\n")
