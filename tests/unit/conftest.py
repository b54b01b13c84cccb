"""The labs of the repository, each run once under the recording mock."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pulumi
import pytest

from stack.resources import base
from tests.unit.program import Recording, configured, make_key, run_program


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("my keys"))


@pytest.fixture(scope="session")
def lab(key: Path) -> Recording:
    return run_program(configured("dev", key))


@pytest.fixture(scope="session")
def seeds(key: Path) -> Recording:
    """The reference lab of the seeds' edition."""
    return run_program(configured("seeds", key))


@pytest.fixture(scope="session")
def cpu(key: Path) -> Recording:
    """The lab without a GPU, whose models a provider serves."""
    return run_program(configured("cpu", key), {"ai-lab:key-dashscope": "sk-plain-dashscope"})


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run of its own tells the operator: the engine starts a process for each run."""
    told: list[str] = []
    monkeypatch.setattr(base, "_told", set())
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    return told


@pytest.fixture
def page() -> Iterator[str]:
    """The address of a web page on loopback: `hello`, titled `Page`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<title>Page</title>hello")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()
