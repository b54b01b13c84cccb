"""The tunnel against a real SSH server on loopback."""

import asyncio
import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncssh
import httpx
import pytest

from provisioning import tunnel
from provisioning.clients.errors import DeadlineExceeded
from provisioning.clients.http import ServiceClient
from provisioning.clients.waiting import Waiting, wait_until
from provisioning.tunnel import (
    CommandFailed,
    HostKeyChanged,
    KeyRefused,
    ServerUnreachable,
    SshServer,
    open_tunnel,
    run,
    scan_host_key,
)
from tests.clock import FakeClock

HOST_KEYS = [asyncssh.generate_private_key(kind) for kind in ("ecdsa-sha2-nistp256", "ssh-ed25519")]
CLIENT_KEY = asyncssh.generate_private_key("ssh-ed25519")
HELLO = "<title>Page</title>hello"


async def _run(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Runs what it is asked to with this machine's shell."""
    shell = ["bash", "-c", process.command or ""]
    ran = subprocess.run(shell, input=await process.stdin.read(), capture_output=True, check=False)
    process.stdout.write(ran.stdout)
    process.stderr.write(ran.stderr)
    process.exit(ran.returncode)


class Sshd:
    """An SSH server in a thread, which lets its clients forward ports."""

    def __init__(self, host_keys: list[asyncssh.SSHKey]) -> None:
        self.connections: list[asyncssh.SSHServerConnection] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._acceptor = self.run(self._listen(host_keys))
        self.port: int = self._acceptor.get_port()

    def run(self, work: object) -> asyncssh.SSHAcceptor:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()  # type: ignore[arg-type]

    async def _listen(self, host_keys: list[asyncssh.SSHKey]) -> asyncssh.SSHAcceptor:
        sshd = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                sshd.connections.append(conn)

            def connection_requested(self, *_: object) -> bool:
                return True

        keys = asyncssh.import_authorized_keys(CLIENT_KEY.export_public_key("openssh").decode())
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            process_factory=_run,
            encoding=None,
            server_factory=Server,
            server_host_keys=host_keys,
            authorized_client_keys=keys,
        )

    def closed(self, number: int) -> bool:
        """Whether there was a connection of this number, and is no more."""
        return len(self.connections) > number and self.connections[number].is_closed()

    def drop(self) -> None:

        async def cut() -> None:
            for connection in self.connections:
                connection.abort()

        self.run(cut())

    def stop(self) -> None:
        async def close() -> None:
            self._acceptor.close()
            await self._acceptor.wait_closed()

        self.run(close())
        self.drop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@pytest.fixture(autouse=True)
def links(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[SshServer, tunnel._Link]]:
    """The test's own connections: none comes back in another test."""
    made: dict[SshServer, tunnel._Link] = {}
    monkeypatch.setattr(tunnel, "_links", made)
    yield made
    for link in made.values():
        link._ports.clear()


@pytest.fixture
def sshd() -> Iterator[Sshd]:
    server = Sshd(HOST_KEYS)
    yield server
    server.stop()


@pytest.fixture
def web(page: str) -> int:
    return int(page.rstrip("/").rpartition(":")[2])


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    CLIENT_KEY.write_private_key(str(file))
    return file


def line(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key("openssh").decode().split()[:2])


def server_at(port: int, key_file: Path | None, host_key: str | None = None) -> SshServer:
    return SshServer("127.0.0.1", port, "root", host_key or line(HOST_KEYS[1]), key_file)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def get(url: str) -> str:
    with httpx.Client(trust_env=False) as client:
        return client.get(url).text


def test_all_threads_share_one_connection(sshd: Sshd, web: int, key_file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        urls = list(pool.map(lambda _: open_tunnel(server_at(sshd.port, key_file), web), range(16)))
        answers = list(pool.map(get, urls))

    assert set(answers) == {HELLO}
    (url,) = set(urls)
    assert url.startswith("http://127.0.0.1:")
    assert url != f"http://127.0.0.1:{web}"
    assert len(sshd.connections) == 1


def test_a_broken_connection_comes_back_by_itself_at_the_same_url(
    sshd: Sshd, web: int, key_file: Path
) -> None:
    url = open_tunnel(server_at(sshd.port, key_file), web)
    get(url)
    sshd.drop()

    # Until our side has noticed, the port is closed: as any client, this one tries again.
    with ServiceClient(url) as client:
        assert client._send("GET", "/").text == HELLO
    assert open_tunnel(server_at(sshd.port, key_file), web) == url
    assert len(sshd.connections) == 2


def test_what_is_not_there_or_another_is_refused(sshd: Sshd, web: int, key_file: Path) -> None:
    url = open_tunnel(server_at(sshd.port, key_file), free_port())
    with pytest.raises(httpx.TransportError):
        get(url)
    with pytest.raises(ServerUnreachable, match="allowedCidrs"):
        open_tunnel(server_at(free_port(), key_file), 3000)
    other = line(asyncssh.generate_private_key("ssh-ed25519"))
    with pytest.raises(HostKeyChanged, match="not the server first met"):
        open_tunnel(server_at(sshd.port, key_file, other), web)


def _another(file: Path) -> Path:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(file))
    return file


