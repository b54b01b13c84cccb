"""How MySQL, PostgreSQL and MongoDB each log in, refuse and change a password.

The rules are those of the official images: which users exist, who is trusted without a password,
and the servers' own words when they refuse (docs/facts/fastgpt.md §9, docs/facts/oneapi.md §2).
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from rehearsal import inside
from rehearsal.doubles.database_store import Store, Write, hashed, matches

SYSTEM = ""
"""The database that holds the users and what else the server itself has to remember."""

Request = dict[str, Any]


class Refusal(Exception):
    """The server says no, in its own words."""

    def __init__(self, text: str, code: int | None = None, sqlstate: str | None = None) -> None:
        super().__init__(text)
        self.answer = {"ok": False, "error": text, "code": code, "sqlstate": sqlstate}


@dataclass
class Session:
    """One connection: where it comes from, and who it is once logged in."""

    peer: str
    via_socket: bool
    user: str | None = None
    database: str = ""
    grants: dict[str, Any] = field(default_factory=dict)


class Kind(Protocol):
    """What differs between the three."""

    name: str
    port: int
    socket_path: str
    store: Store

    def create_users(self, store: Store, env: dict[str, str]) -> None:
        """First boot on an empty data directory."""

    def log_in(self, session: Session, request: Request) -> None:
        """Fill in the session, or raise Refusal."""

    def check(self, session: Session, request: Request) -> None:
        """Raise Refusal when this session may not do this now."""

    def set_password(self, session: Session, request: Request) -> None:
        """Change a password, or raise Refusal."""

    def hello(self) -> dict[str, Any]:
        """What the server says of itself to anybody."""


def _user(name: str, **value: object) -> Write:
    return {"database": SYSTEM, "collection": "users", "key": name, "value": value}


def _database(name: str) -> Write:
    return {"database": SYSTEM, "collection": "databases", "key": name, "value": {}}


_NEEDS_CREATE_USER = (
    "Access denied; you need (at least one of) the CREATE USER privilege(s) for this operation"
)


class MySql:
    """MySQL 8.0: users are name and host together, and `root` exists twice."""

    name = "mysql"
    port = 3306
    socket_path = "/var/run/mysqld/mysqld.sock"

    def __init__(self, store: Store) -> None:
        self.store = store

    @staticmethod
    def create_users(store: Store, env: dict[str, str]) -> None:
        root = hashed(env["MYSQL_ROOT_PASSWORD"])
        writes = [_user("root@localhost", password=root, root=True)]
        if env.get("MYSQL_ROOT_HOST", "%") != "localhost":
            host = env.get("MYSQL_ROOT_HOST", "%")
            writes.append(_user(f"root@{host}", password=root, root=True))
        if database := env.get("MYSQL_DATABASE"):
            writes.append(_database(database))
        if env.get("MYSQL_USER") and env.get("MYSQL_PASSWORD"):
            password = hashed(env["MYSQL_PASSWORD"])
            granted = env.get("MYSQL_DATABASE", "")
            writes.append(
                _user(f"{env['MYSQL_USER']}@%", password=password, root=False, database=granted)
            )
        writes += [_database(name) for name in ("mysql", "information_schema", "sys")]
        store.write(writes)

    def log_in(self, session: Session, request: Request) -> None:
        user, password = request.get("user", ""), request.get("password", "")
        host = "localhost" if session.via_socket else session.peer
        users = self.store.collection(SYSTEM, "users")
        # The image's my.cnf has skip-name-resolve: over TCP nobody is `localhost`.
        kept = (users.get(f"{user}@localhost") if session.via_socket else None) or users.get(
            f"{user}@%"
        )
        if kept is None or not matches(password, kept["password"]):
            used = "YES" if password else "NO"
            text = f"Access denied for user '{user}'@'{host}' (using password: {used})"
            raise Refusal(text, 1045, "28000")
        database = request.get("database") or ""
        if database and not (kept["root"] or kept.get("database") == database):
            text = f"Access denied for user '{user}'@'%' to database '{database}'"
            raise Refusal(text, 1044, "42000")
        if database and database not in self.store.collection(SYSTEM, "databases"):
            raise Refusal(f"Unknown database '{database}'", 1049, "42000")
        session.user, session.database, session.grants = user, database, kept

    def check(self, session: Session, request: Request) -> None:
        if session.user is None:
            host = "localhost" if session.via_socket else session.peer
            text = f"Access denied for user ''@'{host}' (using password: NO)"
            raise Refusal(text, 1045, "28000")
        if "collection" in request and not session.database:
            raise Refusal("No database selected", 1046, "3D000")

    def set_password(self, session: Session, request: Request) -> None:
        users = self.store.collection(SYSTEM, "users")
        writes, missing = [], []
        for account in request.get("accounts") or [request]:
            user, host = account["user"], account.get("host", "%")
            if user != session.user and not session.grants["root"]:
                raise Refusal(_NEEDS_CREATE_USER, 1227, "42000")
            kept = users.get(f"{user}@{host}")
            if kept is None:
                missing.append(f"'{user}'@'{host}'")
            else:
                changed = {**kept, "password": hashed(account["password"])}
                writes.append(_user(f"{user}@{host}", **changed))
        if missing:
            raise Refusal(f"Operation ALTER USER failed for {','.join(missing)}", 1396, "HY000")
        self.store.write(writes)

    def hello(self) -> dict[str, Any]:
        return {"kind": self.name, "writable": True}


class Postgres:
    """PostgreSQL 15: from inside its own container anybody is trusted (the image's pg_hba.conf)."""

    name = "postgres"
    port = 5432
    socket_path = "/var/run/postgresql/.s.PGSQL.5432"

    def __init__(self, store: Store) -> None:
        self.store = store

    @staticmethod
    def create_users(store: Store, env: dict[str, str]) -> None:
        user = env.get("POSTGRES_USER") or "postgres"
        database = env.get("POSTGRES_DB") or user
        trusting = env.get("POSTGRES_HOST_AUTH_METHOD") == "trust"
        password = hashed(env.get("POSTGRES_PASSWORD", ""))
        hba: Write = {"database": SYSTEM, "collection": "hba", "key": "all", "value": trusting}
        store.write([_user(user, password=password, superuser=True), hba, _database(database)])
        store.write([_database("postgres"), _database("template1")])

    def log_in(self, session: Session, request: Request) -> None:
        user, database = request.get("user", ""), request.get("database") or request.get("user", "")
        kept = self.store.collection(SYSTEM, "users").get(user)
        if not self._trusted(session, request):
            if kept is None or not matches(request.get("password", ""), kept["password"]):
                text = f'password authentication failed for user "{user}"'
                raise Refusal(text, sqlstate="28P01")
        elif kept is None:
            raise Refusal(f'role "{user}" does not exist', sqlstate="28000")
        if database not in self.store.collection(SYSTEM, "databases"):
            raise Refusal(f'database "{database}" does not exist', sqlstate="3D000")
        session.user, session.database, session.grants = user, database, kept

    def _trusted(self, session: Session, request: Request) -> bool:
        loopback = request.get("via") == "loopback" and session.peer == inside.address()
        anybody = self.store.collection(SYSTEM, "hba").get("all", False)
        return session.via_socket or loopback or bool(anybody)

    def check(self, session: Session, request: Request) -> None:
        if session.user is None:
            raise Refusal("no PostgreSQL user name specified in startup packet", sqlstate="28000")

    def set_password(self, session: Session, request: Request) -> None:
        user = request["user"]
        kept = self.store.collection(SYSTEM, "users").get(user)
        if user != session.user and not session.grants["superuser"]:
            raise Refusal("must be superuser to alter superuser roles", sqlstate="42501")
        if kept is None:
            raise Refusal(f'role "{user}" does not exist', sqlstate="42704")
        self.store.write([_user(user, **{**kept, "password": hashed(request["password"])})])

    def hello(self) -> dict[str, Any]:
        return {"kind": self.name, "writable": True}


class Mongo:
    """MongoDB 5: a replica set takes no write until it is initiated with a host that is itself.

    Args:
        replica_set: the `--replSet` name, or None for a standalone without transactions.
        authorization: whether users have to log in; off during the image's first set-up.
    """

    name = "mongo"
    port = 27017
    socket_path = "/tmp/mongodb-27017.sock"
    ELECTION_SECONDS = 0.2

    def __init__(self, store: Store, replica_set: str | None, authorization: bool) -> None:
        self.store = store
        self._set = replica_set
        self._authorization = authorization
        self._since = time.monotonic()

    @staticmethod
    def create_users(store: Store, env: dict[str, str]) -> None:
        user = env.get("MONGO_INITDB_ROOT_USERNAME")
        if user:
            password = hashed(env["MONGO_INITDB_ROOT_PASSWORD"])
            store.write([_user(f"admin.{user}", password=password, root=True)])

    def log_in(self, session: Session, request: Request) -> None:
        user, source = request.get("user", ""), request.get("auth_source") or "admin"
        session.database = request.get("database") or source
        if not self._authorization and not user:
            return
        kept = self.store.collection(SYSTEM, "users").get(f"{source}.{user}")
        if kept is None or not matches(request.get("password", ""), kept["password"]):
            raise Refusal("Authentication failed.", 18)
        session.user, session.grants = user, kept

    def check(self, session: Session, request: Request) -> None:
        op = request["op"]
        if self._authorization and session.user is None:
            raise Refusal(f"command {_COMMANDS.get(op, op)} requires authentication", 13)
        if op == "transaction" and self._set is None:
            text = "Transaction numbers are only allowed on a replica set member or mongos"
            raise Refusal(text, 20)
        if op in ("put", "delete", "transaction", "set_password") and not self._writable():
            raise Refusal("not primary", 10107)
        if op in ("get", "list") and not self._writable():
            raise Refusal("node is not in primary or recovering state", 13436)

    def set_password(self, session: Session, request: Request) -> None:
        name = f"{request.get('database') or 'admin'}.{request['user']}"
        kept = self.store.collection(SYSTEM, "users").get(name)
        if kept is None:
            source = name.partition(".")[0]
            raise Refusal(f'Could not find user "{request["user"]}" for db "{source}"', 11)
        self.store.write([_user(name, **{**kept, "password": hashed(request["password"])})])

    def hello(self) -> dict[str, Any]:
        answer: dict[str, Any] = {"kind": self.name, "writable": self._writable()}
        config = self._config()
        if self._set is not None:
            answer["is_replica_set"] = True
        if config is not None and self._own_member(config):
            answer |= {"set_name": config["_id"], "me": self._own_member(config)}
        return answer

    def initiate(self, config: dict[str, Any] | None) -> None:
        """`rs.initiate(config)`; without one, the member is the container's own host name.

        Raises:
            Refusal: no `--replSet`, done before, another name, or a host that is not here.
        """
        if self._set is None:
            raise Refusal("This node was not started with replication enabled.", 76)
        if self._config() is not None:
            raise Refusal("already initialized", 23)
        host = f"{inside_name()}:{self.port}"
        config = config or {"_id": self._set, "members": [{"_id": 0, "host": host}]}
        if config.get("_id") != self._set:
            text = (
                f"Rejecting initiate with a set name {config.get('_id')} that differs from "
                f"command line set name {self._set}"
            )
            raise Refusal(text, 93)
        if not self._own_member(config):
            text = (
                "No host described in new configuration with {version: 1, term: 0} for replica "
                f"set {self._set} maps to this node"
            )
            raise Refusal(text, 93)
        self.store.write(
            [{"database": SYSTEM, "collection": "replset", "key": "config", "value": config}]
        )
        self._since = time.monotonic()

    def status(self) -> dict[str, Any]:
        """`rs.status()` in short: the set's name, this member's state and its host.

        Raises:
            Refusal: no `--replSet`, not initiated yet, or no member of the configuration.
        """
        if self._set is None:
            raise Refusal("not running with --replSet", 76)
        config = self._config()
        if config is None:
            raise Refusal("no replset config has been received", 94)
        member = self._own_member(config)
        if not member:
            text = "Our replica set config is invalid or we are not a member of it"
            raise Refusal(text, 93)
        return {
            "set": config["_id"],
            "myState": 1 if self._writable() else 2,
            "members": [
                {
                    "_id": 0,
                    "name": member,
                    "health": 1,
                    "state": 1 if self._writable() else 2,
                    "stateStr": "PRIMARY" if self._writable() else "SECONDARY",
                    "self": True,
                }
            ],
        }

    def _config(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.store.collection(SYSTEM, "replset").get("config")
        return found

    def _writable(self) -> bool:
        if self._set is None:
            return True
        config = self._config()
        elected = time.monotonic() >= self._since + self.ELECTION_SECONDS
        return config is not None and bool(self._own_member(config)) and elected

    def _own_member(self, config: dict[str, Any]) -> str | None:
        for member in config.get("members", []):
            host, _, port = str(member.get("host", "")).partition(":")
            if int(port or self.port) == self.port and _is_here(host):
                return f"{host}:{self.port}"
        return None


def inside_name() -> str:
    """The container's own host name: Docker's default is the start of the container's id."""
    return os.environ.get("HOSTNAME") or inside.address()


def _is_here(host: str) -> bool:
    try:
        return inside.resolve(host) == inside.address() or host == inside_name()
    except socket.gaierror:
        return host == inside_name()


_COMMANDS = {
    "get": "find",
    "list": "find",
    "put": "insert",
    "delete": "delete",
    "transaction": "insert",
    "set_password": "updateUser",
    "replset_initiate": "replSetInitiate",
    "replset_status": "replSetGetStatus",
}
