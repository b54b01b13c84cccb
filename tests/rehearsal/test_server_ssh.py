"""A rehearsed server's way in: SSH as an Alibaba Cloud image answers it, and who asks through it.

The command package's semantics: docs/facts/alicloud.md §4.
"""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from provisioning.tunnel import KeyRefused, SshServer, run, ssh_options
from rehearsal.addresses import claim_block
from rehearsal.processes import command_of, descendants
from rehearsal.providers.base import ProviderError, State
from rehearsal.providers.command import CommandPackage
from rehearsal.providers.values import Properties
from tests.rehearsal.servers import SSH_PORT, Login, ServerMaker, public
from tests.ssh_agent import add, lock, needs_openssh, ssh_agent
from tests.waiting import until

COMMAND = CommandPackage().configure({}).kind("command:remote:Command")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    maker = ServerMaker(tmp_path_factory.mktemp("servers"), claim_block())
    yield maker()
    maker.close()


def stranger() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.mark.parametrize("seen", ["sleep", "guard.py"], ids=["that runs", "that just starts"])
def test_a_lost_connection_ends_the_command_and_what_it_started(server: Login, seen: str) -> None:
    marker = "86399.25"

    async def work() -> None:
        async with server.connect() as connection:
            # `timeout` makes a process group of its own, which must go as well.
            process = await connection.create_process(f"timeout 86400 sleep {marker} & wait")
            await asyncio.to_thread(until, lambda: _running(marker, seen), "it to run")
            assert process.exit_status is None

    asyncio.run(work())
    until(lambda: not _running(marker), "the command to end")


def _running(marker: str, program: str = "") -> list[int]:
    """Those with `marker` on their command line; `program`: only where that is what runs."""
    commands = {pid: command_of(pid) for pid in descendants(os.getpid())}
    return [
        pid
        for pid, command in commands.items()
        if marker in command and program in command.partition("/bin/sh")[0]
    ]


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
    assert server.out("echo up") == "up\n"


def ssh(server: Login, key_file: Path, host_key: str) -> subprocess.CompletedProcess[str]:
    """`echo hello` as the Docker provider starts the operator's ssh."""
    target = ["-l", "root", "-p", str(SSH_PORT), "--", server.address]
    return subprocess.run(
        ["ssh", "-F", "none", *ssh_options(key_file, host_key), "-T", *target, "echo", "hello"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@needs_openssh
@pytest.mark.fault("host key changed")
def test_the_system_s_ssh_takes_the_options_of_the_docker_provider(server: Login) -> None:
    """`stack/services.py` hands these to the real provider, which starts the operator's ssh."""
    right = ssh(server, server.key_file, server.host_key)
    assert right.stdout == "hello\n", right.stderr
    wrong = ssh(server, server.key_file, public(stranger()))
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


@needs_openssh
def test_the_agent_signs_for_all_who_dial(server: Login, tmp_path: Path) -> None:
    """Though the key has a passphrase, which none of them can ask for."""
    key = tmp_path / "my key"
    shutil.copy(server.key_file, key)
    asyncssh.read_private_key(key).write_public_key(f"{key}.pub")
    lock(key)
    place = SshServer(server.address, SSH_PORT, "root", server.host_key, key)
    given = inputs(server, "echo hello")
    del given["connection"]["privateKey"]
    with ssh_agent():
        with pytest.raises(ProviderError, match="unable to authenticate"):
            COMMAND.create(given, 0)
        with pytest.raises(KeyRefused, match=r"has a passphrase.*run `ssh-add '.*my key'`"):
            run(place, "true")
        assert "Permission denied" in ssh(server, key, server.host_key).stderr
        add(key)
        assert COMMAND.check({}, given) == (given, [])
        assert COMMAND.create(given, 0)[1]["stdout"] == "hello"
        assert run(place, "echo hello") == "hello\n"
        assert ssh(server, key, server.host_key).stdout == "hello\n"


def test_a_command_dials_the_agent_with_a_key_of_its_own_too(
    server: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere")
    with pytest.raises(ProviderError, match="dial unix /nowhere: No such file"):
        COMMAND.create(inputs(server), 0)


def test_a_command_tells_what_it_printed(server: Login) -> None:
    given = inputs(server, "cat; echo warn >&2", "a\nb\n")
    for outputs in (COMMAND.create(given, 0)[1], COMMAND.update(State("id", given, {}), given, 0)):
        assert (outputs["stdout"], outputs["stderr"]) == ("a\nb", "warn")
    # Without a text it reads an end of file.
    assert COMMAND.create(inputs(server, "cat; echo done"), 0)[1]["stdout"] == "done"
    failing = "echo seen; echo why >&2; exit 3"
    with pytest.raises(ProviderError) as failed:
        COMMAND.create(inputs(server, failing), 0)
    told = f'Process exited with status 3: running "{failing}":\nseen\nwhy\n'
    assert str(failed.value) == told


@pytest.mark.parametrize(
    ("name", "said"),
    [("privateKey", "3 failed attempts: .*unable to authenticate"), ("hostKey", "key mismatch")],
)
def test_another_key_is_refused_on_both_sides(server: Login, name: str, said: str) -> None:
    key = stranger()
    other = key.export_private_key() if name == "privateKey" else key.export_public_key()
    wrong: dict[str, Any] = {name: other.decode(), "dialErrorLimit": 2}
    with pytest.raises(ProviderError, match=said):
        COMMAND.create(inputs(server, **wrong), 0)


def test_a_time_limit_ends_a_command(server: Login) -> None:
    with pytest.raises(ProviderError, match="deadline exceeded"):
        COMMAND.create(inputs(server, "sleep 86398.5"), 1.0)


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
