"""Our Xinference client and resources against the double, at both releases: models come and go, and
launches fail or hang.

Facts: docs/facts/xinference.md §2, §6, and what the source of 2.12.0 adds (see the double's
docstring).
"""

import json
from typing import Any

import pytest

from provisioning.clients.errors import Refused
from stack.resources.xinference import progress
from stack.resources.xinference.launch import STOP_SECONDS
from stack.resources.xinference.progress import MOST_LAUNCHES
from tests.contract.xinference_subject import (
    M3E,
    OTHER,
    PINNED,
    QWEN,
    RATE,
    RERANKER,
    FastClock,
    Lab,
    StartLab,
)

LAUNCH = ("POST", "/v1/models")
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
    lab = start_lab(**{RATE: "4e9"})
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
@pytest.mark.fault("a model's process killed")
def test_a_model_whose_process_ended_is_down(lab: Lab, copies: int) -> None:
    """What Xinference starts in its place never answers, so a refresh misses it, and `up` mends."""
    payload = {**M3E, "replica": copies}
    outs = lab.up(payload)
    lab.double.fail("crash", 1)
    down: Any = lambda: lab.client.state("embedder", copies).standing == "down"  # noqa: E731
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


# Downloads


@pytest.mark.parametrize(
    ("fault", "times", "why"),
    [
        pytest.param(
            *("download", 2, "Failed to download"),
            marks=pytest.mark.fault("a download failing twice"),
        ),
        pytest.param(
            *("hang", 1, "no progress for 1 min"), marks=pytest.mark.fault("a download hanging")
        ),
    ],
)
def test_a_download_that_fails_or_hangs_is_started_again(
    *,
    start_lab: StartLab,
    told: list[str],
    fault: str,
    times: int,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under its uid; one that stands still, by bytes or by fraction alone, is cancelled first."""
    # A minute is a second here.
    monkeypatch.setattr(progress, "STALL_SECONDS", 60.0)
    lab = start_lab(**{RATE: "2e10"})
    lab.double.fail(fault, times, str(QWEN["model_name"]))
    lab.up(QWEN)
    faults = json.loads(lab.double.faults.read_text())
    assert faults[f"xinference.{fault}"] == {QWEN["model_name"]: 0}
    assert any(why in line and f"launch {times + 1} of" in line for line in told)
    cancelled = CANCEL in lab.network.calls
    assert cancelled is (fault == "hang")
    assert lab.serves("qwen")


@pytest.mark.fault("a download failing for good")
def test_a_download_that_keeps_failing_is_given_up(lab: Lab) -> None:
    lab.double.fail("download")
    lab.create(M3E)
    before = len(lab.network.calls)
    with pytest.raises(Refused, match="model hub was not reached") as error:
        lab.wait(M3E)
    assert f"after {MOST_LAUNCHES} launches" in str(error.value)
    # With autostart the server itself may have been faster with some of them.
    assert 0 < lab.network.calls[before:].count(LAUNCH) < MOST_LAUNCHES


# Errors by their text


UNKNOWN = "catalogue has no such name"
SMALLER = "lower memoryShare or context"


@pytest.mark.parametrize(
    ("payload", "words", "advice"),
    [
        ({**QWEN, "model_name": "qwen9"}, "name: qwen9", UNKNOWN),
        ({**QWEN, "model_format": "awk"}, "format: awk", UNKNOWN),
        ({**M3E, "model_name": "nobody"}, "model nobody not found", UNKNOWN),
        ({**QWEN, "gpu_memory_utilization": 0.42}, "memory for the cache blocks", SMALLER),
        ({**QWEN, "max_model_len": 32768}, "maximum number of tokens", SMALLER),
        ({**QWEN, "model_format": "pytorch", "quantization": "none"}, "CUDA out of", SMALLER),
        ({**QWEN, "n_gpu": 2}, "the number of GPUs: 1", "setting gpus"),
        ({**QWEN, "model_engine": "vllmm"}, "on engine vllmm", "choose another engine"),
        ({**M3E, "model_uid": "m" * 101}, "", ""),
        ({**M3E, "model_name": ""}, "", ""),
        ({**M3E, "model_type": "LLM", "model_engine": None}, "", ""),
    ],
)
@PINNED
@pytest.mark.fault("a model out of memory")
def test_what_cannot_start_says_why(lab: Lab, payload: Any, words: str, advice: str) -> None:
    """At once or in the background, with advice; what is malformed leaves nothing."""
    with pytest.raises(Refused, match=f"(?s){words}.*{advice}"):
        lab.up(payload) if words else lab.create(payload)
    assert lab.double.used_bytes() == 0
    assert words or (lab.double.statuses(payload["model_uid"]), lab.entries()) == ([], {})


def test_an_earlier_runs_failure_does_not_stand_in_the_way(lab: Lab) -> None:
    """What failed for want of memory serves at the next `up`, also to those who asked before."""
    lab.double.launch({**QWEN, "model_uid": "guest"})
    assert "less than desired GPU memory utilization" in lab.double.launch(QWEN).text
    lab.double.call("DELETE", "/v1/models/guest")
    assert lab.double.statuses("qwen") == ["ERROR"]
    assert not lab.serves("qwen")
    lab.wait(QWEN)
    assert lab.serves("qwen")


# Restarts


@pytest.mark.fault("Xinference restarted while it loads")
def test_a_launch_that_a_restart_ended_is_begun_again(start_lab: StartLab) -> None:
    lab = start_lab(**{RATE: "2e10"})
    lab.create(QWEN)
    assert lab.client.state("qwen").standing == "launching"
    lab.double.restart()
    lab.wait(QWEN)
    assert lab.serves("qwen")


@pytest.mark.fault("Xinference restarted")
def test_before_its_turn_after_a_restart_a_model_is_not_gone(start_lab: StartLab) -> None:
    """They come one by one for minutes: a refresh sees both, and a wait launches neither."""
    lab = start_lab(**{RATE: "2e10"})
    first, second = lab.up(M3E), lab.up(QWEN)
    lab.double.restart()
    # The chat model's entry has the lower priority, though its name may come first.
    assert lab.client.state("qwen").standing == "absent"
    assert lab.read(first) is not None
    assert lab.read(second) is not None
    before = len(lab.network.calls)
    lab.wait(M3E, QWEN)
    assert LAUNCH not in lab.network.calls[before:]
    assert lab.drift(first, M3E) == lab.drift(second, QWEN) == (False, [])


def test_a_deleted_model_stays_away(lab: Lab) -> None:
    """Neither another model's new entry nor a restart brings a deleted model back."""
    lab.delete(lab.up(M3E))
    deletes = [path for method, path in lab.network.changes() if method == "DELETE"]
    assert deletes[-2:] == ["/v1/autostart/models/embedder", "/v1/models/embedder"]
    lab.up(RERANKER)
    assert lab.client.state("embedder").standing == "absent"
    lab.double.restart()
    lab.double.until("sorter", "READY")
    assert lab.double.statuses("embedder") == []


def test_an_entry_deleted_by_hand_is_seen_and_mended(lab: Lab) -> None:
    """Without its entry a model would not come back: that is drift, mended while it serves."""
    outs = lab.up(M3E)
    lab.double.call("DELETE", "/v1/autostart/models/embedder")
    assert lab.drift(outs, M3E) == (True, [])
    lab.models.update("embedder", lab.read(outs) or {}, lab.model(M3E))
    assert list(lab.entries()) == ["embedder"]
    assert ("DELETE", "/v1/models/embedder") not in lab.network.calls


def test_a_model_for_the_cpu_is_kept_off_the_gpu(lab: Lab) -> None:
    """An entry keeps no null, so it says `device: cpu`; one that lost it is seen as drift."""
    on_cpu = {**M3E, "n_gpu": None}
    outs = lab.up(on_cpu)
    assert lab.double.used_bytes() == 0
    assert lab.entries()["embedder"] == {**M3E, "device": "cpu"}
    for kept in (True, False):
        if not kept:
            lab.double.call("POST", "/v1/autostart/models", json={"launch": on_cpu})
        assert ("device" in lab.entries()["embedder"]) is kept
        lab.double.restart()
        lab.double.until("embedder", "READY")
        assert (lab.double.used_bytes() == 0) is kept
    assert lab.drift(outs, on_cpu) == (True, ["payload"])
    lab.delete(outs)
    lab.up(on_cpu)
    assert lab.double.used_bytes() == 0
