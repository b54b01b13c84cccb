"""A rehearsed server's way in: SSH as an Alibaba Cloud image answers it, and who asks through it.

The command package's semantics: docs/facts/alicloud.md §4.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import asyncssh
import pytest

from provisioning.tunnel import ssh_options
from rehearsal.addresses import claim_block
from rehearsal.children import command_of, descendants
from rehearsal.providers.base import ProviderError
from rehearsal.providers.command import CommandPackage
from rehearsal.providers.values import Properties
from tests.rehearsal.servers import SSH_PORT, Login, ServerMaker, asynchronously, until

COMMAND = CommandPackage().configure({}).kind("command:remote:Command")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerMaker]:
    maker = ServerMaker(tmp_path_factory.mktemp("servers"), claim_block())
    yield maker
    maker.close()


@pytest.fixture(scope="module")
def server(servers: ServerMaker) -> Login:
    return servers()


def stranger() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


def test_only_the_given_key_logs_in_and_only_as_root(server: Login) -> None:
    async def attempt(**options: object) -> None:
        with pytest.raises(asyncssh.PermissionDenied):
            await server.connect(**options)

    asynchronously(attempt(client_keys=[stranger()]))
    asynchronously(attempt(username="ubuntu"))
    asynchronously(attempt(client_keys=None, password="123456"))


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


def test_whom_the_firewall_keeps_out_gets_no_answer(
    server: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, str]] = []
    with monkeypatch.context() as patched:
        # `append` returns None, so nobody is let in.
        patched.setattr(server, "allowed", lambda *asked: seen.append(asked))
        with (
            socket.create_connection((server.address, SSH_PORT), timeout=1) as connection,
            pytest.raises(TimeoutError),
        ):
            connection.recv(1)
    assert seen == [(SSH_PORT, "127.0.0.1")]
    assert server.answers()


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
    wrong = ssh(" ".join(stranger().export_public_key().decode().split()[:2]))
    assert wrong.returncode == 255
    assert "Host key verification failed" in wrong.stderr


def inputs(login: Login, create: str = "true", stdin: str = "", **more: Any) -> Properties:
    connection = {
        "host": login.address,
        "port": SSH_PORT,
        "privateKey": login.key_file.read_text(),
        "hostKey": login.host_key,
        "dialErrorLimit": 0,
        **more,
    }
    told = {"create": create, "stdin": stdin, "addPreviousOutputInEnv": False}
    given = {"connection": connection, **told}
    assert COMMAND.check({}, given) == (given, [])
    return given


def test_a_command_tells_what_it_printed(server: Login) -> None:
    given = inputs(server, "cat; echo warn >&2", "a\nb\n")
    for outputs in (COMMAND.create(given, 0)[1], COMMAND.update("id", given, {}, given, 0)):
        assert (outputs["stdout"], outputs["stderr"]) == ("a\nb", "warn")
    # Without a text it reads an end of file.
    assert COMMAND.create(inputs(server, "cat; echo done"), 0)[1]["stdout"] == "done"
    failing = "echo seen; echo why >&2; exit 3"
    with pytest.raises(ProviderError) as failed:
        COMMAND.create(inputs(server, failing), 0)
    told = f'Process exited with status 3: running "{failing}":\nseen\nwhy\n'
    assert str(failed.value) == told


def test_dialling_goes_on_while_a_server_boots(servers: ServerMaker) -> None:
    booting = servers(up=False)
    assert not booting.answers()
    until((booting.root / "etc/ssh/ssh_host_ed25519_key").exists, "the host key")
    given = inputs(booting, "echo up", dialErrorLimit=30)
    assert COMMAND.create(given, 0)[1]["stdout"] == "up"


@pytest.mark.parametrize(
    ("name", "said"),
    [("privateKey", "3 failed attempts: .*unable to authenticate"), ("hostKey", "key mismatch")],
)
def test_another_key_is_refused_on_both_sides(server: Login, name: str, said: str) -> None:
    key = stranger()
    other = key.export_private_key() if name == "privateKey" else key.export_public_key()
    refused = inputs(server, **{name: other.decode(), "dialErrorLimit": 2})
    with pytest.raises(ProviderError, match=said):
        COMMAND.create(refused, 0)


def test_a_time_limit_and_ctrl_c_end_a_command(server: Login) -> None:
    with pytest.raises(ProviderError, match="deadline exceeded"):
        COMMAND.create(inputs(server, "sleep 86398.5"), 1.0)
    provider = CommandPackage().configure({})
    errors: list[str] = []

    def work() -> None:
        try:
            given = inputs(server, "touch on; sleep 86398.75")
            provider.kind("command:remote:Command").create(given, 0)
        except ProviderError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    until((server.root / "root/on").exists, "the command to run")
    provider.cancel()
    thread.join(10)
    assert errors == ["context canceled"]


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"connection": None}, "connection.host"),
        ({"connection": {"host": "h", "privateKey": "k"}}, "connection.hostKey"),
        ({"connection": {"host": "h", "hostkey": "x"}}, "connection.hostkey"),
        ({"environment": {"A": "b"}}, "environment"),
    ],
)
def test_wrong_inputs_are_refused_at_preview(wrong: Properties, name: str) -> None:
    assert name in dict(COMMAND.check({}, wrong)[1])
