"""`mongosh --eval SCRIPT` and the older `mongo`: what checks, set-up and rotation need of them.

`db`: auth, getSiblingDB, hello, isMaster, runCommand and adminCommand of ping, hello and
replSetGetStatus, changeUserPassword, updateUser, `db.<collection>.countDocuments()`.
`rs`: status, initiate. Beside these `quit`, `print`, `sleep` and `process.env`.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from rehearsal import inside
from rehearsal.containers.tools.common import NotUnderstood, Options, complain, say
from rehearsal.containers.tools.javascript import parse
from rehearsal.containers.tools.javascript_run import (
    UNDEFINED,
    Host,
    Js,
    Script,
    Thrown,
    error,
    inspected,
    shown,
)
from rehearsal.containers.tools.node import Exit, console, leave, process
from rehearsal.doubles.database_client import Connection, DatabaseError, DatabaseUnreachable

SOCKET = "/tmp/mongodb-27017.sock"
NAMES = {
    "--host": "host",
    "--port": "port",
    "-u": "user",
    "--username": "user",
    "-p": "password",
    "--password": "password",
    "--authenticationDatabase": "source",
    "--eval": "eval",
    "--quiet": "quiet",
    "--norc": "norc",
    "--json": "json",
}
VALUED = {"host", "port", "user", "password", "source", "eval"}
_CODE_NAMES = {
    11: "UserNotFound",
    13: "Unauthorized",
    18: "AuthenticationFailed",
    20: "IllegalOperation",
    23: "AlreadyInitialized",
    76: "NoReplicationEnabled",
    93: "InvalidReplicaSetConfig",
    94: "NotYetInitialized",
    10107: "NotWritablePrimary",
    13436: "NotPrimaryOrSecondary",
}


class Shell:
    """One shell: its connection, and its way to fail (`mongo` of old returns 0 from `db.auth`)."""

    def __init__(self, connection: Connection, older: bool) -> None:
        self._connection = connection
        self._older = older

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request; a refusal is thrown into the script."""
        try:
            return self._connection.ask(request)
        except DatabaseUnreachable as lost:
            raise error(str(lost), "MongoNetworkError") from lost
        except DatabaseError as refused:
            more = {"code": refused.code, "codeName": _CODE_NAMES.get(refused.code or 0, "")}
            raise error(str(refused), "MongoServerError", ok=0, **more) from refused

    def auth(self, source: str, user: Js, password: Js = UNDEFINED) -> Js:
        """`db.auth(user, password)` or `db.auth({user, pwd})`."""
        if isinstance(user, dict):
            user, password = user.get("user"), user.get("pwd")
        request = {"op": "auth", "auth_source": source, "database": source}
        try:
            self.ask({**request, "user": shown(user), "password": shown(password)})
        except Thrown as refused:
            if not self._older:
                raise
            complain(f"Error: {refused.value['message']}")
            return 0
        return 1 if self._older else {"ok": 1}

    def hello(self) -> dict[str, Any]:
        """`db.hello()`."""
        told = self._connection.ask({"op": "hello"})
        answer: dict[str, Any] = {"isWritablePrimary": told["writable"], "ok": 1}
        answer["ismaster"] = told["writable"]
        if "me" in told:
            answer |= {"setName": told["set_name"], "me": told["me"], "hosts": [told["me"]]}
            answer |= {"primary": told["me"], "secondary": not told["writable"]}
        elif told.get("is_replica_set"):
            answer |= {"secondary": False, "isreplicaset": True}
        return answer

    def status(self) -> dict[str, Any]:
        """`rs.status()`."""
        return {**self.ask({"op": "replset_status"})["status"], "ok": 1}

    def initiate(self, config: Js = UNDEFINED) -> dict[str, Any]:
        """`rs.initiate(config)`."""
        given = config if isinstance(config, dict) else None
        self.ask({"op": "replset_initiate", "config": given})
        return {"ok": 1}

    def command(self, source: str, command: dict[str, Any]) -> Js:
        """`db.runCommand({...})`."""
        name = next(iter(command), "")
        if name == "ping":
            self.ask({"op": "ping"})
            return {"ok": 1}
        if name in ("hello", "isMaster", "ismaster"):
            return self.hello()
        if name == "replSetGetStatus":
            return self.status()
        if name == "replSetInitiate":
            return self.initiate(command[name] or UNDEFINED)
        if name == "updateUser" and "pwd" in command:
            return self.change(source, command[name], command["pwd"])
        raise NotUnderstood(f"the command {name}")

    def change(self, source: str, user: Js, password: Js) -> dict[str, Any]:
        """`db.changeUserPassword(user, password)`."""
        request = {"op": "set_password", "database": source}
        self.ask({**request, "user": shown(user), "password": shown(password)})
        return {"ok": 1}

    def update(self, source: str, user: Js, changes: dict[str, Any]) -> dict[str, Any]:
        """`db.updateUser(user, {pwd})`."""
        if set(changes) != {"pwd"}:
            raise NotUnderstood("updateUser of anything but pwd")
        return self.change(source, user, changes["pwd"])

    def count(self, collection: str) -> int:
        """`db.<collection>.countDocuments()`."""
        return len(self.ask({"op": "list", "collection": collection})["items"])


