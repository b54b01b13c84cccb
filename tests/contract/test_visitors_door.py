"""The visitors' door of the real Caddy, before something that stands for FastGPT and its files."""

import contextlib
import http.client
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.behind import PIECES, QUESTION, Behind
from tests.contract.caddy import DOMAIN, Connection, served, trusted
from tests.contract.processes import Program, new_address
from tests.unit.plans import cases
from tests.waiting import until

BEHIND = new_address()
API = "/api/v2/chat/stop"
AT_ONCE = 16
CASES = cases("visitors_door.yaml")


@pytest.fixture
def behind() -> Iterator[Behind]:
    found = Behind(BEHIND)
    yield found
    found.stop()


@dataclass(frozen=True)
class Door:
    caddy: Program
    context: ssl.SSLContext
    opened: contextlib.ExitStack

    def connection(self, port: int = 40443) -> Connection:
        opened = Connection(self.caddy.address, port, self.context)
        self.opened.callback(opened.close)
        opened.connect()
        return opened

    def ask(
        self, method: str, path: str, body: Any = None, port: int = 40443, **headers: str
    ) -> http.client.HTTPResponse:
        return self.opened.enter_context(self.connection(port).ask(method, path, body, **headers))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("door")


@pytest.fixture(scope="module")
def caddy(folder: Path) -> Iterator[Program]:
    program = served(folder, BEHIND, {"edition": "current"})
    yield program
    program.stop()


@pytest.fixture
def door(caddy: Program, folder: Path) -> Iterator[Door]:
    with contextlib.ExitStack() as opened:
        found = Door(caddy, trusted(folder), opened)
        until(lambda: found.connection() and found.connection(7443), "the certificate")
        yield found


@pytest.mark.parametrize("call", CASES["passes"])
def test_what_a_share_link_needs_passes_by_its_own_method_alone(
    door: Door, behind: Behind, call: str
) -> None:
    own, path = call.split(" ", 1)
    assert door.ask(own, path).status == 200
    assert behind.calls() == [call]
    assert behind.asked[0][2]["port"] == ("9000" if "fastgpt-public" in path else "3000")
    for method in {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"} - {own}:
        assert door.ask(method, path).status == 403, method
    assert behind.calls() == [call]


@pytest.mark.parametrize("call", CASES["refused"])
def test_nothing_else_does(door: Door, behind: Behind, call: str) -> None:
    answer = door.ask(*call.split(" ", 1))
    # Of another host Caddy serves nothing, and says so by an empty answer.
    assert answer.status == (200 if "http://fastgpt" in call else 403)
    assert answer.read() == b""
    assert behind.calls() == []


@pytest.mark.parametrize("path", [API, QUESTION, "/fastgpt-public/logo"])
def test_what_would_open_more_is_left_at_the_door(door: Door, behind: Behind, path: str) -> None:
    method = "GET" if path.startswith("/fastgpt-public") else "POST"
    secrets = {"Authorization": "Bearer key", "TOKEN": "key", "rootkey": "key"}
    cookies = "a=1; fastgpt_token=key; b=2;\tfastgpt_token =key;\xa0fastgpt_token=key"
    upgrade = {"Connection": "Upgrade", "Upgrade": "h2c", "X-Forwarded-For": "198.18.0.5"}
    assert door.ask(method, path, **secrets, **upgrade, Cookie=cookies).status == 200
    ((_, _, told, _),) = behind.asked
    assert not [name for name, value in told.items() if "key" in value]
    assert told.keys().isdisjoint(name.lower() for name in (*secrets, "upgrade"))
    assert "198.18.0.5" not in told["x-forwarded-for"]
    kept = {part.strip() for part in told.get("cookie", "").split(";")} - {""}
    assert kept == ({"a=1", "b=2"} if method == "POST" else set())


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        (API, 65536, 200),
        (API, 65537, 413),
        (QUESTION, 262144, 200),
        (QUESTION, 262145, 413),
        (API, 200_000, 413),
    ],
)
def test_a_size_too_large_reaches_nobody(
    door: Door, behind: Behind, path: str, size: int, status: int
) -> None:
    assert door.ask("POST", path, bytes(size)).status == status
    assert [sent for _, _, _, sent in behind.asked] == [size] * (status == 200)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", QUESTION, 411), ("DELETE", "/api/core/chat/record/delete", 413)],
)
def test_nor_does_one_that_is_not_said(
    door: Door, behind: Behind, method: str, path: str, status: int
) -> None:
    """The second begins to arrive, and is cut off before it has."""
    sent = (bytes(10_000) for _ in range(7))
    assert door.ask(method, path, sent, Transfer_Encoding="chunked").status == status
    assert behind.calls() == []


