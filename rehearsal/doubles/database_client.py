"""A small client of the rehearsed databases, for the doubles that keep their data there.

The protocol is one JSON object per line each way, over TCP or the Unix socket.
`rehearsal/doubles/database.py` answers it.

| request | answer |
|---|---|
| `{"op":"ping"}` | `{"ok":true}`, also before `auth` |
| `{"op":"hello"}` | `{"ok":true,"kind","set_name"?,"me"?,"writable"}`, also before `auth` |
| `{"op":"auth","user","password","database","auth_source"?,"via"?}` | `{"ok":true}` |
| `{"op":"get","collection","key"}` | `{"ok":true,"value"}`, null when absent |
| `{"op":"put","collection","key","value"}` | `{"ok":true}` once the write is safe |
| `{"op":"delete","collection","key"}` | `{"ok":true,"deleted":bool}` |
| `{"op":"list","collection"}` | `{"ok":true,"items":{key: value}}` |
| `{"op":"transaction","writes":[put and delete requests]}` | `{"ok":true}`: all of them, or none |
| `{"op":"set_password","user","password","host"?,"database"?}` | `{"ok":true}` |
| `{"op":"set_password","accounts":[{"user","password","host"?}, ...]}` | MySQL only: all, or none |
| `{"op":"replset_initiate","config"?}`, `{"op":"replset_status"}` | MongoDB only |

A refusal is `{"ok":false,"error":"<the real server's text>","code":<number>,"sqlstate":"<state>"}`;
MySQL has both, PostgreSQL only the state, MongoDB only the number.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any, TypeAlias

from rehearsal import inside

Json: TypeAlias = Any
"""Whatever JSON can say."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class DatabaseError(Exception):
    """The database refused; the text is the real server's, as are `code` and `sqlstate`."""

    def __init__(self, text: str, code: int | None = None, sqlstate: str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.sqlstate = sqlstate


class DatabaseUnreachable(DatabaseError):
    """No connection: the name does not resolve, nothing listens, or the connection broke."""


class Connection:
    """One connection to a rehearsed database: requests in, answers out, no retries.

    A `host` that begins with a slash is the server's Unix socket in this container.

    Raises:
        DatabaseUnreachable: the name does not resolve, or nothing listens there.
    """

    def __init__(self, host: str, port: int, timeout: float = 10.0) -> None:
        try:
            self._socket = (
                _dial_socket(host) if host.startswith("/") else _dial(host, port, timeout)
            )
        except OSError as error:
            raise DatabaseUnreachable(_unreachable_text(host, port, error)) from error
        self._socket.settimeout(timeout)
        self._file = self._socket.makefile("rwb")

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to `request`.

        Raises:
            DatabaseError: the server refused.
            DatabaseUnreachable: the connection broke before the answer came.
        """
        answer = self.try_ask(request)
        if not answer["ok"]:
            raise DatabaseError(answer["error"], answer.get("code"), answer.get("sqlstate"))
        return answer

    def try_ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to `request`, a refusal included."""
        try:
            self._file.write(json.dumps(request).encode() + b"\n")
            self._file.flush()
            line = self._file.readline()
        except OSError as error:
            raise DatabaseUnreachable(f"connection lost: {error.strerror}") from error
        if not line.endswith(b"\n"):
            raise DatabaseUnreachable("connection lost: closed by the server")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._socket.close()


class Database:
    """A logged-in database, safe to share between threads; it reconnects once per call.

    Args:
        kind: `mysql`, `postgres` or `mongo`.
        host: a name of the container's networks.
        database: where the collections live. MySQL and PostgreSQL refuse one that does not exist.
        auth_source: MongoDB's `authSource`; by default the data's database, as in a real URI.
        direct_connection: MongoDB's `directConnection`: stay, whatever the set calls its member.

    Every method raises DatabaseError with the server's text, DatabaseUnreachable when it is away.
    """

    def __init__(
        self,
        kind: str,
        host: str,
        port: int,
        user: str,
        password: str,
        database: str,
        *,
        auth_source: str | None = None,
        direct_connection: bool = False,
        timeout: float = 10.0,
    ) -> None:
        self.kind = kind
        self.host = host
        self.port = port
        self.user = user
        self.database = database
        self._password = password
        self._auth_source = auth_source or database
        self._direct = direct_connection
        self._timeout = timeout
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Database({self.kind} {self.user}@{self.host}:{self.port}/{self.database})"

    def connect(self) -> None:
        """Log in now, as a service does at boot, instead of at the first request."""
        with self._lock:
            self._connected()

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._ask({"op": "ping"})

    def get(self, collection: str, key: str) -> Json:
        """The value at `key`, or None."""
        return self._ask({"op": "get", "collection": collection, "key": key})["value"]

    def put(self, collection: str, key: str, value: Json) -> None:
        """Write a JSON value; safe against a kill of either side once this returns."""
        self._ask({"op": "put", "collection": collection, "key": key, "value": value})

    def delete(self, collection: str, key: str) -> bool:
        """Remove `key`; whether it was there."""
        return bool(self._ask({"op": "delete", "collection": collection, "key": key})["deleted"])

    def list(self, collection: str) -> dict[str, Any]:
        """All of a collection, key to value, in the order of their first writing."""
        items: dict[str, Any] = self._ask({"op": "list", "collection": collection})["items"]
        return items

    def transaction(self, writes: Sequence[dict[str, Any]]) -> None:
        """All `writes` or none: `{"op":"put","collection","key","value"}`, `{"op":"delete",...}`.

        MongoDB refuses it outside a replica set (docs/facts/fastgpt.md §9).
        """
        self._ask({"op": "transaction", "writes": [*writes]})

    def close(self) -> None:
        """Hang up; the next call connects anew."""
        with self._lock:
            self._hang_up()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            known = self._connection is not None
            try:
                return self._connected().ask(request)
            except DatabaseUnreachable:
                self._hang_up()
                if not known:
                    raise
            return self._connected().ask(request)

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = Connection(self.host, self.port, self._timeout)
            try:
                self._log_in(connection)
                self._connection = self._at_member(connection)
            except BaseException:
                connection.close()
                raise
        return self._connection

    def _log_in(self, connection: Connection) -> None:
        request = {"op": "auth", "user": self.user, "password": self._password}
        request["database"] = self.database
        if self.kind == "mongo":
            request["auth_source"] = self._auth_source
        if self.host in LOOPBACK:
            request["via"] = "loopback"
        connection.ask(request)

    def _at_member(self, connection: Connection) -> Connection:
        """A MongoDB driver leaves the seed for the member that the replica set names itself."""
        me = connection.ask({"op": "hello"}).get("me") if self.kind == "mongo" else None
        if me is None or self._direct or me == f"{self.host}:{self.port}":
            return connection
        connection.close()
        host, _, port = me.rpartition(":")
        member = Connection(host, int(port), self._timeout)
        self._log_in(member)
        return member

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _dial(host: str, port: int, timeout: float) -> socket.socket:
    """Connect from the container's own address: the server's rules depend on who calls."""
    own = os.environ.get("REHEARSAL_ADDRESS")
    source = (own, 0) if own else None
    found = socket.create_connection((inside.resolve(host) if own else host, port), timeout, source)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def _dial_socket(path: str) -> socket.socket:
    """Connect through /proc: the path of a rehearsed container is longer than a socket's may be."""
    place = inside.path(path)
    directory = os.open(place.parent, os.O_RDONLY)
    found = socket.socket(socket.AF_UNIX)
    try:
        found.connect(f"/proc/self/fd/{directory}/{place.name}")
    except BaseException:
        found.close()
        raise
    finally:
        os.close(directory)
    return found


def _unreachable_text(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"getaddrinfo ENOTFOUND {host}"
    if host.startswith("/"):
        return f"{host}: {error.strerror}"
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {host}:{port}: connect: connection refused"
    return f"dial tcp {host}:{port}: {error}"
