"""FastGPT's health check, word for word, by the rehearsed container's `node`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from provisioning.containers import CONTAINERS
from tests.unit.fake_services import FakeFastGpt

TOOLS = Path(__file__).parents[2] / "rehearsal" / "containers" / "tools"
TESTS = CONTAINERS["fastgpt"].health.tests


@pytest.fixture
def served() -> Iterator[tuple[FakeFastGpt, int]]:
    fake = FakeFastGpt()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = dict(self.headers.items())
            url = f"http://x{self.path}"
            answer = fake.answer(httpx.Request(self.command, url, headers=headers, content=sent))
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing to say."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield fake, server.server_port
        server.shutdown()


def probe(port: int, password: str, folder: Path) -> subprocess.CompletedProcess[str]:
    hosts = folder / "hosts.json"
    hosts.write_text(json.dumps({}))
    command = [word.replace("127.0.0.1:3000", f"127.0.0.1:{port}") for word in TESTS[1:]]
    return subprocess.run(
        command,
        env={
            "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
            "DEFAULT_ROOT_PSW": password,
            "REHEARSAL_PYTHON": sys.executable,
            "REHEARSAL_ADDRESS": "127.0.0.1",
            "REHEARSAL_ROOT": str(folder),
            "REHEARSAL_HOSTS": str(hosts),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_fastgpt_is_healthy_only_with_its_vector_database(
    served: tuple[FakeFastGpt, int], tmp_path: Path
) -> None:
    fake, port = served
    done = probe(port, fake.password, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")

    # It lives on then: it tells its models, and root logs in.
    fake.postgres_error = "connect ECONNREFUSED 172.18.0.2:5432"
    done = probe(port, fake.password, tmp_path)
    assert done.returncode == 1
    assert "ECONNREFUSED 172.18.0.2" in done.stderr


def test_the_health_check_says_why_it_fails(
    served: tuple[FakeFastGpt, int], tmp_path: Path
) -> None:
    _, port = served
    done = probe(port, "another", tmp_path)
    assert (done.returncode, "密码错误" in done.stderr) == (1, True)


def test_no_secret_is_on_the_command_line() -> None:
    assert "process.env.DEFAULT_ROOT_PSW" in TESTS[-1]
    assert TESTS[0] == "CMD"
