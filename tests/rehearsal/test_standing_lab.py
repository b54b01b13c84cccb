"""A lab that stands, and what happens to it. Only the whole chain shows what comes back alone."""

from __future__ import annotations

import time

from rehearsal.lab import Lab
from rehearsal.probes import Probe, ProbeFailed
from tests.rehearsal.hands import on_server, until

_PATIENCE = 60.0


def test_a_rebooted_server_brings_everything_back_by_itself(rehearsed_lab: Lab) -> None:
    rehearsed_lab.world.call("reboot")
    with Probe(rehearsed_lab.outputs) as probe:
        _until_it_answers(probe)
        chat = probe.models("chat")[0]
        assert probe.chat(chat)["answer"].strip()
    assert rehearsed_lab.engine.up("--refresh").changes == 0


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


def _until_it_answers(probe: Probe) -> None:
    deadline = time.monotonic() + _PATIENCE
    last: Exception | None = None
    while time.monotonic() < deadline:
        try:
            for model in probe.models("chat")[:1]:
                probe.chat(model)
            for model in probe.in_xinference("rerank")[:1]:
                probe.rerank(model)
            return
        except ProbeFailed as error:
            last = error
            time.sleep(0.2)
    raise AssertionError(f"the lab did not answer within {_PATIENCE:.0f} s of the reboot: {last}")


def test_fastgpt_without_its_vectors_turns_unhealthy(rehearsed_lab: Lab) -> None:
    """FastGPT's login stays green without PostgreSQL; its health check must not."""

    def health() -> str:
        command = "docker inspect --format '{{.State.Health.Status}}' fastgpt"
        return on_server(rehearsed_lab.outputs, command).strip()

    on_server(rehearsed_lab.outputs, "docker stop pg")
    try:
        until("FastGPT to be unhealthy", lambda: health() == "unhealthy", seconds=150)
    finally:
        on_server(rehearsed_lab.outputs, "docker start pg")
    until("FastGPT to be healthy again", lambda: health() == "healthy", seconds=150)
