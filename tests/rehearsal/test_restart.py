"""The server is rebooted: everything is there again without the operator.

On the real engine, because the point is what it finds afterwards: nothing to do.
"""

from __future__ import annotations

from pathlib import Path

from rehearsal.lab import Lab
from tests.rehearsal.hands import Hands, on_server, until, wait_until_healthy
from tests.rehearsal.labs import ask, done_to, lab_of, up

CHAT = "qwen2.5-instruct"
MODELS = {CHAT, "m3e-base", "bge-reranker-v2-m3"}
FORGETFUL = "1.17.1"


def test_after_a_reboot_there_is_nothing_to_do(rehearsed_lab: Lab) -> None:
    """Xinference from 2.12 on starts its models by itself."""
    _reboot_and_look(rehearsed_lab)


def test_an_earlier_xinference_has_its_models_started_with_its_container(tmp_path: Path) -> None:
    with lab_of(tmp_path, "dev", xinferenceVersion=FORGETFUL) as lab:
        up(lab)
        with Hands(lab.outputs) as hands:
            assert hands.xinference.version() == FORGETFUL
        _reboot_and_look(lab)

        on_server(lab.outputs, "docker restart xinference")
        wait_until_healthy(lab.outputs)
        assert "relaunch: " in on_server(lab.outputs, "docker logs xinference 2>&1")
        assert done_to(lab.engine.up("--refresh")) == {}


def _reboot_and_look(lab: Lab) -> None:
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
