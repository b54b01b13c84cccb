"""Our Xinference client and resources against the double, at both releases: launches that fail or
hang, and restarts of the server.

Facts: docs/facts/xinference.md §2, §6, and what the source of 2.12.0 adds (see the double's
docstring).
"""

import json
from typing import Any

import pytest

from provisioning.clients.errors import Refused
from provisioning.versions import SUCCESSOR_XINFERENCE
from rehearsal.faults import switch_on
from stack.resources.xinference import progress
from stack.resources.xinference.progress import MOST_LAUNCHES
from tests.contract.xinference_lab import M3E, PINNED, RERANKER, SLOW, FastClock, Lab, StartLab
from tests.contract.xinference_subject import MAINLAND, QWEN


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hang is told after a minute, which is a second here."""
    monkeypatch.setattr(progress, "STALL_SECONDS", 60.0)


# Downloads


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("fault", "why"),
    [("xinference.download", "Failed to download"), ("xinference.hang", "no progress for 1 min")],
)
def test_a_download_that_fails_or_hangs_is_started_again(
    start_lab: StartLab, told: list[str], fault: str, why: str
) -> None:
    """Under its uid; one that stands still, by bytes or by fraction alone, is cancelled first."""
    lab = start_lab(REHEARSAL_HUB_BYTES_PER_SECOND="2e10")
    switch_on(lab.double.faults, fault, "qwen2.5-instruct", 1)
    lab.up(QWEN)
    assert json.loads(lab.double.faults.read_text())[fault]["qwen2.5-instruct"] == 0
    assert any(why in line and "launch 2 of" in line for line in told)
    cancelled = ("POST", "/v1/models/qwen/cancel") in lab.network.calls
    assert cancelled is (fault == "xinference.hang")
    assert lab.serves("qwen")


def test_a_download_that_keeps_failing_is_given_up(lab: Lab) -> None:
    """A download that never succeeds ends in an error that says what to do."""
    switch_on(lab.double.faults, "xinference.download", "m3e-base")
    lab.create(M3E)
    before = len(lab.network.calls)
    with pytest.raises(Refused, match="model hub was not reached") as error:
        lab.wait(M3E)
    launches = lab.network.calls[before:].count(("POST", "/v1/models"))
    assert f"after {MOST_LAUNCHES} launches" in str(error.value)
    # With autostart the server itself may have been faster with some of them.
    assert 0 < launches < MOST_LAUNCHES


@pytest.mark.usefixtures("impatient")
def test_a_slow_download_is_left_alone(start_lab: StartLab, told: list[str]) -> None:
    """A download that moves is not a hang, however long it takes."""
    lab = start_lab(REHEARSAL_HUB_BYTES_PER_SECOND=SLOW)
    began = FastClock().monotonic()
    lab.up(QWEN)
    assert FastClock().monotonic() - began > progress.STALL_SECONDS
    assert not any("launch 2" in line for line in told)
    assert any("GiB" in line or "%" in line for line in told)


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
    ],
)
@PINNED
def test_what_cannot_start_says_why(
    lab: Lab, payload: dict[str, Any], words: str, advice: str
) -> None:
    """A launch that fails, at once or in the background, ends in an error with advice."""
    with pytest.raises(Refused, match=f"(?s){words}.*{advice}"):
        lab.up(payload)
    assert lab.double.used_bytes() == 0


@pytest.mark.parametrize("version", [SUCCESSOR_XINFERENCE])
def test_engines_that_cannot_be_installed_say_so(start_lab: StartLab) -> None:
    """From 3.0 on engines come from the package index; without it the error names it."""
    lab = start_lab(hubs=MAINLAND)
    with pytest.raises(Refused, match="package index"):
        lab.up(M3E)


@pytest.mark.parametrize(
    "wrong",
    [
        {"model_uid": "m" * 101},
        {"model_name": ""},
        {"model_type": "LLM", "model_engine": None},
    ],
)
@PINNED
def test_what_is_malformed_is_refused_at_once(lab: Lab, wrong: dict[str, Any]) -> None:
    """Missing fields, bad uids and bad GPU lists are refused, and nothing is left."""
    payload = {**M3E, **wrong}
    with pytest.raises(Refused):
        lab.create(payload)
    assert lab.double.statuses(payload["model_uid"]) == []
    assert lab.entries() == {}


def test_an_earlier_runs_failure_does_not_stand_in_the_way(lab: Lab) -> None:
    """A model that failed for want of memory serves at the next `up`, once there is room."""
    lab.double.launch({**QWEN, "model_uid": "guest"})
    assert "less than desired GPU memory utilization" in lab.double.launch(QWEN).text
    lab.double.call("DELETE", "/v1/models/guest")
    assert lab.double.statuses("qwen") == ["ERROR"]
    assert lab.wait(QWEN) == ["qwen"]


def test_a_launch_makes_the_server_forget_that_the_uid_was_absent(lab: Lab) -> None:
    """Once the group serves it answers, though its uid was asked for before it was launched."""
    assert not lab.serves("embedder")
    lab.up(M3E)
    assert lab.serves("embedder")


# Restarts


def test_models_come_back_after_a_restart_and_a_refresh_sees_no_change(lab: Lab) -> None:
    """After a restart the models serve again by themselves, equal to what was asked for."""
    outs = lab.up(M3E)
    lab.double.restart()
    lab.double.until("embedder", "READY")
    seen = lab.read(outs)
    assert seen is not None
    assert not lab.models.diff("embedder", seen, lab.model(M3E)).changes


def test_before_its_turn_after_a_restart_a_model_is_not_gone(start_lab: StartLab) -> None:
    """They come one by one for minutes: a refresh sees both, and a wait launches neither."""
    lab = start_lab(REHEARSAL_HUB_BYTES_PER_SECOND="2e10")
    first, second = lab.up(M3E), lab.up(QWEN)
    lab.double.restart()
    # The chat model's entry has the lower priority, though its name may come first.
    assert lab.client.state("qwen").standing == "absent"
    assert lab.read(first) is not None
    assert lab.read(second) is not None
    before = len(lab.network.calls)
    assert lab.wait(M3E, QWEN) == ["embedder", "qwen"]
    assert ("POST", "/v1/models") not in lab.network.calls[before:]


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


def test_a_model_deleted_by_hand_that_came_back_is_adopted(lab: Lab) -> None:
    """Writing one entry starts every model that is down; ours is taken as it comes."""
    outs = lab.up(M3E)
    lab.double.call("DELETE", "/v1/models/embedder")
    assert lab.read(outs) is None
    lab.client.put_autostart(RERANKER)
    lab.up(M3E)
    assert lab.wait(RERANKER) == ["sorter"]


def test_an_entry_deleted_by_hand_is_seen_and_mended(lab: Lab) -> None:
    """Without its entry a model would not come back: that is drift, mended while it serves."""
    outs = lab.up(M3E)
    lab.double.call("DELETE", "/v1/autostart/models/embedder")
    seen = lab.read(outs)
    assert seen is not None
    assert not lab.models.diff("embedder", seen, lab.model(M3E)).replaces
    lab.models.update("embedder", seen, lab.model(M3E))
    assert list(lab.entries()) == ["embedder"]
    assert ("DELETE", "/v1/models/embedder") not in lab.network.calls


def test_a_model_for_the_cpu_is_kept_off_the_gpu(lab: Lab) -> None:
    """An entry keeps no null, so it says `device: cpu`; one that lost it is seen as drift."""
    on_cpu = {**M3E, "n_gpu": None}
    outs = lab.up(on_cpu)
    assert lab.double.used_bytes() == 0
    assert lab.entries()["embedder"] == {**M3E, "device": "cpu"}
    lab.double.restart()
    lab.double.until("embedder", "READY")
    assert lab.double.used_bytes() == 0
    lab.double.call("POST", "/v1/autostart/models", json={"launch": on_cpu})
    assert "device" not in lab.entries()["embedder"]
    lab.double.restart()
    lab.double.until("embedder", "READY")
    assert lab.double.used_bytes() > 0
    seen = lab.read(outs)
    assert seen is not None
    assert lab.models.diff("embedder", seen, lab.model(on_cpu)).replaces == ["payload"]
    lab.delete(seen)
    lab.up(on_cpu)
    assert lab.double.used_bytes() == 0
