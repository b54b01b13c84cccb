"""The guard of tests/conftest.py: what it lets through and what it refuses."""

import socket
from pathlib import Path

import pytest

from tests.conftest import ReachedOutside, is_local


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.44.0.7", True),
        ("::1", True),
        ("localhost", True),
        (b"localhost", True),
        ("0.0.0.0", True),
        (None, True),
        ("10.0.0.1", False),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
        ("127.0.0.1.example.com", False),
        ("example.com", False),
    ],
)
def test_what_counts_as_loopback(host: object, local: bool) -> None:
    assert is_local(host) is local


def test_connection_beyond_loopback_is_refused(loopback_only: list[str]) -> None:
    with socket.socket() as one, pytest.raises(ReachedOutside, match=r"192\.0\.2\.1"):
        one.connect(("192.0.2.1", 9))
    assert loopback_only
    loopback_only.clear()


def test_datagram_beyond_loopback_is_refused(loopback_only: list[str]) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as one, pytest.raises(ReachedOutside):
        one.sendto(b"", ("192.0.2.1", 9))
    loopback_only.clear()


def test_name_look_up_is_refused(loopback_only: list[str]) -> None:
    with pytest.raises(ReachedOutside, match=r"example\.com"):
        socket.getaddrinfo("example.com", 443)
    loopback_only.clear()


def test_loopback_and_unix_sockets_work(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
