"""Models: adopted, replaced delete-first, followed to READY, started again where a hub failed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from provisioning.clients.http import DeadlineExceeded, Refused, Unreachable
from provisioning.clients.xinference import Progress
from stack.resources.base import LabProvider, Props
from stack.resources.xinference.launch import POLL_SECONDS, STOP_SECONDS, differences
from stack.resources.xinference.model import Model
from stack.resources.xinference.models_ready import ModelsReady
from stack.resources.xinference.progress import (
    MOST_LAUNCHES,
    STALL_SECONDS,
    UNWIND_SECONDS,
    progress_text,
)
from tests.unit.fake_services import FakeClock, FakeXinference

ENDPOINT = {"host": "1.2.3.4", "ssh_port": 22, "user": "root", "host_key": "k", "port": 9997}
PAYLOAD = {
    "model_uid": "qwen",
    "model_name": "qwen2.5-instruct",
    "model_type": "LLM",
    "model_engine": "vllm",
    "model_size_in_billions": 14,
    "quantization": "Int4",
    "gpu_memory_utilization": 0.7,
}
FAILED = "Failed to download model 'qwen' after multiple retries"


@pytest.fixture
def service() -> FakeXinference:
    return FakeXinference()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def models(service: FakeXinference, clock: FakeClock) -> LabProvider:
    made: LabProvider = ready(LabProvider(Model), service, clock)
    return made


@pytest.fixture
def group(service: FakeXinference, clock: FakeClock) -> LabProvider:
    made: LabProvider = ready(LabProvider(ModelsReady), service, clock)
    return made


def ready(provider: LabProvider, service: FakeXinference, clock: FakeClock) -> Any:
    provider.transport = service.transport
    provider.clock = clock
    return provider


def model(**more: Any) -> Props:
    return {"endpoint": ENDPOINT, "payload": PAYLOAD, **more}


def waiting(**more: Any) -> Props:
    return {
        "endpoint": ENDPOINT,
        "payloads": {"qwen": PAYLOAD},
        "deadline_minutes": 60,
        **more,
    }


def create(provider: LabProvider, props: Props) -> Props:
    outs = provider.create(props).outs
    assert outs is not None
    return outs


def test_a_model_is_started_and_not_awaited(
    models: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.launched_as = "CREATING"

    result = models.create(model())

    assert result.id == "qwen"
    assert service.waits == ["false"]
    assert clock.passed == 0
    assert service.autostart["qwen"]["launch"] == PAYLOAD


def test_sizes_are_sent_as_whole_numbers(models: LabProvider, service: FakeXinference) -> None:
    # As it comes over the engine's wire.
    create(models, model(payload={**PAYLOAD, "model_size_in_billions": 14.0}))

    assert repr(service.launches[0]["model_size_in_billions"]) == "14"


def test_an_equal_model_is_adopted(models: LabProvider, service: FakeXinference) -> None:
    service.put({**PAYLOAD, "model_engine": "vLLM", "model_size_in_billions": "14"})

    create(models, model())

    assert service.launches == []
    assert "/v1/models/qwen" not in service.called("DELETE")


def test_one_that_is_still_starting_is_adopted(
    models: LabProvider, service: FakeXinference
) -> None:
    service.put(PAYLOAD, "LOADING")

    create(models, model())

    assert service.launches == []


def test_another_model_of_the_uid_leaves_before_ours_comes(
    models: LabProvider, service: FakeXinference
) -> None:
    service.put({**PAYLOAD, "model_size_in_billions": 7})

    create(models, model())

    paths = [call for call in service.calls if call[0] != "GET"]
    assert paths == [
        # Else the other one's entry could bring it back at any time.
        ("DELETE", "/v1/autostart/models/qwen"),
        ("POST", "/v1/models"),
        ("DELETE", "/v1/models/qwen"),
        ("POST", "/v1/models"),
        # Last, because writing it starts what is down.
        ("POST", "/v1/autostart/models"),
    ]
    assert service.models["qwen"]["payload"] == PAYLOAD


def test_a_changed_payload_replaces_delete_first(models: LabProvider) -> None:
    olds = model(uid="qwen")
    result = models.diff("qwen", olds, model(payload={**PAYLOAD, "gpu_memory_utilization": 0.6}))

    assert (result.replaces, result.delete_before_replace) == (["payload"], True)


@pytest.mark.parametrize("status", ["READY", "LOADING", "CREATING"])
def test_a_model_that_serves_or_starts_is_there(
    models: LabProvider, service: FakeXinference, status: str
) -> None:
    outs = create(models, model())
    service.models["qwen"]["status"] = status

    read = models.read("qwen", outs)

    assert read.id == "qwen"
    assert not models.diff("qwen", read.outs or {}, model()).changes


@pytest.mark.parametrize("status", ["ERROR", "TERMINATED", None])
def test_a_model_that_failed_or_was_stopped_is_gone(
    models: LabProvider, service: FakeXinference, status: str | None
) -> None:
    outs = create(models, model())
    if status is None:
        service.models.clear()
    else:
        service.models["qwen"]["status"] = status

    assert models.read("qwen", outs).id is None


def test_a_model_changed_by_hand_is_drift(models: LabProvider, service: FakeXinference) -> None:
    outs = create(models, model())
    service.put({**PAYLOAD, "quantization": "Int8"})

    seen = models.read("qwen", outs).outs

    assert seen is not None
    assert seen["payload"]["quantization"] == "Int8"
    assert models.diff("qwen", seen, model()).replaces == ["payload"]


def test_a_model_whose_process_ended_is_gone(models: LabProvider, service: FakeXinference) -> None:
    """Though it is described as ever, and the server calls what replaced it ready."""
    outs = create(models, model())
    service.models["qwen"]["crashed"] = True

    assert models.read("qwen", outs).id is None


def test_a_launch_that_was_cancelled_is_gone(models: LabProvider, service: FakeXinference) -> None:
    """2.12 tells of it as CREATING for ever."""
    outs = create(models, model())
    service.models["qwen"].update(status="CREATING", cancelled=True)

    assert models.read("qwen", outs).id is None


@pytest.mark.parametrize(
    ("state", "there"),
    [
        # Before its turn nothing is known of it.
        ({}, True),
        ({"attempts": 1, "status": "launching"}, True),
        ({"attempts": 1, "status": "active"}, False),
        ({"attempts": 3, "status": "error"}, False),
    ],
)
def test_a_model_whose_turn_is_to_come_after_a_restart_is_not_gone(
    models: LabProvider, service: FakeXinference, state: dict[str, Any], there: bool
) -> None:
    outs = create(models, model())
    service.models.clear()
    service.autostart["qwen"]["state"] = state

    assert bool(models.read("qwen", outs).id) is there


def test_a_dead_model_is_not_adopted(models: LabProvider, service: FakeXinference) -> None:
    service.put(PAYLOAD)
    service.models["qwen"]["crashed"] = True

    create(models, model())

    assert "/v1/models/qwen" in service.called("DELETE")
    assert service.launches == [PAYLOAD]


@pytest.mark.parametrize("rows", [["TERMINATED", "READY"], ["READY"]])
def test_copies_that_were_stopped_are_gone_whatever_their_rows_say(
    models: LabProvider, service: FakeXinference, rows: list[str]
) -> None:
    """2.12 writes one row too low, so the last one stays READY."""
    outs = create(models, model(payload={**PAYLOAD, "replica": 2}))
    service.models["qwen"]["rows"] = rows

    models.delete("qwen", outs)

    assert models.read("qwen", outs).id is None


def test_one_copy_of_two_is_not_what_was_asked_for(
    models: LabProvider, service: FakeXinference
) -> None:
    outs = create(models, model(payload={**PAYLOAD, "replica": 2}))
    assert models.read("qwen", outs).id
    service.models["qwen"]["rows"] = ["READY"]

    assert models.read("qwen", outs).id is None


def test_unreachable_is_not_gone(models: LabProvider, service: FakeXinference) -> None:
    outs = create(models, model())
    service.down = True

    assert models.read("qwen", outs).outs == outs


def test_delete_forgets_the_autostart_first(models: LabProvider, service: FakeXinference) -> None:
    outs = create(models, model())
    before = len(service.called("DELETE"))

    models.delete("qwen", outs)
    deletes = service.called("DELETE")[before:]
    models.delete("qwen", outs)

    assert deletes == ["/v1/autostart/models/qwen", "/v1/models/qwen"]
    assert service.models["qwen"]["status"] == "TERMINATED"


def test_delete_cancels_a_launch(models: LabProvider, service: FakeXinference) -> None:
    service.launched_as = "LOADING"
    outs = create(models, model())

    models.delete("qwen", outs)

    assert service.called("POST")[-1] == "/v1/models/qwen/cancel"
    assert service.models["qwen"]["cancelled"]
    # A DELETE is refused as if it were gone, while the launch goes on.
    assert "/v1/models/qwen" not in service.called("DELETE")


def test_a_launch_without_a_first_status_is_not_cancelled_yet(
    models: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.launched_as = "CREATING"
    outs = create(models, model())
    service.shows_no_replicas = True
    cancelled: list[bool] = []

    def shows() -> None:
        cancelled.append("/v1/models/qwen/cancel" in service.called("POST"))
        service.shows_no_replicas = len(cancelled) < 3

    clock.on_sleep = shows
    models.delete("qwen", outs)

    assert cancelled == [False, False, False]
    assert service.models["qwen"]["cancelled"]


def test_a_launch_that_cannot_be_ended_is_not_called_gone(
    models: LabProvider, service: FakeXinference
) -> None:
    service.launched_as = "LOADING"
    outs = create(models, model())
    service.shows_no_replicas = True

    with pytest.raises(DeadlineExceeded, match="launching") as error:
        models.delete("qwen", outs)
    assert "docker restart xinference" in error.value.advice


def test_a_model_that_serves_is_never_cancelled(
    models: LabProvider, service: FakeXinference
) -> None:
    models.delete("qwen", create(models, model()))

    assert "/v1/models/qwen/cancel" not in service.called("POST")


def test_one_that_became_ready_while_it_was_cancelled_is_cleared_away(
    models: LabProvider, service: FakeXinference
) -> None:
    """By a launch of its uid: that meets the copy that nothing else reaches, and fails."""
    outs = create(models, model())
    service.models["qwen"]["stranded"] = True

    models.delete("qwen", outs)

    assert service.launches == [PAYLOAD, PAYLOAD]
    assert service.models["qwen"]["status"] == "ERROR"


def test_unreachable_is_no_reason_to_go_on_deleting(
    models: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.launched_as = "LOADING"
    outs = create(models, model())
    service.shows_no_replicas = True

    def breaks_off() -> None:
        service.down = True

    clock.on_sleep = breaks_off
    with pytest.raises(Unreachable):
        models.delete("qwen", outs)
    assert clock.passed < STOP_SECONDS


def test_what_is_leaving_is_waited_for(
    models: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    outs = create(models, model())
    service.models["qwen"]["status"] = "TERMINATING"

    def leaves() -> None:
        if clock.passed > 10:
            service.models["qwen"]["status"] = "TERMINATED"

    clock.on_sleep = leaves
    models.delete("qwen", outs)
    assert clock.passed > 10


def test_a_model_that_crashes_in_the_moment_of_its_delete_is_deleted_all_the_same(
    models: LabProvider, service: FakeXinference, monkeypatch: pytest.MonkeyPatch
) -> None:
    outs = create(models, model())
    answer = service.answer

    def crashes(request: httpx.Request) -> httpx.Response:
        if (request.method, request.url.path) == ("DELETE", "/v1/models/qwen"):
            service.models["qwen"]["status"] = "LOADING"
        return answer(request)

    monkeypatch.setattr(service, "answer", crashes)
    models.delete("qwen", outs)
    assert service.models["qwen"]["cancelled"]


def test_one_that_started_by_itself_meanwhile_is_adopted(
    models: LabProvider, service: FakeXinference, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.put({**PAYLOAD, "model_size_in_billions": 7})
    answer = service.answer

    def autostart_is_faster(request: httpx.Request) -> httpx.Response:
        stopped = service.models["qwen"]["status"] == "TERMINATED"
        if stopped and (request.method, request.url.path) == ("POST", "/v1/models"):
            service.put(PAYLOAD, "LOADING")
        return answer(request)

    monkeypatch.setattr(service, "answer", autostart_is_faster)
    create(models, model())
    assert service.launches == []


def test_an_autostart_entry_deleted_by_hand_is_drift(
    models: LabProvider, service: FakeXinference
) -> None:
    outs = create(models, model())
    service.autostart.clear()

    seen = models.read("qwen", outs).outs

    assert seen is not None
    result = models.diff("qwen", seen, model())
    assert (result.changes, result.replaces) == (True, [])
    models.update("qwen", seen, model())
    assert list(service.autostart) == ["qwen"]
    assert service.models["qwen"]["status"] == "READY"


def test_a_model_for_the_cpu_that_came_back_on_a_gpu_is_drift() -> None:
    on_cpu = {**PAYLOAD, "n_gpu": None}

    assert differences(on_cpu, {"accelerators": []}) == {}
    assert differences(on_cpu, {"accelerators": ["0"]}) == {"n_gpu": 1}
    assert differences({**PAYLOAD, "n_gpu": 1}, {"accelerators": ["0"]}) == {}


# -- ready --------------------------------------------------------------------------------------


def test_a_group_is_ready_when_all_serve(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.put(PAYLOAD, "LOADING")

    def serves() -> None:
        if clock.passed > 60:
            service.models["qwen"]["status"] = "READY"

    clock.on_sleep = serves
    outs = create(group, waiting())

    assert outs["ready"] == ["qwen"]
    assert clock.passed > 60
    assert not group.diff("x", outs, waiting()).changes


def test_progress_is_told(
    group: LabProvider,
    service: FakeXinference,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service.put(PAYLOAD, "LOADING")
    gib = 2**30
    file = {"downloaded_bytes": gib, "total_bytes": 2 * gib, "speed_bytes_per_second": 5 * 2**20}
    service.models["qwen"]["progress"] = {"stage": "downloading", "download_files": [file]}

    def serves() -> None:
        service.models["qwen"]["status"] = "READY"

    told: list[str] = []
    monkeypatch.setattr("pulumi.log.info", told.append)
    clock.on_sleep = serves
    group.create(waiting())

    assert told == [
        "model qwen: downloading 1.00 of 2.00 GiB, 5.0 MiB/s",
        "model qwen: serves",
    ]


def test_a_failed_download_is_started_again_under_its_uid(
    group: LabProvider, service: FakeXinference
) -> None:
    service.put(PAYLOAD, "ERROR", FAILED)

    assert create(group, waiting())["ready"] == ["qwen"]
    assert service.launches == [PAYLOAD]


def test_a_download_that_keeps_failing_ends(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.put(PAYLOAD, "ERROR", FAILED)

    def fails_again() -> None:
        service.models["qwen"].update(status="ERROR", error=FAILED)

    clock.on_sleep = fails_again
    with pytest.raises(Refused, match="model hub"):
        group.create(waiting())
    assert len(service.launches) == MOST_LAUNCHES - 1


def test_an_error_is_judged_with_its_message(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    """ERROR comes before the reason for it."""
    service.put(PAYLOAD, "LOADING")

    def fails() -> None:
        late = clock.passed > POLL_SECONDS
        service.models["qwen"].update(status="ERROR", error=NO_MEMORY if late else "")

    clock.on_sleep = fails
    with pytest.raises(Refused, match="memoryShare"):
        group.create(waiting())


def test_an_error_without_a_message_is_explained(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    """A process that did not start in time: tried again, and never told as an empty sentence."""
    service.put(PAYLOAD, "ERROR")

    def fails() -> None:
        service.models["qwen"]["status"] = "ERROR"

    clock.on_sleep = fails
    with pytest.raises(Refused, match="did not start within a minute") as error:
        group.create(waiting())
    assert len(service.launches) == MOST_LAUNCHES - 1
    assert ": ." not in str(error.value)


def test_a_launch_that_unwinds_is_waited_for(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    """After a cancel 2.12 refuses the uid for up to a minute: no launch is wasted on that."""
    service.put(PAYLOAD, "ERROR", "qwen-0 is running")

    def unwinds() -> None:
        if clock.passed < 50:
            service.models["qwen"].update(status="ERROR", error="qwen-0 is running")

    clock.on_sleep = unwinds
    assert create(group, waiting())["ready"] == ["qwen"]
    assert clock.passed >= 2 * UNWIND_SECONDS


def test_a_model_whose_process_ended_is_not_waited_for(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.put(PAYLOAD)
    service.models["qwen"]["crashed"] = True

    assert create(group, waiting())["ready"] == ["qwen"]
    assert clock.passed <= 3 * POLL_SECONDS
    assert service.launches == [PAYLOAD]


def test_a_model_that_keeps_ending_is_given_up(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.put(PAYLOAD)

    def ends() -> None:
        service.models["qwen"]["crashed"] = True

    service.models["qwen"]["crashed"] = True
    clock.on_sleep = ends
    with pytest.raises(Refused, match=r"its process ended.*after 4 launches"):
        group.create(waiting())


def test_a_group_waits_for_a_turn_and_launches_nothing(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    """After a restart the models come one by one; ours is the last."""
    service.autostart["qwen"] = {"launch": PAYLOAD, "state": {}}

    def comes() -> None:
        if clock.passed > 600:
            service.put(PAYLOAD)

    clock.on_sleep = comes
    assert create(group, waiting())["ready"] == ["qwen"]
    assert service.launches == []


NO_MEMORY = "ValueError: No available memory for the cache blocks"


def test_no_memory_says_what_to_do_at_once(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.put(PAYLOAD, "LOADING")

    def fails() -> None:
        service.models["qwen"].update(status="ERROR", error=NO_MEMORY)

    clock.on_sleep = fails
    with pytest.raises(Refused, match="memoryShare"):
        group.create(waiting())
    assert clock.passed < POLL_SECONDS  # seen at the second look, and the third confirms it
    assert service.launches == []


def test_an_earlier_runs_error_is_tried_again_once(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.put(PAYLOAD, "ERROR", NO_MEMORY)

    def fails() -> None:
        service.models["qwen"].update(status="ERROR", error=NO_MEMORY)

    clock.on_sleep = fails
    with pytest.raises(Refused, match="memoryShare"):
        group.create(waiting())
    assert service.launches == [PAYLOAD]


def test_a_model_that_no_catalogue_knows_is_not_tried_again(
    group: LabProvider, service: FakeXinference
) -> None:
    service.put(PAYLOAD, "ERROR", "Model not found, name: qwen9, format: awq")

    with pytest.raises(Refused, match="catalogue has no such name"):
        group.create(waiting())
    assert service.launches == []


def test_a_launch_that_cleared_a_stranded_copy_away_is_repeated(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.put(PAYLOAD, "LOADING")
    taken = "Model is already in the model list, uid: qwen-0"

    def fails_once() -> None:
        if not service.launches:
            service.models["qwen"].update(status="ERROR", error=taken)

    clock.on_sleep = fails_once

    assert create(group, waiting())["ready"] == ["qwen"]
    assert service.launches == [PAYLOAD]


def test_ready_but_out_of_reach_does_not_serve(group: LabProvider, service: FakeXinference) -> None:
    service.put(PAYLOAD)
    service.models["qwen"]["stranded"] = True

    assert create(group, waiting())["ready"] == ["qwen"]
    # The first clears it away.
    assert service.launches == [PAYLOAD, PAYLOAD]


def test_a_download_without_a_new_byte_hangs_and_is_started_again(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.put(PAYLOAD, "LOADING")
    service.models["qwen"]["progress"] = {
        "stage": "downloading",
        "download_files": [{"downloaded_bytes": 7}],
    }

    create(group, waiting())

    assert clock.passed >= STALL_SECONDS
    assert "/v1/models/qwen/cancel" in service.called("POST")
    assert service.launches == [PAYLOAD]


def test_without_bytes_a_fraction_that_stands_still_hangs(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.put(PAYLOAD, "CREATING")
    service.models["qwen"]["progress"] = {"progress": 0.35}

    create(group, waiting())

    assert clock.passed >= STALL_SECONDS
    assert service.launches == [PAYLOAD]


def test_without_bytes_a_slow_download_does_not_hang(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.put(PAYLOAD, "CREATING")

    def moves() -> None:
        # It is told in steps of 0.05, and one may take a quarter of an hour.
        steps = int(clock.passed / 900)
        service.models["qwen"]["progress"] = {"progress": 0.05 * steps}

    clock.on_sleep = moves
    with pytest.raises(DeadlineExceeded, match="creating, 55%"):
        group.create(waiting(deadline_minutes=175))
    assert service.launches == []


@pytest.mark.parametrize(
    "progress", [{"progress": 0.8}, {"progress": 0.9, "stage": "installing_dependencies"}]
)
def test_loading_may_take_its_time(
    group: LabProvider, service: FakeXinference, progress: dict[str, Any]
) -> None:
    service.put(PAYLOAD, "LOADING")
    service.models["qwen"]["progress"] = progress

    with pytest.raises(DeadlineExceeded):
        group.create(waiting(deadline_minutes=80))
    assert service.launches == []


def test_a_slow_download_does_not_hang(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    service.put(PAYLOAD, "LOADING")

    def moves() -> None:
        service.models["qwen"]["progress"] = {
            "stage": "downloading",
            "download_files": [{"downloaded_bytes": int(clock.passed)}],
        }

    clock.on_sleep = moves
    with pytest.raises(DeadlineExceeded, match="downloading"):
        group.create(waiting(deadline_minutes=30))
    assert service.launches == []


def test_a_model_nobody_knows_is_started_after_a_while(
    group: LabProvider, service: FakeXinference, clock: FakeClock
) -> None:
    create(group, waiting())

    assert clock.passed > 0
    assert service.launches == [PAYLOAD]


def test_an_adopted_start_that_turns_out_to_be_another_model_is_replaced(
    group: LabProvider, service: FakeXinference
) -> None:
    service.put({**PAYLOAD, "model_size_in_billions": 7})

    create(group, waiting())

    assert service.models["qwen"]["payload"] == PAYLOAD


def test_a_model_that_no_longer_serves_is_drift_of_its_group(
    group: LabProvider, service: FakeXinference
) -> None:
    service.put(PAYLOAD)
    outs = create(group, waiting())
    service.models["qwen"]["status"] = "ERROR"

    seen = group.read("x", outs).outs

    assert seen is not None
    assert seen["ready"] == []
    assert group.diff("x", seen, waiting()).changes
    service.models["qwen"]["status"] = "READY"
    mended = group.update("x", seen, waiting()).outs
    assert mended is not None
    assert mended["ready"] == ["qwen"]


def test_another_deadline_changes_nothing(group: LabProvider) -> None:
    olds = waiting(ready=["qwen"])

    assert not group.diff("x", olds, waiting(deadline_minutes=5)).changes
    assert group.diff("x", olds, waiting(generation="2")).changes


def test_only_what_both_sides_tell_is_compared() -> None:
    assert differences(PAYLOAD, {"model_name": "qwen2.5-instruct", "quantization": None}) == {}
    assert differences({"model_size_in_billions": "0_5"}, {"model_size_in_billions": 0.5}) == {}
    assert differences(PAYLOAD, {"model_name": "qwen3"}) == {"model_name": "qwen3"}


def test_progress_without_bytes_is_its_stage() -> None:
    assert progress_text("LOADING", Progress(0, "", 0, 0, 0)) == "loading"
    assert progress_text("CREATING", Progress(0.4, "", 0, 0, 0)) == "creating, 40%"
    assert progress_text("LOADING", Progress(0, "installing_dependencies", 0, 0, 0)) == (
        "installing_dependencies"
    )
