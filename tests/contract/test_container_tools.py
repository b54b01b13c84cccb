"""The tools inside containers really talk to the port, and refuse what they do not know."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.contract.test_databases import (
    MONGO,
    MYSQL,
    POSTGRES,
    REPLICA_SET,
    Container,
    container,
    mongo,
    mysql,
    postgres,
    write_key,
)

__all__ = ["container"]

TOOLS = Path(__file__).parents[2] / "rehearsal" / "containers" / "tools"


def call(
    container: Container, *words: str, stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(TOOLS / words[0]), *words[1:]],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        env={
            "PATH": os.environ["PATH"],
            "REHEARSAL_PYTHON": sys.executable,
            **container.given,
            **env,
        },
    )


@mysql
def test_mysql_queries_with_the_password_given(container: Container) -> None:
    container.up(**MYSQL)
    words = ("mysql", "-h", "127.0.0.1", "-u", "oneapi", "-e", "SELECT 1", "oneapi")
    assert call(container, *words, MYSQL_PWD="pw-1").stdout == "1\n1\n"
    wrong = call(container, *words, MYSQL_PWD="nope")
    assert wrong.returncode == 1
    assert "ERROR 1045 (28000): Access denied for user 'oneapi'@" in wrong.stderr
    ping = call(container, "mysqladmin", "ping", "-h", "127.0.0.1", "-u", "oneapi", "-pnope")
    assert ping.returncode == 0
    assert "Access denied" in ping.stderr


@mysql
def test_mysql_rotates_passwords_all_or_none(container: Container) -> None:
    container.up(**MYSQL)
    statement = "ALTER USER 'oneapi'@'%' IDENTIFIED BY 'it''s;2', 'nobody'@'%' IDENTIFIED BY 'x';"
    refused = call(container, "mysql", "-uroot", stdin=statement, MYSQL_PWD="root-1")
    assert refused.returncode == 1
    assert "Operation ALTER USER failed for 'nobody'@'%'" in refused.stderr
    container.database("oneapi", "pw-1", "oneapi").connect()
    statement = "ALTER USER 'oneapi'@'%' IDENTIFIED BY 'it''s;2'; FLUSH PRIVILEGES;"
    assert call(container, "mysql", "-uroot", stdin=statement, MYSQL_PWD="root-1").returncode == 0
    container.database("oneapi", "it's;2", "oneapi").connect()


@pytest.mark.parametrize(
    "words",
    [
        ("mysql", "-uroot", "-e", "DROP TABLE users"),
        ("mysql", "--xml", "-uroot", "-e", "SELECT 1"),
        ("mysqladmin", "shutdown"),
    ],
)
@mysql
def test_what_mysql_does_not_know_it_refuses(container: Container, words: tuple[str, ...]) -> None:
    container.up(**MYSQL)
    refused = call(container, *words, MYSQL_PWD="root-1")
    assert refused.returncode == 2
    assert f"rehearsed {words[0]} does not understand:" in refused.stderr


@mysql
def test_mysql_says_who_is_not_there(container: Container) -> None:
    local = call(container, "mysql", "-e", "SELECT 1")
    assert "ERROR 2002 (HY000): Can't connect to local MySQL server through socket" in local.stderr
    remote = call(container, "mysql", "-h", "mysql", "-e", "SELECT 1")
    assert (
        "ERROR 2003 (HY000): Can't connect to MySQL server on 'mysql:3306' (111)" in remote.stderr
    )
    unknown = call(container, "mysql", "-h", "elsewhere", "-e", "SELECT 1")
    assert "ERROR 2005 (HY000): Unknown MySQL server host 'elsewhere'" in unknown.stderr
    assert call(container, "mysqladmin", "ping").returncode == 1


@postgres
def test_psql_asks_and_rotates(container: Container) -> None:
    container.up(**POSTGRES)
    words = ("psql", "-h", "postgres", "-U", "fastgpt", "-d", "postgres")
    assert call(container, *words, "-tAc", "SELECT 1", PGPASSWORD="pw-1").stdout == "1\n"
    wrong = call(container, *words, "-c", "SELECT 1", PGPASSWORD="nope")
    assert wrong.returncode == 2
    assert 'FATAL:  password authentication failed for user "fastgpt"' in wrong.stderr
    changed = call(
        container,
        "psql",
        "-U",
        "fastgpt",
        "-d",
        "postgres",
        "-v",
        "ON_ERROR_STOP=1",
        stdin="\\getenv new NEW_PASSWORD\nALTER ROLE fastgpt WITH PASSWORD :'new';\n",
        NEW_PASSWORD="it's 2",
    )
    assert changed.stdout == "ALTER ROLE\n", changed.stderr
    container.database("fastgpt", "it's 2", "postgres").connect()


@postgres
def test_psql_forgets_a_scripts_errors_unless_told_to_stop(container: Container) -> None:
    container.up(**POSTGRES)
    script = "ALTER ROLE nobody PASSWORD 'x';\n"
    words = ("psql", "-U", "fastgpt", "-d", "postgres")
    assert call(container, *words, stdin=script).returncode == 0
    assert call(container, *words, "-v", "ON_ERROR_STOP=1", stdin=script).returncode == 3
    assert call(container, *words, "-c", script).returncode == 1
    assert call(container, *words, "-c", "DROP TABLE x").returncode == 2


@postgres
def test_pg_isready_looks_at_the_port(container: Container) -> None:
    assert call(container, "pg_isready", "-h", "127.0.0.1").returncode == 2
    container.up(**POSTGRES)
    assert call(container, "pg_isready", "-h", "127.0.0.1", "-U", "x").returncode == 0


HEALTH = """
const admin = db.getSiblingDB('admin');
admin.auth(process.env.MONGO_INITDB_ROOT_USERNAME, process.env.MONGO_INITDB_ROOT_PASSWORD);
try { rs.status() } catch (error) {
  rs.initiate({_id: 'rs0', members: [{_id: 0, host: 'mongo:27017'}]})
}
if (!db.hello().isWritablePrimary) quit(1)
"""


@mongo
def test_mongosh_makes_a_replica_set_and_waits_for_it(container: Container) -> None:
    write_key(container)
    assert call(container, "mongosh", "--quiet", "--eval", HEALTH, **MONGO).returncode == 1
    container.up(*REPLICA_SET, **MONGO)
    codes = []
    for _ in range(50):
        codes.append(call(container, "mongosh", "--quiet", "--eval", HEALTH, **MONGO).returncode)
        if codes[-1] == 0:
            break
    assert codes[0] == 1
    assert codes[-1] == 0
    status = "db.getSiblingDB('admin').auth('fastgpt', 'pw-1'); rs.status().ok"
    assert call(container, "mongosh", "--eval", status).stdout == "1\n"


@mongo
def test_mongosh_throws_and_rotates(container: Container) -> None:
    container.up(**MONGO)
    login = ("-u", "fastgpt", "-p", "pw-1", "--authenticationDatabase", "admin")
    wrong = call(container, "mongosh", "--eval", "db.getSiblingDB('admin').auth('fastgpt','x')")
    assert (wrong.returncode, wrong.stderr) == (1, "MongoServerError: Authentication failed.\n")
    older = call(container, "mongo", "--eval", "db.getSiblingDB('admin').auth('fastgpt','x')")
    assert (older.returncode, older.stdout) == (0, "0\n")
    change = "db.changeUserPassword('fastgpt', process.env.NEW); print('changed')"
    changed = call(container, "mongosh", "admin", *login, "--eval", change, NEW="pw-2")
    assert changed.stdout == "changed\n", changed.stderr
    container.database("fastgpt", "pw-2", "admin").connect()


@pytest.mark.parametrize(
    "script", ["db.shutdownServer()", "rs.stepDown()", "class A {}", "frobnicate()"]
)
@mongo
def test_what_mongosh_does_not_know_no_catch_can_hide(container: Container, script: str) -> None:
    container.up(**MONGO)
    refused = call(container, "mongosh", "--eval", f"try {{ {script} }} catch (e) {{ quit(0) }}")
    assert refused.returncode == 2 or "is not a function" in refused.stderr, refused
    assert refused.returncode != 0


@mongo
def test_each_image_has_the_shell_of_its_age(container: Container) -> None:
    container.up(**MONGO)
    words = ("--eval", "db.runCommand({ping: 1}).ok")
    assert call(container, "mongosh", *words, REHEARSAL_IMAGE_TAG="4.4.29").returncode == 127
    assert call(container, "mongo", *words, REHEARSAL_IMAGE_TAG="4.4.29").stdout == "1\n"
    assert call(container, "mongo", *words, REHEARSAL_IMAGE_TAG="6.0.1").returncode == 127


class _Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = 200 if self.headers.get("Authorization") == "Bearer sk-1" else 401
        self._answer(status, b'{"object":"list"}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, body.upper())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    made = Container("service", tmp_path, monkeypatch)
    server = HTTPServer((made.address, 3000), _Service)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def test_wget_ends_as_busybox_does(served: Container) -> None:
    url = "http://localhost:3000/v1/models"
    good = call(served, "wget", "-q", "-O", "-", "--header", "Authorization: Bearer sk-1", url)
    assert (good.returncode, good.stdout, good.stderr) == (0, '{"object":"list"}', "")
    refused = call(served, "wget", "-qO-", url)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "wget: server returned error: HTTP/1.1 401 Unauthorized" in refused.stderr
    nobody = call(served, "wget", "-q", "-O", "-", "http://localhost:3001/")
    assert "wget: can't connect to remote host" in nobody.stderr
    assert nobody.returncode == 1
    unknown = call(served, "wget", "-q", "--spider", "http://elsewhere/")
    assert (unknown.returncode, unknown.stderr) == (1, "wget: bad address 'elsewhere'\n")
    posted = call(served, "wget", "-q", "-O", "-", "--post-data", "abc", url)
    assert posted.stdout == "ABC"
    assert call(served, "wget", "--mirror", url).returncode == 2


def test_nc_and_python_reach_the_containers_own_address(served: Container) -> None:
    assert call(served, "nc", "-z", "localhost", "3000").returncode == 0
    assert call(served, "nc", "-z", "localhost", "3001").returncode == 1
    script = (
        "import urllib.request as r; q = r.Request('http://localhost:3000/', "
        "headers={'Authorization': 'Bearer sk-1'}); print(r.urlopen(q, timeout=8).read().decode())"
    )
    assert call(served, "python3", "-c", script).stdout.strip() == '{"object":"list"}'
    outside = "import socket; socket.getaddrinfo('example.org', 80)"
    assert "Name or service not known" in call(served, "python3", "-c", outside).stderr


@pytest.mark.parametrize(
    ("script", "code", "out"),
    [
        (
            "fetch('http://127.0.0.1:3000/x',{method:'POST',body:JSON.stringify({a:'b'})})"
            ".then(r=>process.exit(r.ok?0:1),()=>process.exit(1))",
            0,
            "",
        ),
        ("fetch('http://service:3001/').then(r=>0,()=>process.exit(7))", 7, ""),
        ("fetch('http://service:3000/').then(r=>process.exit(r.status===401?0:1))", 0, ""),
        ("(async()=>{const r=await fetch('http://service:3000/');"
         "console.log(await r.text())})().catch(()=>process.exit(1))", 0, '{"object":"list"}\n'),
        ("require('http')", 2, ""),
    ],
)  # fmt: skip
def test_node_fetches(served: Container, script: str, code: int, out: str) -> None:
    done = call(served, "node", "-e", script)
    assert (done.returncode, done.stdout) == (code, out), done.stderr


@pytest.mark.parametrize(
    ("code", "returned", "log"),
    [
        ("function main({a}){ return {ok: 1, twice: a * 2, text: `<${a}>`} }",
         {"ok": 1, "twice": 6, "text": "<3>"}, ""),
        ("async function main(v){ console.log('in', v.a); return Object.keys(v).map(k => k + 1) }",
         ["a1"], "in 3"),
        ("const f = (x, y = 2) => x ** y;\nfunction main(){ let s = 0\n"
         "for (let i = 0; i < 4; i++) { if (i == 2) continue; s += f(i) }\nreturn {s} }",
         {"s": 10}, ""),
        ("function main(){ try { null.x } catch ({name}) { return name } finally { } }",
         "TypeError", ""),
        ("function main(v){ return {...v, b: v?.c?.d ?? 'none', n: [1,2,3].filter(x => x > 1)} }",
         {"a": 3, "b": "none", "n": [2, 3]}, ""),
    ],
)  # fmt: skip
def test_the_sandbox_runs_code_nodes(code: str, returned: object, log: str) -> None:
    from rehearsal.doubles import sandbox

    assert sandbox.run(code, {"a": 3}) == {"codeReturn": returned, "log": log}
    json.dumps(returned)
