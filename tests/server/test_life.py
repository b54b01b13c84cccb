"""The whole lab on a real server, and what happens to it there.

Slow, and for what no stage can show: that real Docker, read back by a refresh, is what the program
asked for; that a change replaces only the containers that it concerns; that a server may go.
"""

from collections.abc import Iterator

import docker
import pytest

from rehearsal.lab import Lab, prepare
from tests.rehearsal.hands import on_server, wait_until_healthy
from tests.rehearsal.labs import ask, bill, change, done_to, settings_of, up

# Several runs of the engine each, images and packages again for each new server.
pytestmark = pytest.mark.timeout(1200)

ONE_SERVER = ["server ecs.gn7i-c16g1.4xlarge", "disk cloud_essd 1000 GiB"]


@pytest.fixture(scope="module")
def lab(
    docker_engine: docker.DockerClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Lab]:
    """The reference lab, up."""
    made = prepare(tmp_path_factory.mktemp("life"), "dev", real_server=True)
    try:
        up(made)
        yield made
    finally:
        made.end()


def test_a_refresh_finds_what_the_program_asked_for(lab: Lab) -> None:
    assert done_to(up(lab, "--refresh")) == {}


def test_a_changed_setting_replaces_no_container_that_it_does_not_concern(lab: Lab) -> None:
    before = containers(lab)
    models = settings_of(lab)["models"]
    change(lab, models=[{**model, "title": "Another"} for model in models])
    up(lab)
    # FastGPT is told of it while it runs.
    assert containers(lab) == before
    assert ask(lab)["citations"]
    change(lab, models=models)
    up(lab)


def test_after_a_reboot_there_is_nothing_to_do(lab: Lab) -> None:
    before, boot = containers(lab), booted(lab)
    lab.world.call("reboot")
    wait_until_healthy(lab.outputs)
    assert booted(lab) != boot
    assert containers(lab) == before
    assert done_to(up(lab)) == {}
    assert ask(lab)["citations"]


def test_another_server_takes_over(lab: Lab) -> None:
    old = lab.world.call("servers")
    for zone in lab.world.call("stock"):
        lab.world.call("set_stock", zone=zone, count=1)
    change(lab, serverGeneration=2)
    up(lab)
    assert [server["id"] for server in lab.world.call("servers")] != [old[0]["id"]]
    assert bill(lab) == ONE_SERVER
    assert ask(lab)["citations"]


def test_after_the_cloud_took_the_server_the_bill_ends(lab: Lab) -> None:
    lab.world.call("release")
    lab.engine.destroy()
    assert bill(lab) == []
    assert lab.world.call("inventory") == []


def containers(lab: Lab) -> dict[str, str]:
    """Name to id of what runs."""
    told = on_server(lab.outputs, "docker ps --format '{{.Names}} {{.ID}}'")
    return dict(line.split() for line in told.splitlines())


def booted(lab: Lab) -> str:
    """When the server was started."""
    return on_server(lab.outputs, "ps -o lstart= -p 1")
