"""A lab that stands, and what happens to it. Only the whole chain shows what comes back alone."""

from rehearsal.lab import Lab
from rehearsal.probes import Probe
from tests.rehearsal.hands import Hands, on_server, wait_until_healthy
from tests.rehearsal.labs import ask, done_to
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


def _starts(lab: Lab) -> dict[str, str]:
    """Container to when it was started."""
    ask_for = "docker inspect --format '{{.Name}} {{.State.StartedAt}}' $(docker ps -q)"
    return dict(line.split(" ", 1) for line in on_server(lab.outputs, ask_for).splitlines())


def _gateway(lab: Lab) -> list[object]:
    with Hands(lab.outputs) as hands:
        return [hands.oneapi.channels(), hands.oneapi.tokens()]
