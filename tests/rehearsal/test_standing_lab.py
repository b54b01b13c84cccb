"""A lab that stands, and what happens to it. Only the whole chain shows what comes back alone."""

import json
from pathlib import Path

from provisioning.plan import plan
from provisioning.settings import Settings
from rehearsal.lab import Lab
from rehearsal.probes import Probe
from tests.matrix import networks
from tests.rehearsal.hands import Hands, on_server, wait_until_healthy
from tests.rehearsal.labs import ask, done_to
from tests.unit.program import given
from tests.waiting import until

MODELS = {"qwen2.5-instruct", "m3e-base", "bge-reranker-v2-m3"}


def test_after_a_reboot_there_is_nothing_to_do(rehearsed_lab: Lab) -> None:
    """All is there again without the operator; Xinference starts its models one by one."""
    lab = rehearsed_lab
    before = _gateway(lab)
    started = _starts(lab)

    lab.world.call("reboot")
    until(lambda: _starts(lab).keys() == started.keys(), "the reboot")
    wait_until_healthy(lab.outputs)
    assert all(_starts(lab)[name] != when for name, when in started.items())
    with Probe(lab.outputs) as probe:
        assert set(probe.running()) == MODELS
    assert _gateway(lab) == before

    assert done_to(lab.engine.up("--refresh")) == {}
    assert ask(lab)["citations"], "the question is not answered with a citation any more"


def test_a_container_knows_the_names_in_its_networks_alone(rehearsed_lab: Lab) -> None:
    """The matrix of docs/security.md, as the stage can show it; a real server tries every port."""
    planned = plan(Settings.model_validate(given("dev", Path("no-key")))).containers
    asked = (
        "for name in $(docker ps --format '{{.Names}}'); do "
        "id=$(docker inspect --format '{{.Id}}' $name); "
        'echo "$name $(cat $LAB_ROOT/var/lib/docker/containers/$id/hosts.json)"; done'
    )
    lines = (line.split(" ", 1) for line in on_server(rehearsed_lab.outputs, asked).splitlines())
    known = {name: json.loads(hosts).keys() & planned.keys() for name, hosts in lines}
    together = networks(planned).values()
    assert known == {
        name: set[str]().union(*(who for who in together if name in who)) for name in planned
    }


def _starts(lab: Lab) -> dict[str, str]:
    """Container to when it was started."""
    ask_for = "docker inspect --format '{{.Name}} {{.State.StartedAt}}' $(docker ps -q)"
    return dict(line.split(" ", 1) for line in on_server(lab.outputs, ask_for).splitlines())


def _gateway(lab: Lab) -> list[object]:
    with Hands(lab.outputs) as hands:
        return [hands.oneapi.channels(), hands.oneapi.tokens()]