def _locked(file: Path) -> Path:
    CLIENT_KEY.write_private_key(str(file), "pkcs8-pem", passphrase="secret-words")
    return file


@pytest.mark.parametrize("key", [_another, _locked, lambda file: file, lambda _: None])
def test_a_key_that_opens_nothing_is_refused_with_advice(
    sshd: Sshd, tmp_path: Path, key: Callable[[Path], Path | None]
) -> None:
    """Another one; one that is locked since it was looked at; one that is not there; none."""
    with pytest.raises(KeyRefused, match="sshKeyFile"):
        run(server_at(sshd.port, key(tmp_path / "key")), "true")


def test_a_connection_that_cannot_forward_is_closed(
    sshd: Sshd, web: int, key_file: Path, links: dict[SshServer, tunnel._Link]
) -> None:
    """Its local port was taken while the connection was away."""
    server = server_at(sshd.port, key_file)
    url = open_tunnel(server, web)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        links[server]._ports[web] = taken.getsockname()[1]
        sshd.drop()
        closed = Waiting("open")
        wait_until(
            "the next connection to be closed",
            lambda: sshd.closed(1) or closed,
            service="SSH",
            deadline=30,
            advice="-",
        )
        with pytest.raises(ServerUnreachable, match="reach root@"):
            run(server, "true")
    links[server]._ports[web] = int(url.rpartition(":")[2])
    assert run(server, "true") == ""
    assert get(url) == HELLO


def test_a_command_runs_on_the_same_connection(
    sshd: Sshd, web: int, key_file: Path, tmp_path: Path
) -> None:
    server = server_at(sshd.port, key_file)
    open_tunnel(server, web)
    place = tmp_path / "place"
    assert run(server, f"cat >{place}; echo done", b"\0bytes\xff") == "done\n"
    assert place.read_bytes() == b"\0bytes\xff"
    with pytest.raises(CommandFailed, match="no such thing"):
        run(server, "echo no such thing >&2; exit 3")
    with pytest.raises(CommandFailed, match="said where others print"):
        run(server, "echo said where others print; exit 18")
    with pytest.raises(CommandFailed, match="ended with 3 in silence"):
        run(server, "exit 3")
    with pytest.raises(ServerUnreachable, match="limit 0 s"):
        run(server, "cat", seconds=0.0)
    assert len(sshd.connections) == 1


def test_who_asks_while_somebody_dials_shares_the_failure(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is off lets each connection run into its time-out."""
    monkeypatch.setattr("provisioning.tunnel.CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = server_at(silent.getsockname()[1], key_file)

        def fails(_: int) -> bool:
            with pytest.raises(ServerUnreachable):
                run(server, "true")
            return True

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(fails, range(8)))
        silent.settimeout(0.0)
        dialled = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                dialled += 1
    assert dialled < 8


def test_the_first_contact_prefers_ed25519_and_takes_what_there_is(sshd: Sshd) -> None:
    assert scan_host_key("127.0.0.1", sshd.port, 10) == line(HOST_KEYS[1])
    server = Sshd(HOST_KEYS[:1])
    try:
        assert scan_host_key("127.0.0.1", server.port, 10) == line(HOST_KEYS[0])
    finally:
        server.stop()


@pytest.mark.fault("SSH that does not answer at first")
def test_the_first_contact_waits_for_the_server() -> None:
    clock = FakeClock()
    told: list[str] = []

    with pytest.raises(DeadlineExceeded, match="allowedCidrs"):
        scan_host_key("127.0.0.1", free_port(), 60, clock=clock, progress=told.append)
    assert clock.passed >= 60
    assert told
