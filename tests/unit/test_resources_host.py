"""What every `pulumi up` looks at on the server, with the real shell text against a fake Docker."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime.rpc import UNKNOWN

from provisioning import remote
from provisioning.clients.http import DeadlineExceeded
from provisioning.tunnel import CommandFailed, ServerUnreachable, SshServer
from stack.resources import base
from stack.resources.base import LabProvider, Props
from stack.resources.server.containers_ready import ContainersReady
from stack.resources.server.file import File
from stack.resources.server.ready import Ready
from tests.unit.fake_services import FakeClock

HERE = {"host": "198.18.0.1", "ssh_port": 22, "user": "root", "host_key": "ssh-ed25519 AAAA"}
UP = "running Up 3 minutes (healthy)"
STARTING = "running Up 2 seconds (health: starting)"
SICK = "running Up 2 hours (unhealthy)"
STOPPED = "exited Exited (0) 2 minutes ago"

# A file per container: its state and status. Started, it is starting.
DOCKER = f"""#!/bin/bash
echo "$*" >>"$HOME/calls"
[ ! -e "$HOME/down" ] || {{ echo 'Cannot connect to the Docker daemon' >&2; exit 1; }}
case $1 in
ps) for f in "$HOME"/containers/*; do [ ! -e "$f" ] || echo "${{f##*/}} $(cat "$f")"; done ;;
start) echo '{STARTING}' >"$HOME/containers/$2" ;;
esac
"""


class Server:
    """A login's home, where commands are run by a real shell; `off` as a server is."""

    def __init__(self, home: Path) -> None:
        self.home, self.off = home, False
        (home / "containers").mkdir()
        (home / "bin").mkdir()
        docker = home / "bin/docker"
        docker.write_text(DOCKER)
        docker.chmod(0o755)

    def run(self, server: SshServer, command: str, stdin: bytes = b"", seconds: float = 1) -> str:
        if self.off:
            raise ServerUnreachable("SSH", f"connect {server.place}", "no route to host")
        ran = subprocess.run(
            ["bash", "-c", command],
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": f"{self.home}/bin:{os.environ['PATH']}"},
            input=stdin,
            capture_output=True,
            check=False,
        )
        if ran.returncode:
            raise CommandFailed("SSH", "run", ran.stderr.decode())
        return ran.stdout.decode()

    def shows(self, **states: str | None) -> None:
        for name, state in states.items():
            place = self.home / "containers" / name
            if state is None:
                place.unlink()
            else:
                place.write_text(state)

    @property
    def starts(self) -> list[str]:
        lines = (self.home / "calls").read_text().splitlines()
        return [line for line in lines if line.startswith("start")]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server(tmp_path)
    monkeypatch.setattr(remote, "run", made.run)
    made.shows(pg=UP, fastgpt=UP, other=STOPPED)
    return made


@pytest.fixture(autouse=True)
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr(base, "_silent", set())
    monkeypatch.setattr(base, "_told", set())
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    return told


INPUTS: Props = {
    "endpoint": HERE,
    "containers": {"pg": "1a", "fastgpt": "2b"},
    "wait_seconds": 300,
    "previewing": False,
}
STATE: Props = {**INPUTS, "generation": 4}


def containers() -> LabProvider:
    provider = LabProvider(ContainersReady)
    provider.clock = FakeClock()
    return provider


def preview(inputs: Props) -> Props:
    return {**inputs, "previewing": True}


# --- containers ------------------------------------------------------------------------------


def test_what_is_healthy_is_left_alone(server: Server, warnings: list[str]) -> None:
    assert not containers().diff("containers", STATE, INPUTS).changes
    assert not containers().diff("containers", STATE, preview(INPUTS)).changes
    assert warnings == []


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (STOPPED, "pg (Exited (0) 2 minutes ago); `pulumi up` brings them back"),
        (SICK, "pg (Up 2 hours (unhealthy)); `pulumi up` brings them back"),
        (None, "pg (gone); `pulumi up --refresh` makes anew what is gone"),
    ],
)
def test_a_preview_says_what_is_down_and_what_mends_it_once(
    server: Server, warnings: list[str], state: str | None, said: str
) -> None:
    server.shows(pg=state)
    for _ in range(2):
        assert containers().diff("containers", STATE, preview(INPUTS)).changes
    assert warnings == [f"down on the server: {said}"]


def test_an_up_starts_what_was_stopped_and_waits_until_it_is_healthy(server: Server) -> None:
    server.shows(pg=STOPPED)
    provider, clock = containers(), FakeClock()
    provider.clock = clock
    looks = iter([STARTING, STARTING, UP])
    clock.on_sleep = lambda: server.shows(pg=next(looks))

    outs = provider.update("containers", STATE, INPUTS).outs

    assert outs["generation"] == 5, "who seeds it has to look again"
    assert server.starts == ["start pg"]
    assert next(looks, None) is None


