"""What every `pulumi up` looks at on the server, with the real shell text against a fake Docker."""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.rpc import UNKNOWN

from provisioning import remote
from provisioning.clients.errors import DeadlineExceeded, Unexpected
from provisioning.tunnel import CommandFailed, ServerUnreachable, SshServer
from stack.resources.declaration import Props
from stack.resources.server.containers_ready import ContainersReady
from stack.resources.server.file import File
from stack.resources.server.ready import Ready
from tests.unit.subject import Subject

pytestmark = pytest.mark.usefixtures("warnings")

HERE = {"host": "198.18.0.1", "ssh_port": 22, "user": "root", "host_key": "ssh-ed25519 AAAA"}
UP = "running Up 3 minutes (healthy)"
STARTING = "running Up 2 seconds (health: starting)"
LOOPING = "restarting Restarting (1) 2 seconds ago"
SICK = "running Up 2 hours (unhealthy)"
STOPPED = "exited Exited (0) 2 minutes ago"

# A file per container: its state and status. Started, it is starting.
DOCKER = f"""#!/bin/bash
echo "$*" >>"$HOME/calls"
[ ! -e "$HOME/down" ] || {{ echo 'Cannot connect to the Docker daemon' >&2; exit 1; }}
case $1 in
ps) for f in "$HOME"/containers/*; do [ ! -e "$f" ] || echo "${{f##*/}} $(cat "$f")"; done ;;
start) echo '{STARTING}' >"$HOME/containers/$2" ;;
inspect) echo 2026-11-27T18:00:00Z ;;
logs) [ "$3" = 2026-11-27T18:00:00Z ] && cat "$HOME/log" ;;
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

    def logs(self, text: str) -> None:
        (self.home / "log").write_text(text)

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


INPUTS: Props = {
    "endpoint": HERE,
    "containers": {"pg": "1a", "fastgpt": "2b"},
    "wait_seconds": 300,
    "previewing": False,
}


@pytest.fixture
def containers() -> Subject:
    made = Subject(ContainersReady, INPUTS)
    made.state = {**INPUTS, "generation": 4}
    return made


@pytest.fixture
def ready() -> Subject:
    made = Subject(Ready, {"endpoint": HERE, "previewing": False})
    made.state = made.wanted
    return made


# --- containers ------------------------------------------------------------------------------


def test_what_is_healthy_is_left_alone(
    server: Server, containers: Subject, warnings: list[str]
) -> None:
    assert not containers.changes()
    assert not containers.changes(previewing=True)
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
    server: Server, containers: Subject, warnings: list[str], state: str | None, said: str
) -> None:
    server.shows(pg=state)
    for _ in range(2):
        assert containers.changes(previewing=True)
    assert warnings == [f"down on the server: {said}"]


LACKS = "Invalid environment variables. Please check: FE_DOMAIN"
CAUSES = [
    (LOOPING, LACKS, "does not start with what it is told as FE_DOMAIN"),
    (LOOPING, "root:secret1\n[redis_error] root:secret1", "it does not reach Redis"),
    (LOOPING, "[redis_error / init-bullmq-workers] down", "it does not reach Redis"),
    (LOOPING, "[redis_error]\nnow [s3_error] public: Unauthorized", "the storage of its files"),
    (STARTING, "MongoDB connection failed, will retry", "it does not reach MongoDB"),
    (LOOPING, "[vectordb_error / init] relation", "PostgreSQL refuses it"),
    (LOOPING, "[plugin_error]: fetch failed", "it does not reach its plugin"),
    (LOOPING, "[plugin_error]: Unauthorized", "does not take its token"),
    (SICK, "Error: fetch failed", "a start that hangs waits for PostgreSQL, see `docker logs pg`"),
    (LOOPING, "write: No space left on device", "a larger diskSizeGiB makes room"),
]


@pytest.mark.fault("FastGPT started without a variable")
@pytest.mark.fault("FastGPT started with another plugin's token")
@pytest.mark.parametrize(("state", "log", "why"), CAUSES)
def test_why_one_is_down_is_told_where_its_log_says_so(
    server: Server, containers: Subject, warnings: list[str], state: str, log: str, why: str
) -> None:
    server.shows(fastgpt=state)
    server.logs(log)
    assert containers.changes(previewing=True)
    (said,) = warnings
    assert said.startswith(f"down on the server: fastgpt ({state.split(' ', 1)[1]}: ")
    assert why in said
    assert "secret1" not in said


def test_nothing_is_made_of_a_log_that_says_nothing(
    server: Server, containers: Subject, warnings: list[str]
) -> None:
    server.shows(fastgpt=LOOPING)
    silent = [("ready in 5 s", LOOPING), ("[redis_error]", STOPPED)]
    for log, ended in (*silent, ("No space left on device: '/dev/shm/x'", LOOPING)):
        server.logs(log)
        server.shows(fastgpt=ended)
        assert containers.changes(previewing=True)
    assert [said.count(": ") for said in warnings] == [1, 1]


def test_an_up_starts_what_was_stopped_and_waits_until_it_is_healthy(
    server: Server, containers: Subject
) -> None:
    server.shows(pg=STOPPED)
    looks = iter([STARTING, STARTING, UP])
    containers.clock.on_sleep = lambda: server.shows(pg=next(looks))

    assert containers.update()["generation"] == 5, "who seeds it has to look again"
    assert server.starts == ["start pg"]
    assert next(looks, None) is None
    other = {"pg": "9z", "fastgpt": "2b"}
    assert containers.changes(containers=other)
    assert containers.update(containers=other)["generation"] == 6


@pytest.mark.parametrize(
    ("state", "seen", "starts"),
    [(SICK, "Up 2 hours (unhealthy)", []), (STOPPED, "Exited (0) 2 minutes ago", ["start pg"])],
)
def test_what_does_not_get_healthy_is_started_once_and_named_at_the_end(
    server: Server, containers: Subject, state: str, seen: str, starts: list[str]
) -> None:
    server.shows(pg=state)
    containers.clock.on_sleep = lambda: server.shows(pg=state)
    with pytest.raises(DeadlineExceeded) as failed:
        containers.create()
    told = str(failed.value)
    assert "fastgpt, pg to be healthy" in told
    assert f"last seen: pg ({seen})" in told
    assert "docker logs" in told
    assert server.starts == starts


def test_a_stopped_docker_is_named(
    server: Server, containers: Subject, warnings: list[str]
) -> None:
    (server.home / "down").write_text("")
    assert containers.changes(previewing=True)
    (told,) = warnings
    assert "Cannot connect to the Docker daemon" in told
    assert "systemctl start docker" in told


# --- the server ------------------------------------------------------------------------------


def test_a_server_that_is_off_is_told_once_and_by_one_resource(
    server: Server, ready: Subject, containers: Subject, warnings: list[str]
) -> None:
    assert not ready.changes()
    server.off = True
    assert ready.changes(previewing=True)
    assert not containers.changes(previewing=True)
    (told,) = warnings
    assert "no route to host" in told
    # Nobody looks at a server that will be another.
    assert ready.changes(previewing=True, endpoint={**HERE, "host": UNKNOWN})
    assert len(warnings) == 1
    with pytest.raises(DeadlineExceeded) as failed:
        ready.update()
    assert "the server root@198.18.0.1:22 to answer" in str(failed.value)
    assert "nothing on it was touched; run `pulumi up` again" in str(failed.value)


# --- files -----------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Subject:
    source = tmp_path / "source"
    source.write_bytes(b"words\0")
    wanted = {
        "endpoint": HERE,
        "path": "ai-lab/it's/words",
        "source": str(source),
        "sha256": hashlib.sha256(b"words\0").hexdigest(),
        "previewing": False,
    }
    return Subject(File, wanted)


def test_a_file_is_put_in_place_for_everybody_to_read(server: Server, file: Subject) -> None:
    file.create()
    there = server.home / file.id
    assert there.read_bytes() == b"words\0"
    assert there.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in there.parent.iterdir()] == ["words"]
    assert not file.changes()
    assert not file.changes(source="/another/cache")
    with pytest.raises(Unexpected, match="is the disk full"):
        file.create(sha256="0" * 64)


@pytest.mark.parametrize(
    ("harm", "gone"), [(Path.unlink, True), (lambda path: path.write_text("half"), False)]
)
def test_a_damaged_file_is_seen_and_brought_back_by_the_next_up(
    server: Server, file: Subject, warnings: list[str], harm: Any, gone: bool
) -> None:
    file.create()
    there = server.home / file.id
    harm(there)

    assert file.gone() is gone
    assert gone or file.drifts()
    assert file.changes(previewing=True)
    (told,) = warnings
    assert "damaged or gone; `pulumi up` brings it back" in told
    assert file.changes()
    file.update()
    assert there.read_bytes() == b"words\0"