def test_an_answer_arrives_piece_by_piece(door: Door, behind: Behind) -> None:
    behind.end.clear()
    answer = door.ask("POST", QUESTION, b"{}")
    assert answer.read(len(PIECES[0])) == PIECES[0]
    behind.end.set()
    assert answer.read() == PIECES[1]


def test_browsers_are_told_what_they_may_do(door: Door, behind: Behind) -> None:
    page, logo = door.ask("GET", "/chat/share?shareId=a"), door.ask("GET", "/fastgpt-public/logo")
    for answer in (page, logo, door.ask("GET", "/login")):
        told = {name: answer.headers.get_all(name) for name in answer.headers}
        assert told["Strict-Transport-Security"] == ["max-age=31536000"]
        assert told["X-Content-Type-Options"] == ["nosniff"]
        assert told["Referrer-Policy"] == ["no-referrer"]
        assert told["X-Robots-Tag"] == ["noindex"]
        assert "Server" not in told
    (policy,) = page.headers.get_all("Content-Security-Policy") or []
    more = "'self' data: blob:"
    assert dict(part.split(" ", 1) for part in policy.split("; ")) == {
        **{f"{kind}-src": more for kind in ("default", "connect", "font", "media", "worker")},
        **{f"{kind}-src": "'self' 'unsafe-inline'" for kind in ("script", "style")},
        "img-src": more,
        "object-src": "'none'",
        "frame-ancestors": "'none'",
    }
    for answer in (logo, door.ask("GET", "/fastgpt-public/logo", port=7443)):
        (policy,) = answer.headers.get_all("Content-Security-Policy") or []
        assert policy.endswith("; sandbox")


def test_a_connection_has_one_question(door: Door, behind: Behind) -> None:
    """So that who counts connections counts questions (provisioning/host/door.sh); neither HTTP/2
    nor what is asked behind it at once makes more of them."""
    opened = door.connection()
    for path in ("/chat/share", QUESTION):
        answer = opened.ask("POST" if path == QUESTION else "GET", path)
        answer.read()
    assert answer.headers["Connection"] == "close"
    assert opened.sock is None
    one = f"POST {QUESTION} HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: 0\r\n\r\n".encode()
    behind.asked.clear()
    opened = door.connection()
    opened.sock.sendall(one * 3)
    told = b"".join(iter(lambda: opened.sock.recv(65536), b""))
    assert told.count(b"HTTP/1.1 200 OK") == 1
    assert behind.calls() == [f"POST {QUESTION}"]


@pytest.mark.parametrize(("port", "spoken"), [(40443, "http/1.1"), (7443, "h2")])
def test_visitors_have_no_http2(door: Door, port: int, spoken: str) -> None:
    context = door.context
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        assert door.connection(port).sock.selected_alpn_protocol() == spoken
    finally:
        context.set_alpn_protocols(["http/1.1"])


def test_so_many_questions_are_answered_at_once(door: Door, behind: Behind) -> None:
    """The next waits for its turn, and keeps nobody from anything else."""
    behind.end.clear()
    answers: list[int] = []
    askers = [
        threading.Thread(
            target=lambda: answers.append(door.ask("POST", QUESTION, b"{}").read() and 1),
            daemon=True,
        )
        for _ in range(AT_ONCE + 1)
    ]
    for asker in askers:
        asker.start()
    until(lambda: len(behind.asked) == AT_ONCE, "the questions", behind.calls)
    assert door.ask("POST", API, b"{}").status == 200
    assert behind.calls().count(f"POST {QUESTION}") == AT_ONCE
    behind.end.set()
    until(lambda: len(answers) == AT_ONCE + 1, "all answers", lambda: answers)


@pytest.mark.slow
def test_a_turn_is_not_waited_for_for_ever(door: Door, behind: Behind) -> None:
    behind.end.clear()
    for _ in range(AT_ONCE):
        door.ask("POST", QUESTION, b"{}")
    began = time.monotonic()
    assert door.ask("POST", QUESTION, b"{}").status == 503
    assert 19 < time.monotonic() - began < 30


def test_operators_have_all_of_it_at_another_origin(door: Door, behind: Behind) -> None:
    for path in ("/login", "/api/core/app/list", "/fastgpt-public/logo"):
        assert door.ask("GET", path, port=7443, Cookie="fastgpt_token=key").status == 200
        told = behind.asked[-1][2]
        assert told.get("cookie") == (None if path.endswith("logo") else "fastgpt_token=key")
