"""The rehearsed databases against what their official images do (docs/facts/fastgpt.md §9)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.doubles.database_client import (
    Connection,
    Database,
    DatabaseError,
    DatabaseUnreachable,
)

PORTS = {"mysql": 3306, "postgres": 5432, "mongo": 27017}
DEADLINE = 15.0
ROOT = Path(__file__).parents[2]
_next_address = iter(range(10, 250))


class Container:
    """One rehearsed container: its own address, its file tree, one process at a time."""

    def __init__(self, kind: str, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kind = kind
        self.address = f"127.88.{os.getpid() % 250}.{next(_next_address)}"
        self.tree = tree
        hosts = tree / "hosts.json"
        hosts.write_text(json.dumps({kind: self.address}))
        self.given = {
            "REHEARSAL_ADDRESS": self.address,
            "REHEARSAL_ROOT": str(tree / "root"),
            "REHEARSAL_HOSTS": str(hosts),
            "HOSTNAME": "3f2c1d9e8b7a",
        }
        (tree / "root").mkdir()
        monkeypatch.setenv("REHEARSAL_HOSTS", str(hosts))
        monkeypatch.setenv("REHEARSAL_ROOT", str(tree / "root"))
        monkeypatch.setenv("REHEARSAL_ADDRESS", f"127.88.{os.getpid() % 250}.9")
        self.opened: list[Any] = []
        self.process: subprocess.Popen[str] | None = None

    def path(self, inner: str) -> Path:
        return self.tree / "root" / inner.lstrip("/")

    def start(self, *command: str, **env: str) -> None:
        command_line = [sys.executable, "-m", "rehearsal.doubles.database", self.kind, *command]
        self.process = subprocess.Popen(
            command_line,
            cwd=ROOT,
            env={**os.environ, "REHEARSAL_DATABASE_FIRST_BOOT": "0.05", **self.given, **env},
            stderr=subprocess.PIPE,
            text=True,
        )

    def up(self, *command: str, **env: str) -> None:
        self.start(*command, **env)
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            with contextlib.suppress(DatabaseUnreachable):
                Connection(self.kind, PORTS[self.kind]).close()
                return
            time.sleep(0.02)
        raise AssertionError(f"{self.kind} does not listen")

    def ended(self) -> tuple[int, str]:
        assert self.process is not None
        _, text = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, text

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.communicate(timeout=DEADLINE)
        return self.process.returncode

    def database(self, user: str, password: str, name: str, **options: Any) -> Database:
        return self.at(self.kind, user, password, name, **options)

    def at(self, host: str, user: str, password: str, name: str, **options: Any) -> Database:
        port = PORTS[self.kind]
        self.opened.append(Database(self.kind, host, port, user, password, name, **options))
        return self.opened[-1]

    def connection(self, host: str, port: int) -> Connection:
        self.opened.append(Connection(host, port))
        return self.opened[-1]


@pytest.fixture
def container(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Container]:
    made = Container(request.param, tmp_path, monkeypatch)
    yield made
    for opened in made.opened:
        opened.close()
    if made.process is not None and made.process.poll() is None:
        made.stop(signal.SIGKILL)


mysql = pytest.mark.parametrize("container", ["mysql"], indirect=True)
postgres = pytest.mark.parametrize("container", ["postgres"], indirect=True)
mongo = pytest.mark.parametrize("container", ["mongo"], indirect=True)

MYSQL = {
    "MYSQL_ROOT_PASSWORD": "root-1",
    "MYSQL_USER": "oneapi",
    "MYSQL_PASSWORD": "pw-1",
    "MYSQL_DATABASE": "oneapi",
}
POSTGRES = {"POSTGRES_USER": "fastgpt", "POSTGRES_PASSWORD": "pw-1", "POSTGRES_DB": "postgres"}
MONGO = {"MONGO_INITDB_ROOT_USERNAME": "fastgpt", "MONGO_INITDB_ROOT_PASSWORD": "pw-1"}
REPLICA_SET = ("mongod", "--keyFile", "/data/mongodb.key", "--replSet", "rs0")


def write_key(container: Container, mode: int = 0o400) -> None:
    place = container.path("/data/mongodb.key")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("0123456789abcdef")
    place.chmod(mode)


def initiated(container: Container, host: str = "mongo:27017") -> Database:
    write_key(container)
    container.up(*REPLICA_SET, **MONGO)
    admin = container.connection("mongo", 27017)
    admin.ask({"op": "auth", "user": "fastgpt", "password": "pw-1", "database": "admin"})
    config = {"_id": "rs0", "members": [{"_id": 0, "host": host}]}
    admin.ask({"op": "replset_initiate", "config": config})
    wait_writable(admin)
    return container.database("fastgpt", "pw-1", "fastgpt", auth_source="admin")


def wait_writable(connection: Connection) -> None:
    end = time.monotonic() + DEADLINE
    while not connection.ask({"op": "hello"})["writable"]:
        assert time.monotonic() < end, "no primary"
        time.sleep(0.02)


CASES = [
    pytest.param("mysql", MYSQL, ("oneapi", "pw-1", "oneapi"), id="mysql"),
    pytest.param("postgres", POSTGRES, ("fastgpt", "pw-1", "postgres"), id="postgres"),
    pytest.param("mongo", MONGO, ("fastgpt", "pw-1", "admin"), id="mongo"),
]


@pytest.mark.parametrize(("container", "env", "login"), CASES, indirect=["container"])
def test_what_was_acknowledged_survives_a_kill(
    container: Container, env: dict[str, str], login: tuple[str, str, str]
) -> None:
    container.up(**env)
    before = container.database(*login)
    for number in range(50):
        before.put("things", str(number), {"n": number})
    before.delete("things", "7")
    container.stop(signal.SIGKILL)
    container.up(**env)
    kept = container.database(*login).list("things")
    assert len(kept) == 49
    assert kept["49"] == {"n": 49}


@pytest.mark.parametrize(("container", "env", "login"), CASES, indirect=["container"])
def test_a_stop_is_clean_and_the_client_reconnects(
    container: Container, env: dict[str, str], login: tuple[str, str, str]
) -> None:
    container.up(**env)
    database = container.database(*login)
    database.put("things", "a", 1)
    assert container.stop() == 0
    with pytest.raises(DatabaseUnreachable):
        database.get("things", "a")
    container.up(**env)
    assert database.get("things", "a") == 1


@pytest.mark.parametrize(("container", "env", "login"), CASES, indirect=["container"])
def test_the_environments_password_acts_on_an_empty_directory_only(
    container: Container, env: dict[str, str], login: tuple[str, str, str]
) -> None:
    container.up(**env)
    container.stop()
    container.up(**{name: value.replace("pw-1", "pw-2") for name, value in env.items()})
    user, _, name = login
    container.database(*login).connect()
    with pytest.raises(DatabaseError, match=r"(?i)access denied|authentication failed"):
        container.database(user, "pw-2", name).connect()


@pytest.mark.parametrize(("container", "env", "login"), CASES, indirect=["container"])
def test_a_line_cut_by_a_kill_is_dropped(
    container: Container, env: dict[str, str], login: tuple[str, str, str]
) -> None:
    container.up(**env)
    container.database(*login).put("things", "a", 1)
    container.stop(signal.SIGKILL)
    (journal,) = container.path("/").rglob("rehearsal.journal")
    with journal.open("ab") as file:
        file.write(b'[{"database":"x","collec')
    container.up(**env)
    assert container.database(*login).get("things", "a") == 1


@pytest.mark.parametrize(
    ("container", "env", "text"),
    [
        ("mysql", {}, "password option is not specified"),
        ("postgres", {}, "superuser password is not specified"),
        ("mongo", {"MONGO_INITDB_ROOT_USERNAME": "x"}, "both must be specified"),
    ],
    indirect=["container"],
)
def test_a_missing_password_ends_the_container(
    container: Container, env: dict[str, str], text: str
) -> None:
    container.start(**env)
    code, said = container.ended()
    assert code == 1
    assert text in said


@pytest.mark.parametrize(
    ("container", "env"),
    [("mysql", MYSQL), ("postgres", POSTGRES), ("mongo", MONGO)],
    indirect=["container"],
)
def test_one_that_was_killed_recovers_and_says_so(
    container: Container, env: dict[str, str]
) -> None:
    recovers = re.compile("recovery|unclean shutdown")
    container.up(**env)
    assert container.stop(signal.SIGTERM) == 0
    container.up(**env)
    assert container.process is not None
    container.process.kill()
    assert not recovers.search(container.ended()[1])
    container.up(**env)
    container.process.terminate()
    assert recovers.search(container.ended()[1])


@mysql
def test_mysql_refuses_in_its_own_words(container: Container) -> None:
    container.up(**MYSQL)
    with pytest.raises(DatabaseError) as wrong:
        container.database("oneapi", "nope", "oneapi").connect()
    own = os.environ["REHEARSAL_ADDRESS"]
    assert str(wrong.value) == f"Access denied for user 'oneapi'@'{own}' (using password: YES)"
    assert (wrong.value.code, wrong.value.sqlstate) == (1045, "28000")
    with pytest.raises(DatabaseError, match="Unknown database 'other'"):
        container.database("root", "root-1", "other").connect()
    with pytest.raises(DatabaseError, match="to database 'mysql'"):
        container.database("oneapi", "pw-1", "mysql").connect()


@mysql
def test_mysql_has_two_roots_and_one_change_reaches_one_of_them(container: Container) -> None:
    container.up(**MYSQL)
    over_network = container.connection("mysql", 3306)
    over_network.ask({"op": "auth", "user": "root", "password": "root-1", "database": ""})
    over_network.ask({"op": "set_password", "user": "root", "password": "root-2"})
    with pytest.raises(DatabaseError):
        container.database("root", "root-1", "").connect()
    container.database("root", "root-2", "").connect()
    local = container.connection("/var/run/mysqld/mysqld.sock", 0)
    local.ask({"op": "auth", "user": "root", "password": "root-1", "database": ""})


@mysql
def test_mysql_lets_nobody_but_root_change_others(container: Container) -> None:
    container.up(**MYSQL)
    connection = container.connection("mysql", 3306)
    connection.ask({"op": "auth", "user": "oneapi", "password": "pw-1", "database": "oneapi"})
    with pytest.raises(DatabaseError, match="CREATE USER privilege"):
        connection.ask({"op": "set_password", "user": "root", "password": "x"})
    connection.ask({"op": "set_password", "user": "oneapi", "password": "pw-2"})
    container.database("oneapi", "pw-2", "oneapi").connect()


@mysql
def test_mysql_is_reached_by_its_socket_only_during_the_first_boot(container: Container) -> None:
    container.start(**MYSQL, REHEARSAL_DATABASE_FIRST_BOOT="2")
    end = time.monotonic() + DEADLINE
    local = None
    while local is None:
        assert time.monotonic() < end, "no temporary server"
        with contextlib.suppress(DatabaseUnreachable):
            local = container.connection("/var/run/mysqld/mysqld.sock", 0)
    local.ask({"op": "auth", "user": "oneapi", "password": "pw-1", "database": "oneapi"})
    with pytest.raises(DatabaseUnreachable):
        container.connection("mysql", 3306)


@mysql
def test_mysql_8_4_does_not_know_the_old_plugin_option(container: Container) -> None:
    option = "--default-authentication-plugin=mysql_native_password"
    container.start(option, **MYSQL, REHEARSAL_IMAGE_TAG="8.4.3")
    code, said = container.ended()
    assert code == 1
    assert "unknown variable 'default-authentication-plugin" in said


@postgres
def test_postgres_trusts_its_own_container_and_nobody_else(container: Container) -> None:
    container.up(**POSTGRES)
    with pytest.raises(DatabaseError, match='password authentication failed for user "fastgpt"'):
        container.database("fastgpt", "nope", "postgres").connect()
    local = container.connection("/var/run/postgresql/.s.PGSQL.5432", 0)
    local.ask({"op": "auth", "user": "fastgpt", "password": "", "database": "postgres"})
    os.environ["REHEARSAL_ADDRESS"] = container.address
    container.at("127.0.0.1", "fastgpt", "nope", "postgres").connect()


@postgres
def test_postgres_names_what_is_missing(container: Container) -> None:
    container.up(**POSTGRES)
    with pytest.raises(DatabaseError, match='database "vectors" does not exist'):
        container.database("fastgpt", "pw-1", "vectors").connect()
    with pytest.raises(DatabaseError, match='password authentication failed for user "root"'):
        container.database("root", "pw-1", "postgres").connect()


@mongo
def test_mongo_alone_refuses_transactions(container: Container) -> None:
    container.up(**MONGO)
    database = container.database("fastgpt", "pw-1", "fastgpt", auth_source="admin")
    database.put("users", "root", {})
    with pytest.raises(DatabaseError) as refused:
        database.transaction([{"op": "put", "collection": "users", "key": "a", "value": 1}])
    assert str(refused.value) == (
        "Transaction numbers are only allowed on a replica set member or mongos"
    )


@mongo
def test_mongo_needs_its_users_own_database(container: Container) -> None:
    container.up(**MONGO)
    with pytest.raises(DatabaseError, match=r"Authentication failed\."):
        container.database("fastgpt", "pw-1", "fastgpt").connect()


@mongo
def test_mongo_is_not_writable_before_it_is_initiated(container: Container) -> None:
    write_key(container)
    container.up(*REPLICA_SET, **MONGO)
    database = container.database("fastgpt", "pw-1", "fastgpt", auth_source="admin")
    with pytest.raises(DatabaseError, match="not primary"):
        database.put("users", "root", {})
    admin = container.connection("mongo", 27017)
    with pytest.raises(DatabaseError, match="replSetGetStatus requires authentication"):
        admin.ask({"op": "replset_status"})
    admin.ask({"op": "auth", "user": "fastgpt", "password": "pw-1", "database": "admin"})
    with pytest.raises(DatabaseError, match="no replset config has been received"):
        admin.ask({"op": "replset_status"})


@mongo
def test_mongo_initiated_takes_transactions_and_keeps_its_set(container: Container) -> None:
    database = initiated(container)
    database.transaction(
        [
            {"op": "put", "collection": "users", "key": "a", "value": 1},
            {"op": "put", "collection": "users", "key": "b", "value": 2},
        ]
    )
    container.stop()
    container.up(*REPLICA_SET, **MONGO)
    admin = container.connection("mongo", 27017)
    admin.ask({"op": "auth", "user": "fastgpt", "password": "pw-1", "database": "admin"})
    wait_writable(admin)
    assert database.list("users") == {"a": 1, "b": 2}
    with pytest.raises(DatabaseError, match="already initialized"):
        admin.ask({"op": "replset_initiate"})


@mongo
def test_mongo_refuses_a_member_that_is_somebody_else(container: Container) -> None:
    with pytest.raises(DatabaseError, match="maps to this node"):
        initiated(container, host="database:27017")


@mongo
def test_a_driver_follows_the_sets_own_member_name(container: Container) -> None:
    database = initiated(container, host="3f2c1d9e8b7a:27017")
    with pytest.raises(DatabaseUnreachable, match="ENOTFOUND 3f2c1d9e8b7a"):
        database.put("users", "root", {})
    direct = container.database(
        "fastgpt", "pw-1", "fastgpt", auth_source="admin", direct_connection=True
    )
    direct.put("users", "root", {})


@pytest.mark.parametrize(
    ("mode", "owner", "text"),
    [
        (None, None, "No such file or directory"),
        (0o444, None, "are too open"),
        (0o400, "0", "Permission denied"),
    ],
)
@mongo
def test_mongo_looks_at_its_key_file(
    container: Container, mode: int | None, owner: str | None, text: str
) -> None:
    if mode is not None:
        write_key(container, 0o600)
    if owner is not None:
        place = container.path("/data/mongodb.key")
        os.setxattr(place, "user.rehearsal.owner", owner.encode())
    if mode is not None:
        container.path("/data/mongodb.key").chmod(mode)
    container.start(*REPLICA_SET, **MONGO)
    code, said = container.ended()
    assert code == 1
    assert text in said


@mongo
def test_mongo_with_users_and_a_set_needs_a_key_file(container: Container) -> None:
    container.start("--replSet", "rs0", **MONGO)
    code, said = container.ended()
    assert code == 2
    assert "security.keyFile is required" in said


@pytest.mark.parametrize(("container", "env", "login"), CASES, indirect=["container"])
def test_a_secret_may_be_a_file(
    container: Container, env: dict[str, str], login: tuple[str, str, str]
) -> None:
    name = next(each for each, value in env.items() if value == "pw-1")
    container.path("/run/secrets").mkdir(parents=True)
    container.path("/run/secrets/password").write_text("pw-1\n")
    given = {each: value for each, value in env.items() if each != name}
    container.up(**given, **{f"{name}_FILE": "/run/secrets/password"})
    container.database(*login).connect()
