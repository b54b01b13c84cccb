"""The docker package against a rehearsed server: what the real provider was measured to do, in what
neither a whole lab nor the real Docker of tests/server shows."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from provisioning.tunnel import ssh_options
from rehearsal.addresses import claim_block
from rehearsal.docker.over_ssh import stage_engine
from rehearsal.providers.base import Change, InitFailed, State
from rehearsal.providers.docker import DockerPackage, DockerProvider
from rehearsal.providers.values import Properties
from tests.rehearsal.servers import SSH_PORT, Login, ServerMaker

# An image whose containers have a process. It is healthy while its port is open.
WEB = "registry.cn-hangzhou.aliyuncs.com/xprobe_xinference/xinference:v2.12.0"
LISTENS = f"exec {sys.executable} -m http.server 9997 -b $REHEARSAL_ADDRESS -d $REHEARSAL_ROOT"
CONTAINER = "docker:index/container:Container"
HEALTHY: Properties = {"tests": ["CMD-SHELL", "true"], "interval": "1m30s", "retries": 2}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    maker = ServerMaker(tmp_path_factory.mktemp("servers"), claim_block())
    found = maker()
    found.out(f"docker pull {WEB}")
    yield found
    maker.close()


def provider(login: Login) -> DockerProvider:
    options = ssh_options(login.key_file, login.host_key)
    host = f"ssh://root@{login.address}:{SSH_PORT}"
    return DockerPackage(stage_engine).configure({"host": host, "sshOpts": options})


class Resource:
    """One resource as the engine treats it: checked inputs, and the state of the last step."""

    def __init__(self, docker: DockerProvider, token: str, **inputs: Any) -> None:
        self.kind, self.inputs = docker.kind(token), inputs
        assert self.kind.check({}, inputs) == (inputs, [])
        self.id, self.outputs = self.kind.create(inputs, 0)

    def diff(self, **changes: Any) -> Change:
        wanted = {**self.inputs, **changes}
        return self.kind.diff(State(self.id, self.inputs, self.outputs), wanted, [])


def settings(name: str = "web", **more: Any) -> Properties:
    own = {"name": name, "image": WEB, "command": ["bash", "-c", LISTENS], "healthcheck": HEALTHY}
    return {**own, "mustRun": True, "restart": "unless-stopped", **more}


def test_what_replaces_and_what_updates(server: Login) -> None:
    given = settings("kept", envs=["A=1"], memory=64, memorySwap=64)
    container = Resource(provider(server), CONTAINER, **given)
    replacing: Properties = {
        "envs": ["A=2"],
        "uploads": [{"file": "/f", "content": "new", "permissions": "0644"}],
        "healthcheck": {**HEALTHY, "retries": 9},
    }
    for name, value in replacing.items():
        found = container.diff(**{name: value})
        assert (found.updates, found.replaces) == ([], [name])
        assert found.delete_before_replace
    in_place = {"restart": "no", "memory": 128, "memorySwap": 128, "waitTimeout": 99}
    assert not container.diff().changes
    assert container.diff(**in_place) == Change(sorted(in_place), [], True)
    assert not container.diff(command=None).changes, "what the image says is not known here"


def test_waiting_for_health_fails_only_at_the_end_and_leaves_the_container(server: Login) -> None:
    sick = settings(command=["bash", "-c", "sleep 60"], wait=True, waitTimeout=2)
    with pytest.raises(InitFailed, match="failed to be in healthy state") as failed:
        Resource(provider(server), CONTAINER, **sick)
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
