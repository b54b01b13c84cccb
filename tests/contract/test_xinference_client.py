"""Our Xinference client and resources against the double, at both releases: models come and go.

Facts: docs/facts/xinference.md §2, §6, and what the source of 2.12.0 adds (see the double's
docstring).
"""

import pytest

from provisioning.clients.errors import Refused
from stack.resources.xinference.launch import STOP_SECONDS
from tests.contract.xinference_subject import (
    M3E,
    OTHER,
    PINNED,
    QWEN,
    RATE,
    SLOW,
    FastClock,
    Lab,
    StartLab,
)

CANCEL = ("POST", "/v1/models/qwen/cancel")
either = pytest.mark.parametrize("ready", [True, False])

# Coming and going


def test_a_model_comes_serves_changes_and_goes(lab: Lab) -> None:
    """Started, awaited, seen unchanged, replaced by a larger one for which it makes room, gone."""
    outs = lab.up(QWEN)
    assert lab.serves("qwen")
    assert list(lab.entries()) == ["qwen"]
    assert lab.drift(outs, QWEN) == (False, [])
    # Both shares together are more than the card.
    larger = {**QWEN, "gpu_memory_utilization": 0.85}
    result = lab.models.diff("qwen", outs, lab.model(larger))
    assert (result.replaces, result.delete_before_replace) == (["payload"], True)
    lab.delete(outs)
    assert lab.read(outs) is None
    outs = lab.up(larger)
    assert lab.serves("qwen")
    for _ in range(2):
        lab.delete(outs)


@either
def test_an_equal_model_is_adopted(lab: Lab, ready: bool) -> None:
    """Whether it serves or is still launching."""
    lab.double.launch(QWEN, wait_ready=ready)
    created = lab.double.get("/v1/models/instances")[0]["instance_created_ts"]
    lab.up(QWEN)
    assert lab.network.changes()[:2] == [
        ("DELETE", "/v1/autostart/models/qwen"),
        ("POST", "/v1/models"),
    ]
    assert not {("DELETE", "/v1/models/qwen"), CANCEL} & set(lab.network.calls)
    assert lab.double.get("/v1/models/instances")[0]["instance_created_ts"] == created


@either
def test_another_model_of_the_uid_leaves_first(lab: Lab, ready: bool) -> None:
    """Its autostart entry before that."""
    lab.double.launch(OTHER, wait_ready=ready)
    lab.client.put_autostart(OTHER)
    lab.up(M3E)
    assert lab.client.describe("embedder")["model_name"] == "m3e-base"
    assert {launch["model_name"] for launch in lab.entries().values()} <= {"m3e-base"}


def test_a_model_changed_by_hand_is_seen_and_mended(lab: Lab) -> None:
    outs = lab.up(M3E)
    lab.double.call("DELETE", "/v1/models/embedder")
    lab.double.launch(OTHER)
    assert lab.drift(outs, M3E) == (True, ["payload"])
    lab.delete(outs)
    lab.up(M3E)
    assert lab.client.describe("embedder")["model_name"] == "m3e-base"


# Ending a launch


@pytest.mark.parametrize("when", ["at once", "downloading"])
def test_a_delete_while_launching_leaves_nothing(start_lab: StartLab, when: str) -> None:
    """A delete ends a launch, also before it has a first status; a bare DELETE would not."""
    lab = start_lab(**SLOW)
    outs = lab.create(QWEN)
    if when == "downloading":
        lab.double.wait(lambda: lab.client.progress("qwen").fraction > 0, "some bytes", "qwen")
    lab.delete(outs)
    assert CANCEL in lab.network.calls
    # The uid is free for something else at once.
    lab.up({**M3E, "model_uid": "qwen"})


def test_a_launch_that_was_cancelled_does_not_stand_in_the_way(start_lab: StartLab) -> None:
    """Ctrl-C, a delete, and the next `up` at once: 2.12 says CREATING and unwinds for a while."""
    lab = start_lab(**{RATE: "2e10"})
    outs = lab.create(QWEN)
    lab.double.wait(lambda: lab.double.statuses("qwen"), "a first status", "qwen")
    began = FastClock().monotonic()
    lab.delete(outs)
    assert FastClock().monotonic() - began < STOP_SECONDS
    assert lab.read(outs) is None
    lab.up(QWEN)
    assert lab.serves("qwen")


def test_copies_are_replaced_and_deleted_together(lab: Lab) -> None:
    """2.12 goes on telling of the last copy as READY: the book of instances is believed."""
    outs = lab.up({**M3E, "replica": 2})
    assert lab.read(outs)
    lab.delete(outs)
    assert lab.read(outs) is None
    lab.up({**M3E, "replica": 2, "gpu_idx": [0, 0]})
    assert lab.serves("embedder")


@PINNED
def test_a_stranded_model_is_brought_back_or_deleted(lab: Lab) -> None:
    """A cancel strands what serves, beyond a refresh's reach; ours leaves it alone.

    A launch of its uid frees the card, and fails, so a group launches twice.
    """
    outs = lab.up(M3E)
    lab.client.cancel("embedder")
    assert lab.serves("embedder")
    for end in (lambda: lab.wait(M3E), lambda: lab.delete(outs)):
        lab.double.call("POST", "/v1/models/embedder/cancel")
        assert lab.double.used_bytes() > 0
        assert lab.read(outs) is None
        end()
        assert lab.serves("embedder") == bool(lab.entries())


# Crashes


@pytest.mark.parametrize("copies", [1, 2])
def test_a_model_whose_process_ended_is_down(lab: Lab, copies: int) -> None:
    """What Xinference starts in its place never answers, so a refresh misses it, and `up` mends."""
    payload = {**M3E, "replica": copies}
    outs = lab.up(payload)
    lab.double.fail("crash", 1)
    down = lambda: lab.client.state("embedder", copies).standing == "down"  # noqa: E731
    lab.double.wait(down, "to be down", "embedder")
    assert lab.read(outs) is None
    lab.up(payload)
    assert all(lab.serves("embedder") for _ in range(copies))
    assert lab.read(outs)


def test_a_crash_that_no_refresh_saw_is_mended_and_deleted(lab: Lab, told: list[str]) -> None:
    """A group does not wait until its deadline for what never answers."""
    outs = lab.up(M3E)
    lab.double.fail("crash", 1)
    lab.double.wait(lambda: lab.answer("embedder") == 503, "another process", "embedder")
    began = FastClock().monotonic()
    lab.wait(M3E, minutes=60)
    assert FastClock().monotonic() - began < 1800
    assert any("its process ended" in line and "launch 2 of" in line for line in told)
    assert lab.serves("embedder")
    lab.double.fail("crash", 1)
    lab.double.wait(lambda: not lab.serves("embedder"), "its end", "embedder")
    lab.delete(outs)


@PINNED
def test_a_launch_without_a_reason_is_tried_again_and_explained(lab: Lab, told: list[str]) -> None:
    """A process that does not start in its minute leaves ERROR without a word, for good."""
    lab.double.fail("spawn", 2)
    lab.up(M3E)
    assert any("did not start within a minute" in line for line in told)
    lab.delete(lab.create(M3E))
    lab.double.fail("spawn")
    lab.create(M3E)
    with pytest.raises(Refused, match=r"did not start within a minute.*after 4 launches"):
        lab.wait(M3E)
