"""The docker package against a rehearsed server: what the real provider was measured to do."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from rehearsal import faults, images
from rehearsal.addresses import claim_block
from rehearsal.providers.base import Change, InitFailed, ProviderError
from rehearsal.providers.docker import DockerPackage, DockerProvider
from rehearsal.providers.values import Properties
from tests.rehearsal.servers import PLAIN, SSH_PORT, WITH_DOCKER, Login, ServerMaker, until

WEB = "registry.cn-hangzhou.aliyuncs.com/test/web:1"
CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
IMAGE = "docker:index/remoteImage:RemoteImage"
HEALTHY: Properties = {
    "tests": ["CMD-SHELL", "wget -q -O - http://127.0.0.1:8080/health"],
    "interval": "500ms",
    "startInterval": "200ms",
    "startPeriod": "10s",
    "timeout": "5s",
    "retries": 2,
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerMaker]:
    web = images.Image(
        name="web",
        homes=frozenset({"registry.cn-hangzhou.aliyuncs.com/test/web"}),
        tags="1|2",
        size_mib=10,
        programs={"web": ("tests.rehearsal.stand_in",)},
        tools=("wget",),
        command=("web",),
        env={"FROM_IMAGE": "yes"},
        volumes=("/var/state",),
    )
    entered = replace(
        web,
        name="entered",
        homes=frozenset({"registry.cn-hangzhou.aliyuncs.com/test/entered"}),
        entrypoint=("web",),
        command=(),
    )
    before, images.CATALOGUE = images.CATALOGUE, (*images.CATALOGUE, web, entered)
    maker = ServerMaker(tmp_path_factory.mktemp("servers"), claim_block())
    yield maker
    maker.close()
    images.CATALOGUE = before


@pytest.fixture(scope="module")
def server(servers: ServerMaker) -> Login:
    found = servers(WITH_DOCKER)
    found.out(f"docker pull -q {WEB}; docker pull -q {WEB.replace('/web:', '/entered:')}")
    return found


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        login: Login = request.getfixturevalue("server")
        login.out("docker ps -aq | xargs -r docker rm -f")


def provider(login: Login, *more: str, host_key: str = "") -> DockerProvider:
    known = f"KnownHostsCommand=/bin/echo * {host_key or login.machine.host_key}"
    options = ["-i", str(login.key_file), "-o", "StrictHostKeyChecking=yes"]
    options += ["-o", "UserKnownHostsFile=/dev/null", "-o", known, "-o", "BatchMode=yes", *more]
    host = f"ssh://root@{login.machine.address}:{SSH_PORT}"
    return DockerPackage().configure({"host": host, "sshOpts": options})


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
    return {"name": name, "image": WEB, "healthcheck": HEALTHY, "wait": True, **more}


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
        ports=[{"internal": 8080, "external": 3000, "ip": "0.0.0.0", "protocol": "tcp"}],
        envs=["B=2", "A=1"],
        volumes=[{"volumeName": "data", "containerPath": "/data"}],
        uploads=[{"file": "/etc/web.conf", "content": "hello", "permissions": "0640"}],
        memory=64,
        memorySwap=64,
        restart="unless-stopped",
        logDriver="json-file",
        logOpts={"max-size": "1m", "max-file": "2"},
        waitTimeout=20,
    )
    container = Resource(docker, CONTAINER, **inputs)
    address = server.machine.address
    env = json.loads(get(address, 3000, "/env")[1])
    assert env["HOSTNAME"] == container.id[:12] == container.outputs["hostname"]
    assert (env["A"], env["B"], env["FROM_IMAGE"]) == ("1", "2", "yes")
    assert env["REHEARSAL_IMAGE_TAG"] == "1"
    assert get(address, 3000, "/file?/etc/web.conf") == (200, "hello")
    assert get(address, 3000, "/resolve?alias")[0] == 200
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
        uploads=[{"file": "/sick", "content": "yes"}],
        healthcheck={**HEALTHY, "startPeriod": "0s", "retries": 1},
        waitTimeout=3,
    )
    with pytest.raises(InitFailed, match="failed to be in healthy state") as failed:
        Resource(provider(server), CONTAINER, **sick)
    shown = server.out("docker inspect web --format '{{.Id}} {{.State.Health.Status}}'").split()
    assert shown == [failed.value.id, "unhealthy"]
    assert failed.value.outputs["name"] == "web"


def test_health_follows_the_service(server: Login) -> None:
    container = Resource(provider(server), CONTAINER, **settings())
    server.out("docker exec web sh -c 'touch /sick'")
    status = "docker inspect -f '{{.State.Health.Status}}' web"
    until(lambda: server.out(status).strip() == "unhealthy", "the container to turn unhealthy")
    server.out("docker exec web rm /sick")
    until(lambda: server.out(status).strip() == "healthy", "the container to recover")
    assert container.refresh()


def test_a_container_that_exits_at_once_is_no_error_without_wait(server: Login) -> None:
    inputs = {"name": "brief", "image": WEB, "command": ["sh", "-c", "exit 3"]}
    container = Resource(provider(server), CONTAINER, **inputs)
    assert server.out("docker wait brief").strip() == "3"
    container.refresh()
    assert (container.outputs["mustRun"], container.outputs["exitCode"]) == (False, 3)
    assert container.diff().updates == ["mustRun"]


def test_removed_by_hand(server: Login) -> None:
    container = Resource(provider(server), CONTAINER, **settings(wait=False))
    server.out("docker rm -f web")
    assert not container.diff().changes
    container.delete()
    assert not container.refresh()


def test_stopped_by_hand_is_started_in_place_and_not_waited_for(server: Login) -> None:
    sick = {**HEALTHY, "startPeriod": "1m0s"}
    container = Resource(provider(server), CONTAINER, **settings(healthcheck=sick))
    server.out("docker exec web touch /sick; docker stop web")
    assert not container.diff().changes
    assert container.refresh()
    assert (container.diff().updates, container.diff().replaces) == (["mustRun"], [])
    container.outputs = container.kind.update(
        container.id, container.inputs, container.outputs, container.inputs, 0
    )
    shown = server.out("docker inspect -f '{{.State.Running}} {{.State.Health.Status}}' web")
    assert shown.split() == ["true", "starting"]
    assert container.refresh()
    assert not container.diff().changes


def test_stopped_by_hand_is_replaced_where_a_port_is_published(server: Login) -> None:
    ports = [{"internal": 8080, "external": 3000, "ip": "0.0.0.0", "protocol": "tcp"}]
    container = Resource(provider(server), CONTAINER, **settings(wait=False, ports=ports))
    server.out("docker stop web")
    assert container.refresh()
    assert container.outputs["ports"] == []
    assert (container.diff().updates, container.diff().replaces) == (["mustRun"], ["ports"])


@pytest.mark.parametrize(("grace", "in_order"), [({}, False), ({"destroyGraceSeconds": 20}, True)])
def test_without_a_grace_it_is_killed_at_once(
    server: Login, grace: Properties, in_order: bool
) -> None:
    work = "trap 'sleep 0.3; echo yes >/data/ended; exit' TERM; while :; do sleep 0.05; done"
    docker = provider(server)
    volume = Resource(docker, VOLUME, name="data")
    container = Resource(
        docker,
        CONTAINER,
        name="writer",
        image=WEB,
        command=["sh", "-c", f"rm -f /data/ended; touch /data/up; {work}"],
        volumes=[{"volumeName": "data", "containerPath": "/data"}],
        **grace,
    )
    data = server.machine.root / "var/lib/docker/volumes/data/_data"
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


def test_the_entrypoint_is_the_image_s_where_none_is_asked_for(server: Login) -> None:
    image = WEB.replace("/web:", "/entered:")
    container = Resource(provider(server), CONTAINER, name="entered", image=image)
    assert container.outputs["entrypoints"] == ["web"]
    assert not container.diff().changes


def test_conflicts_in_docker_s_words(server: Login) -> None:
    docker = provider(server)
    port = [{"internal": 8080, "external": 3000}]
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
    monkeypatch.setattr("rehearsal.providers.docker._IN_USE_SECONDS", 0.3)
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
    other = WEB.replace(":1", ":2")
    image = Resource(docker, IMAGE, name=other, keepLocally=True)
    assert image.id == image.outputs["imageId"] + other
    assert image.outputs["repoDigest"].startswith(WEB.rpartition(":")[0] + "@sha256:")
    image.delete()
    assert image.refresh()
    image.outputs["keepLocally"] = False
    image.delete()
    assert not image.refresh()
    with pytest.raises(ProviderError, match="manifest unknown"):
        Resource(docker, IMAGE, name=WEB.replace(":1", ":3"))


def test_an_interrupted_pull_keeps_its_layers(
    server: Login, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "faults.json"
    monkeypatch.setenv("REHEARSAL_FAULTS", str(place))
    faults.switch_on(place, "docker.pull", "web", 1)
    other = WEB.replace(":1", ":2")
    broken = server.run(f"docker pull {other}")
    assert broken.exit_status == 1
    assert "unexpected EOF" in str(broken.stderr)
    assert "Already exists" in server.out(f"docker pull {other}")


def _wrong_key(login: Login) -> DockerProvider:
    place = login.key_file.with_name("stranger")
    place.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    place.chmod(0o600)
    docker = provider(login)
    docker._daemon._words[1] = str(place)
    return docker


def _wrong_host(login: Login) -> DockerProvider:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    return provider(login, host_key=" ".join(other.split()[:2]))


def _open_key_file(login: Login) -> DockerProvider:
    place = login.key_file.with_name("open")
    place.write_text(login.key_file.read_text())
    place.chmod(0o644)
    docker = provider(login)
    docker._daemon._words[1] = str(place)
    return docker


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (_wrong_key, r"Permission denied \(publickey\)"),
        (_wrong_host, "Host key verification failed"),
        (_open_key_file, "too open"),
        (lambda login: provider(login, "-o", "Nonsense=1"), "Bad configuration option: nonsense"),
    ],
)
def test_what_ssh_refuses_the_provider_reports(
    server: Login, make: Callable[[Login], DockerProvider], text: str
) -> None:
    with pytest.raises(ProviderError, match=text):
        Resource(make(server), VOLUME, name="never")


def test_a_known_host_is_remembered_and_a_new_key_refused(server: Login, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    words = ["-i", str(server.key_file), "-o", "StrictHostKeyChecking=accept-new"]
    words += ["-o", f"UserKnownHostsFile={known}"]
    host = f"ssh://root@{server.machine.address}:{SSH_PORT}"
    docker = DockerPackage().configure({"host": host, "sshOpts": words})
    Resource(docker, VOLUME, name="first")
    name = f"[{server.machine.address}]:{SSH_PORT}"
    assert known.read_text() == f"{name} {server.machine.host_key}\n"
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    known.write_text(f"{name} {other}")
    docker = DockerPackage().configure({"host": host, "sshOpts": words})
    with pytest.raises(ProviderError, match="IDENTIFICATION HAS CHANGED"):
        Resource(docker, VOLUME, name="second")


def test_without_docker_or_without_a_server(servers: ServerMaker) -> None:
    plain = servers(PLAIN)
    docker = provider(plain)
    with pytest.raises(ProviderError, match=r"exit status 127.*docker: not found"):
        Resource(docker, VOLUME, name="never")
    plain.machine.stop()
    with pytest.raises(ProviderError, match="Connection refused"):
        Resource(docker, VOLUME, name="never")


def test_a_stopped_daemon_is_named(servers: ServerMaker) -> None:
    server = servers(WITH_DOCKER)
    server.out("systemctl stop docker")
    with pytest.raises(ProviderError, match="Cannot connect to the Docker daemon"):
        Resource(provider(server), VOLUME, name="never")
    server.out("systemctl start docker")
    Resource(provider(server), VOLUME, name="now")


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
    kind = DockerProvider("ssh://root@127.0.0.1", []).kind(CONTAINER)
    _, failures = kind.check({}, {**settings(), **change})
    assert any(text in why for _, why in failures)