def test_what_does_not_get_healthy_is_named_at_the_end(server: Server) -> None:
    server.shows(pg=SICK)
    with pytest.raises(DeadlineExceeded) as failed:
        containers().create(INPUTS)
    told = str(failed.value)
    assert "fastgpt, pg to be healthy" in told
    assert "last seen: pg (Up 2 hours (unhealthy))" in told
    assert "docker logs" in told
    assert server.home.joinpath("calls").read_text().count("start") == 0


def test_one_that_dies_again_is_started_once(server: Server) -> None:
    server.shows(pg=STOPPED)
    provider, clock = containers(), FakeClock()
    provider.clock = clock
    clock.on_sleep = lambda: server.shows(pg=STOPPED)
    with pytest.raises(DeadlineExceeded, match="Exited"):
        provider.create(INPUTS)
    assert server.starts == ["start pg"]


def test_another_container_is_waited_for(server: Server) -> None:
    news = {**INPUTS, "containers": {"pg": "9z", "fastgpt": "2b"}}
    assert containers().diff("containers", STATE, news).changes
    assert containers().update("containers", STATE, news).outs["generation"] == 5


def test_a_stopped_docker_is_named(server: Server, warnings: list[str]) -> None:
    (server.home / "down").write_text("")
    assert containers().diff("containers", STATE, preview(INPUTS)).changes
    (told,) = warnings
    assert "Cannot connect to the Docker daemon" in told
    assert "systemctl start docker" in told


# --- the server ------------------------------------------------------------------------------

SERVER: Props = {"endpoint": HERE, "previewing": False}


def server_ready() -> LabProvider:
    provider = LabProvider(Ready)
    provider.clock = FakeClock()
    return provider


def test_a_server_that_answers_is_no_change(server: Server) -> None:
    assert not server_ready().diff("server", SERVER, SERVER).changes


def test_a_server_that_is_off_is_told_once_and_by_one_resource(
    server: Server, warnings: list[str]
) -> None:
    server.off = True
    assert server_ready().diff("server", SERVER, preview(SERVER)).changes
    assert not containers().diff("containers", STATE, preview(INPUTS)).changes
    (told,) = warnings
    assert "no route to host" in told

    with pytest.raises(DeadlineExceeded) as failed:
        server_ready().update("server", SERVER, SERVER)
    assert "the server root@198.18.0.1:22 to answer" in str(failed.value)
    assert "nothing on it was touched; run `pulumi up` again" in str(failed.value)


def test_nobody_looks_at_a_server_that_will_be_another(server: Server, warnings: list[str]) -> None:
    server.off = True
    news = preview({**SERVER, "endpoint": {**HERE, "host": UNKNOWN}})
    assert server_ready().diff("server", SERVER, news).changes
    assert warnings == []


# --- files -----------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> dict[str, Any]:
    source = tmp_path / "source"
    source.write_bytes(b"words\0")
    return {
        "endpoint": HERE,
        "path": "ai-lab/it's/words",
        "source": str(source),
        "sha256": hashlib.sha256(b"words\0").hexdigest(),
        "previewing": False,
    }


def test_a_file_is_put_in_place_for_everybody_to_read(server: Server, file: Props) -> None:
    made = LabProvider(File).create(file)
    there = server.home / made.id
    assert there.read_bytes() == b"words\0"
    assert there.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in there.parent.iterdir()] == ["words"]
    assert not LabProvider(File).diff(made.id, made.outs, file).changes
    elsewhere = {**file, "source": "/another/cache"}
    assert not LabProvider(File).diff(made.id, made.outs, elsewhere).changes


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text("half")])
def test_a_damaged_file_is_brought_back_by_the_next_up(
    server: Server, file: Props, warnings: list[str], harm: Any
) -> None:
    made = LabProvider(File).create(file)
    there = server.home / made.id
    harm(there)

    assert LabProvider(File).diff(made.id, made.outs, preview(file)).changes
    (told,) = warnings
    assert "damaged or gone; `pulumi up` brings it back" in told
    assert LabProvider(File).diff(made.id, made.outs, file).changes
    LabProvider(File).update(made.id, made.outs, file)
    assert there.read_bytes() == b"words\0"


def test_a_refresh_sees_what_became_of_a_file(server: Server, file: Props) -> None:
    made = LabProvider(File).create(file)
    (server.home / made.id).write_text("half")
    seen = LabProvider(File).read(made.id, made.outs)
    assert LabProvider(File).diff(made.id, seen.outs or {}, file).changes
    (server.home / made.id).unlink()
    assert LabProvider(File).read(made.id, made.outs).id is None


def test_a_file_that_comes_damaged_is_an_error(server: Server, file: Props) -> None:
    with pytest.raises(remote.UploadDamaged, match="is the disk full"):
        LabProvider(File).create({**file, "sha256": "0" * 64})
