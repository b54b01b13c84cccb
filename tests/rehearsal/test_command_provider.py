"""The command package against a rehearsed server (docs/facts/alicloud.md §4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import asyncssh
import pytest

from rehearsal.addresses import claim_block
from rehearsal.providers.base import ProviderError
from rehearsal.providers.command import CommandPackage
from rehearsal.providers.remote import LOOP
from rehearsal.providers.values import ASSET_SIGNATURE, SIGNATURE, Properties
from tests.rehearsal.servers import SSH_PORT, Login, ServerMaker, until

COMMAND = CommandPackage().configure({}).kind("command:remote:Command")
COPY = CommandPackage().configure({}).kind("command:remote:CopyToRemote")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerMaker]:
    maker = ServerMaker(tmp_path_factory.mktemp("servers"), claim_block())
    yield maker
    maker.close()


@pytest.fixture(scope="module")
def server(servers: ServerMaker) -> Login:
    return servers()


def connection(login: Login, **more: Any) -> Properties:
    return {
        "host": login.address,
        "port": SSH_PORT,
        "privateKey": login.key_file.read_text(),
        "hostKey": login.host_key,
        "dialErrorLimit": 0,
        **more,
    }


def run(login: Login, create: str, **more: Any) -> Properties:
    inputs = {
        "connection": connection(login),
        "create": create,
        "addPreviousOutputInEnv": False,
        **more,
    }
    checked, failures = COMMAND.check({}, inputs)
    assert not failures
    return COMMAND.create(checked, 0)[1]


def text(content: str) -> Properties:
    return {SIGNATURE: ASSET_SIGNATURE, "text": content, "hash": "x"}


def copy(login: Login, source: Properties, remote: str) -> None:
    inputs = {"connection": connection(login), "source": source, "remotePath": remote}
    checked, failures = COPY.check({}, inputs)
    assert not failures
    COPY.create(checked, 0)


def test_output_without_its_last_line_feed(server: Login) -> None:
    outputs = run(server, "cat; echo warn >&2", stdin="a\nb\n")
    assert (outputs["stdout"], outputs["stderr"]) == ("a\nb", "warn")


def test_without_stdin_a_command_reads_an_end_of_file(server: Login) -> None:
    assert run(server, "cat; echo done")["stdout"] == "done"


def test_a_failure_tells_the_whole_command_and_its_output(server: Login) -> None:
    with pytest.raises(ProviderError) as failed:
        run(server, "echo seen; echo why >&2; exit 3")
    said = str(failed.value)
    assert 'Process exited with status 3: running "echo seen; echo why >&2; exit 3"' in said
    assert "seen\nwhy\n" in said


def test_triggers_replace_and_everything_else_updates(server: Login) -> None:
    old = {"connection": connection(server), "create": "echo 1", "triggers": ["a"]}
    assert list(COMMAND.diff("", old, old, {**old, "triggers": ["b"]}, []).replaces) == ["triggers"]
    for change in ({"create": "echo 2"}, {"stdin": "text"}, {"connection": {"host": "other"}}):
        found = COMMAND.diff("", old, old, {**old, **change}, [])
        assert list(found.updates) == list(change)
        assert not found.replaces


def test_an_update_runs_create_again(server: Login) -> None:
    inputs = {"connection": connection(server), "create": "echo create"}
    before = {**inputs, "stdout": "earlier", "stderr": ""}
    assert COMMAND.update("id", inputs, before, inputs, 0)["stdout"] == "create"


def test_dialling_goes_on_while_a_server_boots(servers: ServerMaker) -> None:
    booting = servers(up=False)
    # Dialling starts before sshd does, so the first attempt is refused.
    inputs = {"connection": connection(booting, dialErrorLimit=30, hostKey=None)}
    assert COMMAND.create({**inputs, "create": "echo up"}, 0)[1]["stdout"] == "up"


def test_a_refused_key_counts_as_a_dial_error(server: Login) -> None:
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    refused = connection(server, privateKey=stranger, dialErrorLimit=2)
    with pytest.raises(ProviderError, match=r"after 3 failed attempts: .*unable to authenticate"):
        run(server, "true", connection=refused)


def test_the_host_key_is_checked_when_given(server: Login) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    with pytest.raises(ProviderError, match="host key mismatch"):
        run(server, "true", connection=connection(server, hostKey=other))
    assert run(server, "echo any", connection=connection(server, hostKey=None))["stdout"] == "any"


def test_a_silent_server_costs_the_dial_s_own_limit(server: Login) -> None:
    before, server.allowed = server.allowed, lambda port, source: False
    try:
        with pytest.raises(ProviderError, match="i/o timeout"):
            run(server, "true", connection=connection(server, perDialTimeout=1))
    finally:
        server.allowed = before


def test_a_time_limit_of_the_resource_ends_a_command(server: Login) -> None:
    inputs = {"connection": connection(server), "create": "sleep 86398.5"}
    with pytest.raises(ProviderError, match="deadline exceeded"):
        COMMAND.create(inputs, 1.0)


def test_ctrl_c_ends_a_command(server: Login) -> None:
    provider = CommandPackage().configure({})
    kind = provider.kind("command:remote:Command")
    errors: list[ProviderError] = []

    def work() -> None:
        try:
            kind.create({"connection": connection(server), "create": "touch on; sleep 86398.75"}, 0)
        except ProviderError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: (server.root / "root/on").exists(), "the command to run")
    provider.cancel()
    thread.join(10)
    assert [str(error) for error in errors] == ["context canceled"]


def test_a_text_is_copied_with_its_folders_and_stays(server: Login) -> None:
    copy(server, text("hello"), "deep/er/note.txt")
    assert server.out("cat deep/er/note.txt") == "hello"
    place = {"connection": connection(server), "remotePath": "deep/er/note.txt"}
    COPY.delete("id", {}, place, 0)
    assert server.out("cat deep/er/note.txt") == "hello"


def test_the_private_key_is_in_no_error(server: Login) -> None:
    broken = connection(server, privateKey="-----BEGIN NONSENSE secret-material")
    with pytest.raises(ProviderError) as failed:
        run(server, "true", connection={**broken, "dialErrorLimit": 60})
    assert "secret-material" not in str(failed.value)


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        ({"create": "true"}, "connection.host"),
        ({"connection": {"host": "h", "hostkey": "x"}}, "connection.hostkey"),
        ({"connection": {"host": "h"}, "environment": {"A": "b"}}, "environment"),
        ({"connection": {"host": "h"}, "timeout": 3}, "timeout"),
    ],
)
def test_wrong_inputs_are_refused_at_preview(inputs: Properties, name: str) -> None:
    _, failures = COMMAND.check({}, inputs)
    assert name in [found for found, _ in failures]


def test_of_a_servers_keys_the_pinned_kind_is_asked_for(server: Login) -> None:
    """The stage's sshd has one kind of key; Ubuntu's has three, and the plugin names the pinned."""
    kinds = ("ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519")
    keys = [asyncssh.generate_private_key(kind) for kind in kinds]
    for key in keys:
        pinned = key.export_public_key().decode()
        assert _dial(keys, connection(server, hostKey=pinned)) == ""
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    assert "host key mismatch" in _dial(keys, connection(server, hostKey=stranger))


def _dial(keys: list[asyncssh.SSHKey], given: Properties) -> str:
    """What a command says of its connection to a server with these host keys; "" if it gets in."""

    async def serve() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=keys,
            authorized_client_keys=None,
            process_factory=lambda process: process.exit(0),
            server_factory=_AnybodyMayEnter,
        )

    listener = LOOP.wait(serve())
    try:
        place = {"host": "127.0.0.1", "port": listener.get_port()}
        inputs = {"connection": {**given, **place}, "create": "true"}
        COMMAND.create(COMMAND.check({}, inputs)[0], 0)
    except ProviderError as error:
        return str(error)
    finally:
        listener.close()
    return ""


class _AnybodyMayEnter(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False
