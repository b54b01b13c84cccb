"""The docker package against a rehearsed server: what the real provider was measured to do."""

import contextlib
import http.client
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from provisioning.tunnel import ssh_options
from rehearsal.addresses import claim_block
from rehearsal.docker.over_ssh import stage_engine
from rehearsal.providers.base import Change, InitFailed, ProviderError
from rehearsal.providers.docker import DockerPackage, DockerProvider
from rehearsal.providers.values import Properties
from tests.rehearsal.servers import SSH_PORT, Login, ServerMaker

# An image whose containers have a process. It is healthy while its port is open.
WEB = "registry.cn-hangzhou.aliyuncs.com/xprobe_xinference/xinference:v2.12.0"
LISTENS = f"exec {sys.executable} -m http.server 9997 -b $REHEARSAL_ADDRESS -d $REHEARSAL_ROOT"
CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
IMAGE = "docker:index/remoteImage:RemoteImage"
HEALTHY: Properties = {"tests": ["CMD-SHELL", "true"], "interval": "1m30s", "retries": 2}
PORTS = [{"internal": 9997, "external": 3000, "ip": "0.0.0.0", "protocol": "tcp"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    maker = ServerMaker(tmp_path_factory.mktemp("servers"), claim_block())
    found = maker()
    found.out(f"docker pull {WEB}")
    yield found
    maker.close()


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        login: Login = request.getfixturevalue("server")
        login.out("for id in $(docker ps -aq); do docker rm -f $id; done")


def provider(login: Login, key_file: Path | None = None, host_key: str = "") -> DockerProvider:
    options = ssh_options(key_file or login.key_file, host_key or login.host_key)
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
        return self.kind.diff(self.id, self.inputs, self.outputs, wanted, [])

    def refresh(self) -> bool:
        id, _, outputs = self.kind.read(self.id, self.inputs, self.outputs)
        self.outputs = outputs or self.outputs
        return id is not None

    def delete(self) -> None:
        self.kind.delete(self.id, self.inputs, self.outputs, 0)


def settings(name: str = "web", **more: Any) -> Properties:
    own = {"name": name, "image": WEB, "command": ["bash", "-c", LISTENS], "healthcheck": HEALTHY}
    return {**own, "mustRun": True, "restart": "unless-stopped", **more}


def get(login: Login, path: str) -> str:
    connection = http.client.HTTPConnection(login.address, 3000, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_a_container_is_up_as_asked_and_a_second_look_changes_nothing(server: Login) -> None:
    docker = provider(server)
    network = Resource(docker, NETWORK, name="lab", driver="bridge")
    volume = Resource(docker, VOLUME, name="data")
    given = settings(
        networksAdvanced=[{"name": "lab", "aliases": ["alias"]}],
        ports=PORTS,
        envs=["A=1", "B=2"],
        volumes=[{"volumeName": "data", "containerPath": "/data"}],
        uploads=[{"file": "/etc/web.conf", "content": "hello", "permissions": "0640"}],
        memory=64,
        memorySwap=64,
        logDriver="json-file",
        logOpts={"max-size": "1m", "max-file": "2"},
        command=["bash", "-c", f"env >$REHEARSAL_ROOT/env; {LISTENS}"],
        wait=True,
        waitTimeout=20,
    )
    container = Resource(docker, CONTAINER, **given)
    env = dict(line.split("=", 1) for line in get(server, "/env").splitlines())
    assert (env["A"], env["B"], env["REHEARSAL_IMAGE_TAG"]) == ("1", "2", "v2.12.0")
    assert get(server, "/etc/web.conf") == "hello"
    assert "alias" in json.loads(Path(env["REHEARSAL_HOSTS"]).read_text())
    for resource in (container, network, volume):
        assert not resource.diff().changes
        assert resource.refresh()
        assert resource.outputs["id"] == resource.id
        assert not resource.diff().changes
    with pytest.raises(ProviderError, match="volume is in use"):
        volume.delete()
    with pytest.raises(ProviderError, match="active endpoints"):
        network.delete()
    for resource in (container, network, volume):
        resource.delete()
        resource.delete()
        assert not resource.refresh()


def test_what_replaces_and_what_updates(server: Login) -> None:
    given = settings(envs=["A=1"], memory=64, memorySwap=64)
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
    assert container.diff(**in_place) == Change(sorted(in_place), [], True)
    assert not container.diff(command=None).changes, "what the image says is not known here"


def test_waiting_for_health_fails_only_at_the_end_and_leaves_the_container(server: Login) -> None:
    sick = settings(command=["bash", "-c", "sleep 60"], wait=True, waitTimeout=2)
    with pytest.raises(InitFailed, match="failed to be in healthy state") as failed:
        Resource(provider(server), CONTAINER, **sick)
    shown = server.out("docker inspect --format '{{.Id}} {{.State.Health.Status}}' web").split()
    assert shown == [failed.value.id, "starting"]
    assert failed.value.outputs["name"] == "web"


def test_conflicts_in_docker_s_words(server: Login) -> None:
    docker = provider(server)
    Resource(docker, CONTAINER, **settings("one", ports=PORTS))
    with pytest.raises(ProviderError, match='name "/one" is already in use'):
        Resource(docker, CONTAINER, **settings("one"))
    with pytest.raises(InitFailed, match="port is already allocated"):
        Resource(docker, CONTAINER, **settings("two", ports=PORTS))
    with pytest.raises(ProviderError, match="network nowhere not found"):
        Resource(docker, CONTAINER, **settings("three", networksAdvanced=[{"name": "nowhere"}]))


HUB = "docker.io/xprobe/xinference:v2.12.0"
INSIDE = "registry-vpc.cn-hangzhou.aliyuncs.com/fastgpt/mysql"


@pytest.mark.parametrize(
    ("mirror", "reference", "said"),
    [
        ("dockerproxy.com", HUB, "timeout"),
        ("docker.1ms.run", HUB, ""),
        ("", f"{INSIDE}:8.0.36", ""),
        ("", f"{INSIDE}:1.2.3", "manifest unknown"),
    ],
)
def test_what_can_be_pulled_on_the_mainland(
    server: Login, mirror: str, reference: str, said: str
) -> None:
    mirrors = {"registry-mirrors": [f"https://{mirror}"]}
    (server.root / "etc/docker/daemon.json").write_text(json.dumps(mirrors))
    with pytest.raises(ProviderError, match=said) if said else contextlib.nullcontext():
        image = Resource(provider(server), IMAGE, name=reference, keepLocally=True)
        assert image.id == image.outputs["imageId"] + reference


def test_what_ssh_refuses_the_provider_reports(server: Login, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    place = tmp_path / "stranger"
    place.write_bytes(other.export_private_key())
    with pytest.raises(ProviderError, match="Permission denied"):
        Resource(provider(server, key_file=place), VOLUME, name="never")
    host_key = " ".join(other.export_public_key().decode().split()[:2])
    with pytest.raises(ProviderError, match="Host key is not trusted"):
        Resource(provider(server, host_key=host_key), VOLUME, name="never")


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
