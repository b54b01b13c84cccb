"""A rehearsed server's way in: SSH as an Alibaba Cloud image answers it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator

import asyncssh
import pytest

from provisioning.tunnel import ssh_options
from rehearsal.addresses import claim_block
from rehearsal.children import command_of, descendants
from tests.rehearsal.servers import SSH_PORT, Login, ServerMaker, asynchronously, until


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerMaker]:
    maker = ServerMaker(tmp_path_factory.mktemp("servers"), claim_block())
    yield maker
    maker.close()


@pytest.fixture(scope="module")
def server(servers: ServerMaker) -> Login:
    return servers()


def test_a_booting_server_refuses_before_it_answers(servers: ServerMaker) -> None:
    booting = servers(up=False)
    with pytest.raises(ConnectionRefusedError):
        booting.run("true")
    booting.wait_until_up()
    assert booting.out("echo $((6 * 7))").strip() == "42"


def test_only_the_given_key_logs_in_and_only_as_root(server: Login) -> None:
    stranger = asyncssh.generate_private_key("ssh-ed25519")

    async def attempt(**options: object) -> None:
        async with server.connect(**options):
            raise AssertionError("logged in")

    for options in (
        {"client_keys": [stranger]},
        {"username": "ubuntu"},
        {"client_keys": None, "password": "123456"},
    ):
        with pytest.raises(asyncssh.PermissionDenied):
            asynchronously(attempt(**options))


def test_the_environment_is_a_login_s_own(server: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "not for servers")
    lines = server.out("env").splitlines()
    assert f"LAB_ROOT={server.root}" in lines
    assert not any("PULUMI" in line for line in lines)
    assert server.out("pwd").strip() == f"{server.root}/root"


def test_files_stay_in_the_tree(server: Login) -> None:
    async def work() -> None:
        async with server.connect() as connection, connection.start_sftp_client() as sftp:
            for path in ("near.txt", "/etc/far.txt", "../../../../../../outside.txt"):
                async with sftp.open(path, "w") as file:
                    await file.write(path)

    asynchronously(work())
    root = server.root
    assert (root / "root/near.txt").read_text() == "near.txt"
    assert (root / "etc/far.txt").exists()
    assert (root / "outside.txt").exists()


def test_a_lost_connection_ends_the_command_and_what_it_started(server: Login) -> None:
    marker = "86399.25"

    async def work() -> None:
        async with server.connect() as connection:
            # `timeout` makes a process group of its own, which must go as well.
            process = await connection.create_process(f"timeout 86400 sleep {marker} & wait")
            await asyncio.to_thread(until, lambda: _running(marker), "the command to run")
            assert process.exit_status is None

    asynchronously(work())
    until(lambda: not _running(marker), "the command to end")


def _running(marker: str) -> list[int]:
    return [pid for pid in descendants(os.getpid()) if marker in command_of(pid)]


def test_whom_the_firewall_keeps_out_gets_no_answer(server: Login) -> None:
    seen: list[tuple[int, str]] = []

    def deny(port: int, source: str) -> bool:
        seen.append((port, source))
        return False

    before, server.allowed = server.allowed, deny

    async def attempt() -> bytes:
        reader, writer = await asyncio.open_connection(server.address, SSH_PORT)
        try:
            return await asyncio.wait_for(reader.read(1), 1)
        finally:
            writer.close()

    try:
        with pytest.raises(asyncio.TimeoutError):
            asynchronously(attempt())
    finally:
        server.allowed = before
    assert seen == [(SSH_PORT, "127.0.0.1")]
    assert server.out("echo in").strip() == "in"


def test_a_reboot_keeps_the_disk_and_the_host_key(servers: ServerMaker) -> None:
    server = servers()
    key = server.host_key
    server.out("echo kept > note")
    server.machine.stop()
    with pytest.raises(ConnectionRefusedError):
        server.run("true")
    server.machine.start()
    server.wait_until_up()
    assert server.host_key == key
    assert server.out("cat note").strip() == "kept"


def test_a_host_key_can_come_from_user_data(servers: ServerMaker) -> None:
    own = asyncssh.generate_private_key("ssh-ed25519")
    text = own.export_private_key().decode().replace("\n", "\n    ")
    server = servers(user_data=f"#cloud-config\nssh_keys:\n  ed25519_private: |\n    {text}\n")
    shown = " ".join(own.export_public_key().decode().split()[:2])
    assert server.host_key == shown


def test_a_tunnel_to_a_closed_port_is_refused(server: Login) -> None:
    async def work() -> None:
        async with server.connect() as connection:
            with pytest.raises(asyncssh.ChannelOpenError, match="refused"):
                await connection.open_connection("127.0.0.1", 3999)

    asynchronously(work())


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh client on this machine")
def test_the_system_s_ssh_takes_the_options_of_the_docker_provider(server: Login) -> None:
    """`stack/services.py` hands these to the real provider, which starts the operator's ssh."""

    def ssh(host_key: str) -> subprocess.CompletedProcess[str]:
        options = ssh_options(server.key_file, host_key)
        target = ["-l", "root", "-p", str(SSH_PORT), "--", server.address]
        return subprocess.run(
            ["ssh", "-F", "none", *options, "-T", *target, "echo", "hello"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    right = ssh(server.host_key)
    assert right.stdout == "hello\n", right.stderr
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    wrong = ssh(" ".join(other.split()[:2]))
    assert wrong.returncode == 255
    assert "Host key verification failed" in wrong.stderr
