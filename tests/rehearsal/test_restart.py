"""The server is rebooted: everything is there again without the operator.

On the real engine, because the point is what it finds afterwards: nothing to do.
"""

from __future__ import annotations

from rehearsal.lab import Lab
from tests.rehearsal.hands import Hands, on_server, until, wait_until_healthy
from tests.rehearsal.labs import ask, done_to

CHAT = "qwen2.5-instruct"
MODELS = {CHAT, "m3e-base", "bge-reranker-v2-m3"}


def test_after_a_reboot_there_is_nothing_to_do(rehearsed_lab: Lab) -> None:
    """Xinference starts its models by itself, one after the other."""
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
