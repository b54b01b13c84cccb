"""Our Xinference client and resources against the double, at both releases: models come and go.

Facts: docs/facts/xinference.md §2, §6, and what the source of 2.12.0 adds (see the double's
docstring).
"""

import pytest

from provisioning.clients.errors import Refused
from rehearsal.faults import switch_on
from stack.resources.xinference.launch import STOP_SECONDS
from tests.contract.xinference_lab import M3E, OTHER, PINNED, SLOW, FastClock, Lab, StartLab
from tests.contract.xinference_subject import QWEN

# Coming and going


def test_a_model_comes_serves_and_goes(lab: Lab) -> None:
    """A model is started, awaited, seen unchanged by a refresh, and taken away."""
    outs = lab.up(QWEN)
    assert lab.serves("qwen")
    assert list(lab.entries()) == ["qwen"]
    seen = lab.read(outs)
    assert seen is not None
    assert not lab.models.diff("qwen", seen, lab.model(QWEN)).changes
    lab.delete(outs)
    lab.assert_nothing_is_left_of("qwen")
    assert lab.read(outs) is None
    lab.delete(outs)


@pytest.mark.parametrize("ready", [True, False])
def test_an_equal_model_is_adopted(lab: Lab, ready: bool) -> None:
    """An equal model is adopted, whether it serves or is still launching."""
    lab.double.launch(QWEN, wait_ready=ready)
    created = lab.double.get("/v1/models/instances")[0]["instance_created_ts"]
    lab.up(QWEN)
    assert lab.network.changes()[:2] == [
        ("DELETE", "/v1/autostart/models/qwen"),
        ("POST", "/v1/models"),
    ]
    assert ("DELETE", "/v1/models/qwen") not in lab.network.calls
    assert ("POST", "/v1/models/qwen/cancel") not in lab.network.calls
    assert lab.double.get("/v1/models/instances")[0]["instance_created_ts"] == created


@pytest.mark.parametrize("ready", [True, False])
def test_another_model_of_the_uid_leaves_first(lab: Lab, ready: bool) -> None:
    """Another model under the uid leaves before ours comes, its autostart entry before that."""
    lab.double.launch(OTHER, wait_ready=ready)
    lab.client.put_autostart(OTHER)
    lab.up(M3E)
    assert lab.client.describe("embedder")["model_name"] == "m3e-base"
    assert {launch["model_name"] for launch in lab.entries().values()} <= {"m3e-base"}


def test_a_changed_payload_replaces_delete_first(lab: Lab) -> None:
    """A changed payload wants a replacement, and the old model's memory is free for the new one."""
    outs = lab.up(QWEN)
    larger = {**QWEN, "gpu_memory_utilization": 0.85}
    result = lab.models.diff("qwen", outs, lab.model(larger))
    assert (result.replaces, result.delete_before_replace) == (["payload"], True)
    lab.delete(outs)
    # Both shares together are more than the card.
    lab.up(larger)
    assert lab.serves("qwen")


def test_a_model_changed_by_hand_is_seen_and_mended(lab: Lab) -> None:
    """Another model put under the uid by hand is drift that a replacement mends."""
    outs = lab.up(M3E)
    lab.double.call("DELETE", "/v1/models/embedder")
    lab.double.launch(OTHER)
    seen = lab.read(outs)
    assert seen is not None
    assert lab.models.diff("embedder", seen, lab.model(M3E)).replaces == ["payload"]
    lab.delete(seen)
    lab.up(M3E)
    assert lab.client.describe("embedder")["model_name"] == "m3e-base"


# Ending a launch


@pytest.mark.parametrize("when", ["at once", "downloading"])
def test_a_delete_while_launching_leaves_nothing(start_lab: StartLab, when: str) -> None:
    """A delete ends a launch, also before it has a first status; a bare DELETE would not."""
    lab = start_lab(REHEARSAL_HUB_BYTES_PER_SECOND=SLOW)
    outs = lab.create(QWEN)
    if when == "downloading":
        lab.double.wait(lambda: lab.client.progress("qwen").fraction > 0, "some bytes", "qwen")
    lab.delete(outs)
    lab.assert_nothing_is_left_of("qwen")
    assert ("POST", "/v1/models/qwen/cancel") in lab.network.calls
    # The uid is free for something else at once.
    lab.up({**M3E, "model_uid": "qwen"})


