"""A lab that stands, and what happens to it. Only the whole chain shows what comes back alone."""

from __future__ import annotations

from rehearsal.lab import Lab
from tests.rehearsal.hands import Hands, on_server, until, wait_until_healthy
from tests.rehearsal.labs import ask, done_to

CHAT = "qwen2.5-instruct"
MODELS = {CHAT, "m3e-base", "bge-reranker-v2-m3"}


def test_ids_are_as_the_real_providers_give_them(rehearsed_lab: Lab) -> None:
    """Field forms of docs/facts/provider-states.json; only the engine's state shows all of them."""
    found = rehearsed_lab.engine.export()["deployment"]["resources"]
    commands = [it for it in found if it["type"] == "command:remote:Command"]
    docker = [it for it in found if it["type"].startswith("docker:index/")]
    assert commands
    assert docker
    for resource in commands:
        assert resource["id"].startswith(resource["urn"].rsplit("::", 1)[-1])
    assert all(resource["outputs"]["id"] == resource["id"] for resource in docker)


def test_who_is_shut_out_stays_outside(rehearsed_lab: Lab) -> None:
    server = rehearsed_lab.world.call("servers")[0]["id"]
    ports = {22: False, 2222: True, 3000: True, 3001: True, 5432: False, 9997: True}
    operator = rehearsed_lab.world.operator
    for port, expected in ports.items():
        admitted = rehearsed_lab.world.call("admits", server=server, port=port, source=operator)
        assert admitted is expected, port
        stranger = rehearsed_lab.world.call("admits", server=server, port=port, source="8.8.8.8")
        assert stranger is False, port


def test_after_a_reboot_there_is_nothing_to_do(rehearsed_lab: Lab) -> None:
    """All is there again without the operator; Xinference starts its models one by one."""
    lab = rehearsed_lab
    with Hands(lab.outputs) as hands:
        before = _gateway(hands)
    started = _starts(lab)

    lab.world.call("reboot")
    until("the reboot", lambda: _starts(lab).keys() == started.keys())
    wait_until_healthy(lab.outputs)
    assert all(_starts(lab)[name] != when for name, when in started.items())
    with Hands(lab.outputs) as hands:
        assert hands.xinference.running().keys() == MODELS
        assert _gateway(hands) == before

    assert done_to(lab.engine.up("--refresh")) == {}
    assert ask(lab)["citations"], "the question is not answered with a citation any more"


def _starts(lab: Lab) -> dict[str, str]:
    """Container to when it was started."""
    text = on_server(
        lab.outputs,
        "docker inspect --format '{{.Name}} {{.State.StartedAt}}' $(docker ps -q)",
    )
    return dict(line.split(" ", 1) for line in text.splitlines())


def _gateway(hands: Hands) -> dict[str, object]:
    return {
        "channels": [(row["id"], row["name"], row["models"]) for row in hands.oneapi.channels()],
        "tokens": [(row["id"], row["name"], row["key"]) for row in hands.oneapi.tokens()],
    }
