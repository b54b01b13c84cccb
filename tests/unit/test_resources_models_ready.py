"""A group of models followed until all serve, each started again where that can help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from provisioning.clients.errors import DeadlineExceeded, Refused
from stack.resources.xinference.launch import POLL_SECONDS
from stack.resources.xinference.models_ready import ModelsReady
from stack.resources.xinference.progress import MOST_LAUNCHES, STALL_SECONDS, UNWIND_SECONDS
from tests.unit.fake_services import FakeXinference
from tests.unit.subject import ENDPOINT, PAYLOAD, Subject

HUB_FAILED = "Failed to download model 'qwen' after multiple retries"
NO_MEMORY = "ValueError: No available memory for the cache blocks"
UNWINDS = "qwen-0 is running"
GIB = 2**30


@pytest.fixture
def group() -> Subject:
    wanted = {"endpoint": ENDPOINT, "payloads": {"qwen": PAYLOAD}, "deadline_minutes": 60}
    return Subject(ModelsReady, wanted, FakeXinference())


@pytest.fixture
def later(group: Subject) -> Callable[..., None]:
    """Lets the model become what is told, at every look that comes after so many seconds."""

    def arrange(after: float = 0, **became: Any) -> None:
        def happens() -> None:
            if group.clock.passed > after:
                group.service.models["qwen"].update(became)

        group.clock.on_sleep = happens

    return arrange


def downloading(done: int, **more: int) -> dict[str, Any]:
    return {"stage": "downloading", "download_files": [{"downloaded_bytes": done, **more}]}


def test_a_group_is_ready_when_all_serve(group: Subject, later: Callable[..., None]) -> None:
    group.service.put(PAYLOAD, "LOADING")
    later(60, status="READY")

    assert group.create()["ready"] == ["qwen"]
    assert group.clock.passed > 60
    assert not group.changes()


@pytest.mark.parametrize(
    ("status", "progress", "said"),
    [
        (
            "LOADING",
            downloading(GIB, total_bytes=2 * GIB, speed_bytes_per_second=5 * 2**20),
            "downloading 1.00 of 2.00 GiB, 5.0 MiB/s",
        ),
        ("LOADING", {}, "loading"),
        ("CREATING", {"progress": 0.4}, "creating, 40%"),
        ("LOADING", {"stage": "installing_dependencies"}, "installing_dependencies"),
    ],
)
def test_progress_is_told(
    group: Subject,
    later: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    progress: dict[str, Any],
    said: str,
) -> None:
    group.service.put(PAYLOAD, status)
    group.service.models["qwen"]["progress"] = progress
    told: list[str] = []
    monkeypatch.setattr("pulumi.log.info", told.append)
    later(status="READY")
    group.create()

    assert told == [f"model qwen: {said}", "model qwen: serves"]


# -- started again ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "became",
    [
        {"status": "ERROR", "error": HUB_FAILED},
        # An earlier run's: its cause may have been mended.
        {"status": "ERROR", "error": NO_MEMORY},
        {"crashed": True},
    ],
    ids=str,
)
def test_what_failed_or_ended_is_started_again_under_its_uid(
    group: Subject, became: dict[str, Any]
) -> None:
    group.service.put(PAYLOAD)
    group.service.models["qwen"].update(became)

    assert group.create()["ready"] == ["qwen"]
    assert group.clock.passed <= 3 * POLL_SECONDS
    assert group.service.launches == [PAYLOAD]


@pytest.mark.parametrize(
    ("became", "said"),
    [
        ({"status": "ERROR", "error": HUB_FAILED}, r"after 4 launches.*model hub was not reached"),
        # A process that did not start in time: tried again, and never told as an empty sentence.
        ({"status": "ERROR", "error": ""}, r"start qwen: Xinference tells.*within a minute"),
        ({"crashed": True}, r"its process ended.*after 4 launches"),
        (
            {"status": "LOADING", "progress": downloading(7)},
            r"no progress for 20 minutes .after 4 launches.*set another hub",
        ),
    ],
    ids=["download", "no message", "crash", "hang"],
)
def test_what_fails_each_time_is_given_up(
    group: Subject, later: Callable[..., None], became: dict[str, Any], said: str
) -> None:
    group.service.put(PAYLOAD)
    group.service.models["qwen"].update(became)
    later(**became)

    with pytest.raises(Refused, match=said):
        group.create(deadline_minutes=600)
    assert len(group.service.launches) == MOST_LAUNCHES - 1


def test_a_model_nobody_knows_is_started_after_a_while(group: Subject) -> None:
    group.create()

    assert group.clock.passed > 0
    assert group.service.launches == [PAYLOAD]


def test_an_adopted_start_that_turns_out_to_be_another_model_is_replaced(group: Subject) -> None:
    group.service.put({**PAYLOAD, "model_size_in_billions": 7})

    group.create()

    assert group.service.models["qwen"]["payload"] == PAYLOAD


def test_a_launch_that_cleared_a_stranded_copy_away_is_repeated(group: Subject) -> None:
    group.service.put(PAYLOAD, "LOADING")
    taken = "Model is already in the model list, uid: qwen-0"

    def fails_once() -> None:
        if not group.service.launches:
            group.service.models["qwen"].update(status="ERROR", error=taken)

    group.clock.on_sleep = fails_once

    assert group.create()["ready"] == ["qwen"]
    assert group.service.launches == [PAYLOAD]


def test_ready_but_out_of_reach_does_not_serve(group: Subject) -> None:
    group.service.put(PAYLOAD)
    group.service.models["qwen"]["stranded"] = True

    assert group.create()["ready"] == ["qwen"]
    # The first clears it away.
    assert group.service.launches == [PAYLOAD, PAYLOAD]


# -- waited for ---------------------------------------------------------------------------------


def test_a_launch_that_unwinds_is_waited_for(group: Subject) -> None:
    """After a cancel 2.12 refuses the uid for up to a minute: no launch is wasted on that."""
    group.service.put(PAYLOAD, "ERROR", UNWINDS)

    def unwinds() -> None:
        if group.clock.passed < 50:
            group.service.models["qwen"].update(status="ERROR", error=UNWINDS)

    group.clock.on_sleep = unwinds
    assert group.create()["ready"] == ["qwen"]
    assert group.clock.passed >= 2 * UNWIND_SECONDS


def test_a_group_waits_for_a_turn_and_launches_nothing(group: Subject) -> None:
    """After a restart the models come one by one; ours is the last."""
    group.service.autostart["qwen"] = {"launch": PAYLOAD, "state": {}}

    def comes() -> None:
        if group.clock.passed > 600:
            group.service.put(PAYLOAD)

    group.clock.on_sleep = comes
    assert group.create()["ready"] == ["qwen"]
    assert group.service.launches == []


# -- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("message_after", [0, POLL_SECONDS])
def test_no_memory_says_what_to_do_at_once(group: Subject, message_after: float) -> None:
    """Also where ERROR comes before the reason for it."""
    group.service.put(PAYLOAD, "LOADING")

    def fails() -> None:
        said = NO_MEMORY if group.clock.passed > message_after else ""
        group.service.models["qwen"].update(status="ERROR", error=said)

    group.clock.on_sleep = fails
    with pytest.raises(Refused, match="memoryShare"):
        group.create()
    if not message_after:
        assert group.clock.passed < POLL_SECONDS  # the second look sees it, the third confirms it
        assert group.service.launches == []


def test_an_earlier_runs_error_is_tried_again_once(
    group: Subject, later: Callable[..., None]
) -> None:
    group.service.put(PAYLOAD, "ERROR", NO_MEMORY)
    later(status="ERROR", error=NO_MEMORY)

    with pytest.raises(Refused, match="memoryShare"):
        group.create()
    assert group.service.launches == [PAYLOAD]


def test_a_model_that_no_catalogue_knows_is_not_tried_again(group: Subject) -> None:
    group.service.put(PAYLOAD, "ERROR", "Model not found, name: qwen9, format: awq")

    with pytest.raises(Refused, match="catalogue has no such name"):
        group.create()
    assert group.service.launches == []


# -- downloads that hang, or only take their time -----------------------------------------------


@pytest.mark.parametrize(
    ("status", "progress"), [("LOADING", downloading(7)), ("CREATING", {"progress": 0.35})]
)
def test_a_download_that_stands_still_hangs_and_is_started_again(
    group: Subject, status: str, progress: dict[str, Any]
) -> None:
    group.service.put(PAYLOAD, status)
    group.service.models["qwen"]["progress"] = progress

    group.create()

    assert group.clock.passed >= STALL_SECONDS
    assert "/v1/models/qwen/cancel" in group.service.called("POST")
    assert group.service.launches == [PAYLOAD]


@pytest.mark.parametrize(
    ("status", "minutes", "progress_at", "seen"),
    [
        ("LOADING", 30, lambda seconds: downloading(int(seconds)), "downloading"),
        # It is told in steps of 0.05, and one may take a quarter of an hour.
        ("CREATING", 175, lambda seconds: {"progress": 0.05 * int(seconds / 900)}, "creating, 55%"),
        ("LOADING", 80, lambda _: {"progress": 0.8}, "loading, 80%"),
        (
            "LOADING",
            80,
            lambda _: {"progress": 0.9, "stage": "installing_dependencies"},
            "installing_dependencies",
        ),
    ],
    ids=["bytes", "fraction", "loads", "installs"],
)
def test_what_moves_or_loads_does_not_hang(
    group: Subject,
    status: str,
    minutes: int,
    progress_at: Callable[[float], dict[str, Any]],
    seen: str,
) -> None:
    group.service.put(PAYLOAD, status)

    def moves() -> None:
        group.service.models["qwen"]["progress"] = progress_at(group.clock.passed)

    group.clock.on_sleep = moves
    with pytest.raises(DeadlineExceeded, match=seen):
        group.create(deadline_minutes=minutes)
    assert group.service.launches == []


# -- later --------------------------------------------------------------------------------------


def test_a_model_that_no_longer_serves_is_drift_of_its_group(group: Subject) -> None:
    group.service.put(PAYLOAD)
    group.create()
    group.service.models["qwen"]["status"] = "ERROR"
    assert group.seen()["ready"] == []

    group.heal()

    assert group.state["ready"] == ["qwen"]
    assert group.service.launches == [PAYLOAD]


def test_another_deadline_changes_nothing(group: Subject) -> None:
    group.create()

    assert not group.changes(deadline_minutes=5)
    assert group.changes(generation="2")
