"""The docker package against a rehearsed server: what the real provider was measured to do."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Iterator
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
from tests.rehearsal.servers import SSH_PORT, Login, ServerMaker, until

# An image whose containers have a process. It is healthy while its port is open.
IMAGE_NAME = "registry.cn-hangzhou.aliyuncs.com/xprobe_xinference/xinference"
WEB = f"{IMAGE_NAME}:v2.12.0"
LISTENS = f"exec {sys.executable} -m http.server 9997 -b $REHEARSAL_ADDRESS -d $REHEARSAL_ROOT"
CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
IMAGE = "docker:index/remoteImage:RemoteImage"
HEALTHY: Properties = {
    "tests": ["CMD-SHELL", "wget -q -O - http://127.0.0.1:9997/status"],
    "interval": "500ms",
    "startInterval": "200ms",
    "startPeriod": "10s",
    "timeout": "5s",
    "retries": 2,
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerMaker]:
    maker = ServerMaker(tmp_path_factory.mktemp("servers"), claim_block())
    yield maker
    maker.close()


@pytest.fixture(scope="module")
def server(servers: ServerMaker) -> Login:
    found = servers()
    found.out(f"docker pull {WEB}")
    return found


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
        self.kind = docker.kind(token)
        self.inputs = self.checked(**inputs)
        self.id, self.outputs = self.kind.create(self.inputs, 0)

    def checked(self, **inputs: Any) -> Properties:
        checked, failures = self.kind.check({}, inputs)
        assert not failures
        return checked

    def diff(self, **inputs: Any) -> Change:
        wanted = self.checked(**inputs) if inputs else self.inputs
        return self.kind.diff(self.id, self.inputs, self.outputs, wanted, [])

    def refresh(self) -> bool:
        id, _, outputs = self.kind.read(self.id, self.inputs, self.outputs)
        if id is not None:
            self.outputs = outputs
        return id is not None

    def delete(self) -> None:
        self.kind.delete(self.id, self.inputs, self.outputs, 0)


def settings(name: str = "web", **more: Any) -> Properties:
    command = ["bash", "-c", LISTENS]
    own = {"name": name, "image": WEB, "command": command, "healthcheck": HEALTHY, "wait": True}
    return {**own, **more}


def get(address: str, port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_a_container_is_up_as_asked_and_a_second_look_changes_nothing(server: Login) -> None:
    docker = provider(server)
    network = Resource(docker, NETWORK, name="lab", driver="bridge")
    volume = Resource(docker, VOLUME, name="data")
    inputs = settings(
        networksAdvanced=[{"name": "lab", "aliases": ["alias"]}],
        ports=[{"internal": 9997, "external": 3000, "ip": "0.0.0.0", "protocol": "tcp"}],
        envs=["B=2", "A=1"],
        volumes=[{"volumeName": "data", "containerPath": "/data"}],
        uploads=[{"file": "/etc/web.conf", "content": "hello", "permissions": "0640"}],
        memory=64,
        memorySwap=64,
        restart="unless-stopped",
        logDriver="json-file",
        logOpts={"max-size": "1m", "max-file": "2"},
        waitTimeout=20,
        command=["bash", "-c", f"env >$REHEARSAL_ROOT/env; {LISTENS}"],
    )
    container = Resource(docker, CONTAINER, **inputs)
    address = server.address
    env = dict(line.split("=", 1) for line in get(address, 3000, "/env")[1].splitlines())
    assert env["HOSTNAME"] == container.id[:12] == container.outputs["hostname"]
    assert (env["A"], env["B"]) == ("1", "2")
    assert env["REHEARSAL_IMAGE_TAG"] == "v2.12.0"
    assert get(address, 3000, "/etc/web.conf") == (200, "hello")
    assert "alias" in json.loads(Path(env["REHEARSAL_HOSTS"]).read_text())
    assert not container.diff().changes
    assert container.refresh()
    assert not container.diff().changes
    assert not network.diff().changes
    assert volume.refresh()
    container.delete()
    network.delete()
    volume.delete()
    assert not network.refresh()
    assert not volume.refresh()


@pytest.mark.parametrize(
    ("change", "replaces"),
    [
        ({"envs": ["A=2"]}, True),
        ({"uploads": [{"file": "/f", "content": "new"}]}, True),
        ({"healthcheck": {**HEALTHY, "retries": 9}}, True),
        ({"restart": "always"}, False),
        ({"memory": 128, "memorySwap": 128}, False),
        ({"waitTimeout": 99}, False),
    ],
)
def test_what_replaces_and_what_updates(server: Login, change: Properties, replaces: bool) -> None:
    inputs = settings(wait=False, envs=["A=1"], memory=64, memorySwap=64)
    container = Resource(provider(server), CONTAINER, **inputs)
    found = container.diff(**{**inputs, **change})
    assert found.changes
    assert bool(found.replaces) == replaces
    assert found.delete_before_replace


def test_the_order_of_the_environment_means_nothing(server: Login) -> None:
    inputs = settings(wait=False, envs=["A=1", "B=2"])
    container = Resource(provider(server), CONTAINER, **inputs)
    assert not container.diff(**{**inputs, "envs": ["B=2", "A=1"]}).changes


def test_memory_without_swap_differs_on_every_preview(server: Login) -> None:
    container = Resource(provider(server), CONTAINER, **settings(wait=False, memory=64))
    assert list(container.diff().updates) == ["memorySwap"]
    container.outputs = container.kind.update(
        container.id, container.inputs, container.outputs, container.inputs, 0
    )
    assert list(container.diff().updates) == ["memorySwap"]


def test_a_duration_that_is_not_in_go_s_form_differs_for_ever(server: Login) -> None:
    slow = {**HEALTHY, "interval": "60s"}
    container = Resource(provider(server), CONTAINER, **settings(wait=False, healthcheck=slow))
    container.refresh()
    assert list(container.diff().replaces) == ["healthcheck"]
    container.delete()
    slow["interval"] = "1m0s"
    container = Resource(provider(server), CONTAINER, **settings(wait=False, healthcheck=slow))
    container.refresh()
    assert not container.diff().changes


def test_waiting_for_health_fails_only_at_the_end_and_leaves_the_container(server: Login) -> None:
    sick = settings(
        command=["bash", "-c", "sleep 60"],
        waitTimeout=2,
    )
    with pytest.raises(InitFailed, match="failed to be in healthy state") as failed:
        Resource(provider(server), CONTAINER, **sick)
    shown = server.out("docker inspect --format '{{.Id}} {{.State.Health.Status}}' web").split()
    assert shown == [failed.value.id, "starting"]
    assert failed.value.outputs["name"] == "web"


def test_a_container_that_exits_at_once_is_no_error_without_wait(server: Login) -> None:
    inputs = {"name": "brief", "image": WEB, "command": ["bash", "-c", "exit 3"]}
    container = Resource(provider(server), CONTAINER, **inputs)
    state = "docker inspect --format '{{.State.Status}}' brief"
    until(lambda: server.out(state).strip() == "exited", "the container to end")
    container.refresh()
    assert (container.outputs["mustRun"], container.outputs["exitCode"]) == (False, 3)
    assert container.diff().updates == ["mustRun"]


def test_removed_by_hand(server: Login) -> None:
    container = Resource(provider(server), CONTAINER, **settings(wait=False))
    server.out("docker rm -f web")
    assert not container.diff().changes
    container.delete()
    assert not container.refresh()


def test_stopped_by_hand_is_started_in_place_and_not_waited_for(
    server: Login, tmp_path: Path
) -> None:
    gate = tmp_path / "may-listen"
    gate.touch()
    listens = f"while [ ! -e {gate} ]; do sleep 0.05; done; {LISTENS}"
    inputs = settings(command=["bash", "-c", listens])
    container = Resource(provider(server), CONTAINER, **inputs)
    server.out("docker stop web")
    gate.unlink()
    assert not container.diff().changes
    assert container.refresh()
    assert (container.diff().updates, container.diff().replaces) == (["mustRun"], [])
    container.outputs = container.kind.update(
        container.id, container.inputs, container.outputs, container.inputs, 0
    )
    shown = server.out("docker inspect --format '{{.State.Running}} {{.State.Health.Status}}' web")
    assert shown.split() == ["true", "starting"]
    assert container.refresh()
    assert not container.diff().changes


def test_stopped_by_hand_is_replaced_where_a_port_is_published(server: Login) -> None:
    ports = [{"internal": 9997, "external": 3000, "ip": "0.0.0.0", "protocol": "tcp"}]
    container = Resource(provider(server), CONTAINER, **settings(wait=False, ports=ports))
    server.out("docker stop web")
    assert container.refresh()
    assert container.outputs["ports"] == []
    assert (container.diff().updates, container.diff().replaces) == (["mustRun"], ["ports"])


@pytest.mark.parametrize(("grace", "in_order"), [({}, False), ({"destroyGraceSeconds": 20}, True)])
def test_without_a_grace_it_is_killed_at_once(
    server: Login, grace: Properties, in_order: bool
) -> None:
    work = (
        "rm -f data/ended; trap 'sleep 0.3; echo yes >data/ended; exit' TERM; touch data/up; "
        "while :; do sleep 0.05; done"
    )
    docker = provider(server)
    volume = Resource(docker, VOLUME, name="data")
    container = Resource(
        docker,
        CONTAINER,
        name="writer",
        image=WEB,
        command=["bash", "-c", f"cd $REHEARSAL_ROOT; {work}"],
        volumes=[{"volumeName": "data", "containerPath": "/data"}],
        **grace,
    )
    data = server.root / "var/lib/docker/volumes/data/_data"
    until((data / "up").exists, "the writer")
    container.delete()
    assert (data / "ended").exists() is in_order
    volume.delete()


def test_what_a_create_leaves_open_a_refresh_fills_in(server: Login) -> None:
    docker = provider(server)
    network = Resource(docker, NETWORK, name="lab")
    volume = Resource(docker, VOLUME, name="data")
    container = Resource(
        docker,
        CONTAINER,
        **settings(
            wait=False,
            networksAdvanced=[{"name": "lab"}],
            volumes=[{"volumeName": "data", "containerPath": "/data"}],
        ),
    )
    empty_lists = ("dns", "dnsOpts", "dnsSearches", "groupAdds")
    empty_maps = ("sysctls", "tmpfs", "storageOpts")
    created = container.outputs
    assert {created[name] for name in (*empty_lists, *empty_maps)} == {None}
    assert created["networksAdvanced"][0]["gwPriority"] is None
    assert created["volumes"][0]["readOnly"] is None
    assert (network.outputs["ipamOptions"], volume.outputs["driverOpts"]) == (None, None)
    for resource in (container, network, volume):
        assert resource.outputs["id"] == resource.id
        assert resource.refresh()
        assert resource.outputs["id"] == resource.id
        assert not resource.diff().changes
    refreshed = container.outputs
    assert all(refreshed[name] == [] for name in empty_lists)
    assert all(refreshed[name] == {} for name in empty_maps)
    assert refreshed["networksAdvanced"][0]["gwPriority"] == 0
    assert refreshed["volumes"][0]["readOnly"] is False
    assert (network.outputs["ipamOptions"], volume.outputs["driverOpts"]) == ({}, {})
    container.delete()
    volume.delete()
    network.delete()


def test_conflicts_in_docker_s_words(server: Login) -> None:
    docker = provider(server)
    port = [{"internal": 9997, "external": 3000}]
    Resource(docker, CONTAINER, **settings("one", wait=False, ports=port))
    with pytest.raises(ProviderError, match='name "/one" is already in use'):
        Resource(docker, CONTAINER, **settings("one", wait=False))
    with pytest.raises(InitFailed, match="port is already allocated"):
        Resource(docker, CONTAINER, **settings("two", wait=False, ports=port))
    with pytest.raises(ProviderError, match="network nowhere not found"):
        Resource(
            docker,
            CONTAINER,
            **settings("three", wait=False, networksAdvanced=[{"name": "nowhere"}]),
        )


def test_a_volume_or_network_in_use_stays(server: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rehearsal.providers.docker_kinds._IN_USE_SECONDS", 0.3)
    docker = provider(server)
    network = Resource(docker, NETWORK, name="busy")
    volume = Resource(docker, VOLUME, name="busy")
    mount = [{"volumeName": "busy", "containerPath": "/data"}]
    user = Resource(
        docker,
        CONTAINER,
        **settings(wait=False, networksAdvanced=[{"name": "busy"}], volumes=mount),
    )
    with pytest.raises(ProviderError, match="volume is in use"):
        volume.delete()
    with pytest.raises(ProviderError, match="active endpoints"):
        network.delete()
    user.delete()
    volume.delete()
    network.delete()


def test_an_image_is_taken_from_the_server_or_pulled(server: Login) -> None:
    docker = provider(server)
    other = f"{IMAGE_NAME}:v2.12.1"
    image = Resource(docker, IMAGE, name=other, keepLocally=True)
    assert image.id == image.outputs["imageId"] + other
    assert image.outputs["repoDigest"].startswith(f"{IMAGE_NAME}@sha256:")
    image.delete()
    assert image.refresh()
    image.outputs["keepLocally"] = False
    image.delete()
    assert not image.refresh()
    with pytest.raises(ProviderError, match="manifest unknown"):
        Resource(docker, IMAGE, name=f"{IMAGE_NAME}:none")


PULLED = "docker.io/xprobe/xinference:v2.12.0"


@pytest.mark.parametrize(
    ("mirrors", "reference", "said"),
    [
        ([], PULLED, "timeout"),
        (["https://dockerproxy.com", "https://docker.nju.edu.cn"], PULLED, "timeout"),
        (["https://dockerproxy.com", "https://docker.1ms.run"], PULLED, ""),
        ([], "registry-vpc.cn-hangzhou.aliyuncs.com/fastgpt/mysql:8.0.36", ""),
        ([], "registry.cn-hangzhou.aliyuncs.com/fastgpt/mysql:1.2.3", "manifest unknown"),
        ([], "Registry/UPPER:1", "invalid reference format"),
    ],
)
def test_what_can_be_pulled_on_the_mainland(
    server: Login, mirrors: list[str], reference: str, said: str
) -> None:
    daemon = server.root / "etc/docker/daemon.json"
    daemon.write_text(json.dumps({"registry-mirrors": mirrors}))
    ran = server.run(f"docker pull {reference}")
    daemon.unlink()
    assert bool(ran.exit_status) is bool(said)
    assert said in str(ran.stderr)


def _stranger(login: Login) -> DockerProvider:
    place = login.key_file.with_name("stranger")
    place.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    return provider(login, key_file=place)


def _other_host(login: Login) -> DockerProvider:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    return provider(login, host_key=" ".join(other.split()[:2]))


@pytest.mark.parametrize(
    ("make", "text"), [(_stranger, "Permission denied"), (_other_host, "Host key is not trusted")]
)
def test_what_ssh_refuses_the_provider_reports(
    server: Login, make: Callable[[Login], DockerProvider], text: str
) -> None:
    with pytest.raises(ProviderError, match=text):
        Resource(make(server), VOLUME, name="never")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"healthcheck": {**HEALTHY, "interval": "1 minute"}}, "invalid duration"),
        ({"healthcheck": {**HEALTHY, "interval": "15"}}, "missing unit"),
        ({"restart": "sometimes"}, "expected restart"),
        ({"image": None}, "Missing required"),
        ({"sysctls": {"a": "b"}}, "no property"),
    ],
)
def test_inputs_that_are_refused_at_preview(change: Properties, text: str) -> None:
    engine = stage_engine("ssh://root@127.0.0.1", [])
    kind = DockerProvider(engine).kind(CONTAINER)
    _, failures = kind.check({}, {**settings(), **change})
    assert any(text in why for _, why in failures)
