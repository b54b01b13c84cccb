"""The guard of tests/conftest.py: what it lets through and what it refuses."""

import socket
from pathlib import Path

import pytest

from tests.conftest import ReachedOutside, is_local

HERE = ("127.0.0.1", "127.44.0.7", "::1", "localhost", b"localhost", "0.0.0.0", None)
FAR = ("10.0.0.1", "192.0.2.1", "2001:db8::1", "127.0.0.1.example.com", "example.com")


def test_what_counts_as_loopback() -> None:
    assert [host for host in (*HERE, *FAR) if is_local(host)] == list(HERE)


def test_what_goes_beyond_loopback_is_refused_and_noted(loopback_only: list[str]) -> None:
    with socket.socket() as one, pytest.raises(ReachedOutside, match=r"192\.0\.2\.1"):
        one.connect(("192.0.2.1", 9))
    with socket.socket(type=socket.SOCK_DGRAM) as one, pytest.raises(ReachedOutside):
        one.sendto(b"", ("192.0.2.1", 9))
    with pytest.raises(ReachedOutside, match=r"example\.com"):
        socket.getaddrinfo("example.com", 443)
    assert len(loopback_only) == 3
    loopback_only.clear()


def test_loopback_and_unix_sockets_work(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
