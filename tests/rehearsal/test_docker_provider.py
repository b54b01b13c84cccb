"""The docker package against a rehearsed server: what the real provider was measured to do, and no
lab that comes up shows: a stage that is kinder would hide a fault of the program."""

from collections.abc import Iterator
from typing import Any

import pytest

from provisioning.tunnel import ssh_options
from rehearsal.addresses import claim_block
from rehearsal.docker.over_ssh import stage_engine
from rehearsal.providers.base import Change, InitFailed, Kind, State
from rehearsal.providers.docker import DockerPackage, DockerProvider
from rehearsal.providers.values import Properties
from tests.rehearsal.servers import SSH_PORT, Login, ServerMaker

WEB = "registry.cn-hangzhou.aliyuncs.com/xprobe_xinference/xinference:v2.12.0"
CONTAINER = "docker:index/container:Container"
HEALTHY: Properties = {"tests": ["CMD-SHELL", "true"], "interval": "1m30s", "retries": 2}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    maker = ServerMaker(tmp_path_factory.mktemp("servers"), claim_block())
    found = maker()
    found.out(f"docker pull {WEB}")
    yield found
    maker.close()


@pytest.fixture(autouse=True)
def clean(server: Login) -> Iterator[None]:
    yield
    server.out("for id in $(docker ps -aq); do docker rm -f $id; done")


def provider(login: Login) -> DockerProvider:
    options = ssh_options(login.key_file, login.host_key)
    host = f"ssh://root@{login.address}:{SSH_PORT}"
    return DockerPackage(stage_engine).configure({"host": host, "sshOpts": options})


def made(login: Login, token: str, inputs: Properties) -> tuple[Kind, str, Properties]:
    """A resource as the engine makes it: its inputs are checked before."""
    kind = provider(login).kind(token)
    assert kind.check({}, inputs) == (inputs, [])
    return kind, *kind.create(inputs, 0)


def settings(**more: Any) -> Properties:
    own = {"name": "web", "image": WEB, "command": ["bash", "-c", "sleep 60"]}
    return {**own, "healthcheck": HEALTHY, "mustRun": True, "restart": "unless-stopped", **more}


def test_what_replaces_and_what_updates(server: Login) -> None:
    given = settings(envs=["A=1"], memory=64, memorySwap=64)
    kind, id_, outputs = made(server, CONTAINER, given)

    def diff(**changes: Any) -> Change:
        return kind.diff(State(id_, given, outputs), {**given, **changes}, [])

    replacing: Properties = {
        "envs": ["A=2"],
        "uploads": [{"file": "/f", "content": "new", "permissions": "0644"}],
        "healthcheck": {**HEALTHY, "retries": 9},
    }
    for name, value in replacing.items():
        found = diff(**{name: value})
        assert (found.updates, found.replaces) == ([], [name])
        assert found.delete_before_replace
    in_place = {"restart": "no", "memory": 128, "memorySwap": 128, "waitTimeout": 99}
    assert diff(**in_place) == Change(sorted(in_place), [], True)
    assert not diff(command=None).changes, "what the image says is not known here"


def test_waiting_for_health_fails_only_at_the_end_and_leaves_the_container(server: Login) -> None:
    with pytest.raises(InitFailed, match="failed to be in healthy state") as failed:
        made(server, CONTAINER, settings(wait=True, waitTimeout=2))
    shown = server.out("docker inspect --format '{{.Id}} {{.State.Health.Status}}' web").split()
    assert shown == [failed.value.id, "starting"]
    assert failed.value.outputs["name"] == "web"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"healthcheck": {**HEALTHY, "interval": "90s"}}, "healthcheck.interval"),
        ({"memory": 64}, "memorySwap"),
        ({"sysctls": {"a": "b"}}, "sysctls"),
    ],
)
def test_what_would_be_ignored_or_differ_for_ever_is_refused(change: Properties, name: str) -> None:
    kind = DockerProvider(stage_engine("ssh://root@127.0.0.1", [])).kind(CONTAINER)
    _, failures = kind.check({}, {**settings(), **change})
    assert [found for found, _ in failures] == [name]