class Db(Host):
    """`db`, and what `getSiblingDB` gives."""

    def __init__(self, shell: Shell, name: str) -> None:
        self._shell, self._name = shell, name
        super().__init__(
            "db",
            {
                "getSiblingDB": lambda other: Db(shell, shown(other)),
                "getName": lambda: name,
                "auth": lambda *login: shell.auth(name, *login),
                "hello": shell.hello,
                "isMaster": shell.hello,
                "runCommand": lambda command: shell.command(name, _named(command)),
                "adminCommand": lambda command: shell.command("admin", _named(command)),
                "changeUserPassword": lambda *login: shell.change(name, *login),
                "updateUser": lambda user, changes: shell.update(name, user, changes),
                "getCollection": lambda collection: self._collection(shown(collection)),
            },
        )

    def member(self, key: str) -> Js:
        if key in self.members:
            return self.members[key]
        # Whatever is no method of a database is a collection.
        return self._collection(key)

    def _collection(self, key: str) -> Host:
        def count(*_filter: Js) -> int:
            if any(_filter):
                raise NotUnderstood(f"db.{key} counted with a filter")
            return self._shell.count(key)

        return Host(f"db.{key}", {"countDocuments": count, "estimatedDocumentCount": count})


def _named(command: Js) -> dict[str, Any]:
    return command if isinstance(command, dict) else {shown(command): 1}


def main(name: str, arguments: list[str]) -> int:
    """Run the scripts of `--eval`, else stdin; exit code 1 on an exception nobody caught."""
    _check_image(name)
    options = Options(arguments, NAMES, VALUED, set())
    try:
        connection, database = _connect(options)
    except DatabaseUnreachable as away:
        complain(f"MongoNetworkError: {away}")
        return 1
    except DatabaseError as refused:
        complain(f"MongoServerError: {refused}")
        return 1
    shell = Shell(connection, older=name == "mongo")
    script = Script(_globals(shell, database))
    try:
        for text in options.all("eval") or [sys.stdin.read()]:
            last = script.run(parse(text))
            if last is not UNDEFINED:
                say(last if isinstance(last, str) else inspected(last))
    except Exit as exit_:
        return exit_.code
    except Thrown as thrown:
        complain(inspected(thrown.value))
        return 1
    return 0


def _check_image(name: str) -> None:
    """`mongosh` came with the images of 5.0, `mongo` left with those of 6.0."""
    major = os.environ.get("REHEARSAL_IMAGE_TAG", "5").split(".")[0]
    if major.isdigit() and ((int(major) < 5) if name == "mongosh" else (int(major) > 5)):
        complain(f"{name}: not found")
        raise SystemExit(127)


def _globals(shell: Shell, database: str) -> dict[str, Any]:
    def out(*values: Js) -> Js:
        say(" ".join(each if isinstance(each, str) else inspected(each) for each in values))
        return UNDEFINED

    def pause(milliseconds: Js) -> Js:
        time.sleep(float(milliseconds) / 1000)
        return UNDEFINED

    replica_set = {"status": shell.status, "initiate": shell.initiate, "hello": shell.hello}
    return {
        "db": Db(shell, database),
        "rs": Host("rs", {**replica_set, "isMaster": shell.hello}),
        "quit": leave,
        "exit": leave,
        "print": out,
        "printjson": out,
        "sleep": pause,
        "process": process(),
        "console": console(),
    }


def _connect(options: Options) -> tuple[Connection, str]:
    named = next(iter(options.operands), "")
    uri = urlsplit(named if "://" in named else f"mongodb:///{named}")
    asked = parse_qs(uri.query)
    host = uri.hostname or options.get("host", "127.0.0.1")
    port = int(uri.port or options.get("port") or 27017)
    database = uri.path.lstrip("/") or "test"
    connection = _dial(host, port)
    user = unquote(uri.username or "") or options.get("user")
    if user:
        source = asked.get("authSource", [options.get("source")])[0] or (
            database if uri.username and uri.path.strip("/") else "admin"
        )
        password = unquote(uri.password or "") or options.get("password")
        login = {"op": "auth", "user": user, "password": password, "auth_source": source}
        connection.ask({**login, "database": database})
    return connection, database


def _dial(host: str, port: int) -> Connection:
    """During the first boot only the container's own loopback is answered: the Unix socket here."""
    try:
        return Connection(host, port)
    except DatabaseUnreachable as away:
        if host in ("127.0.0.1", "localhost") and port == 27017:
            try:
                return Connection(SOCKET, 0)
            except DatabaseUnreachable:
                pass
        if "ENOTFOUND" in str(away):
            raise
        text = f"connect ECONNREFUSED {inside.resolve(host)}:{port}"
        raise DatabaseUnreachable(text) from away