def test_a_launch_that_was_cancelled_does_not_stand_in_the_way(start_lab: StartLab) -> None:
    """Ctrl-C, a delete, and the next `up` at once: 2.12 says CREATING and unwinds for a while."""
    lab = start_lab(REHEARSAL_HUB_BYTES_PER_SECOND="2e10")
    outs = lab.create(QWEN)
    lab.double.wait(lambda: bool(lab.double.statuses("qwen")), "a first status", "qwen")
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
    lab.assert_nothing_is_left_of("embedder")
    assert lab.read(outs) is None
    lab.up({**M3E, "replica": 2, "gpu_idx": [0, 0]})
    assert lab.serves("embedder")


def test_a_model_that_serves_is_not_cancelled(lab: Lab) -> None:
    """The client does not cancel what serves: before 3.0 that would strand it on the GPU."""
    outs = lab.up(M3E)
    lab.client.cancel("embedder")
    assert lab.serves("embedder")
    assert lab.read(outs)


@pytest.mark.parametrize("wanted", [True, False])
@PINNED
def test_a_stranded_model_is_brought_back_or_deleted(lab: Lab, wanted: bool) -> None:
    """A cancel strands what serves, beyond a refresh's reach; a launch of its uid frees the card.

    That launch fails, so a group launches twice.
    """
    outs = lab.up(M3E)
    lab.double.call("POST", "/v1/models/embedder/cancel")
    assert lab.double.used_bytes() > 0
    assert lab.read(outs) is None
    if wanted:
        assert lab.wait(M3E) == ["embedder"]
        assert lab.serves("embedder")
    else:
        lab.delete(outs)
        lab.assert_nothing_is_left_of("embedder")


# Crashes


def is_down(lab: Lab, copies: int) -> bool:
    return lab.client.state("embedder", copies).standing == "down"


@pytest.mark.parametrize("copies", [1, 2])
def test_a_model_whose_process_ended_is_down(lab: Lab, copies: int) -> None:
    """What Xinference starts in its place never answers, so a refresh misses it, and `up` mends."""
    payload = {**M3E, "replica": copies}
    outs = lab.up(payload)
    switch_on(lab.double.faults, "xinference.crash", "m3e-base", 1)
    lab.double.wait(lambda: is_down(lab, copies), "it to be noticed", "embedder")
    assert lab.read(outs) is None
    lab.up(payload)
    assert all(lab.serves("embedder") for _ in range(copies))
    assert lab.read(outs)


def test_a_group_does_not_wait_for_what_never_answers(lab: Lab, told: list[str]) -> None:
    """A crash that no refresh saw is mended by the wait, long before its deadline."""
    lab.up(M3E)
    switch_on(lab.double.faults, "xinference.crash", "m3e-base", 1)
    lab.double.wait(lambda: lab.answer("embedder") == 503, "another process", "embedder")
    began = FastClock().monotonic()
    assert lab.wait(M3E, minutes=60) == ["embedder"]
    assert FastClock().monotonic() - began < 1800
    assert any("its process ended" in line and "launch 2 of" in line for line in told)
    assert lab.serves("embedder")


def test_a_crashed_model_is_deleted(lab: Lab) -> None:
    outs = lab.up(M3E)
    switch_on(lab.double.faults, "xinference.crash", "m3e-base", 1)
    lab.double.wait(lambda: not lab.serves("embedder"), "its end", "embedder")
    lab.delete(outs)
    lab.assert_nothing_is_left_of("embedder")


@PINNED
def test_a_launch_without_a_reason_is_tried_again_and_explained(lab: Lab, told: list[str]) -> None:
    """A process that does not start in its minute leaves ERROR without a word, for good."""
    switch_on(lab.double.faults, "xinference.spawn", "m3e-base", 2)
    lab.up(M3E)
    assert any("did not start within a minute" in line for line in told)
    lab.delete(lab.create(M3E))
    switch_on(lab.double.faults, "xinference.spawn", "m3e-base")
    lab.create(M3E)
    with pytest.raises(Refused, match=r"did not start within a minute.*after 4 launches"):
        lab.wait(M3E)
