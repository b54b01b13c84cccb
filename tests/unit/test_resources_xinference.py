"""Models: started or adopted, seen as they are, replaced delete-first, deleted in any state."""

from __future__ import annotations

from functools import partial
from typing import Any

import httpx
import pytest

from provisioning.clients.errors import DeadlineExceeded, Unreachable
from stack.resources.xinference.launch import STOP_SECONDS, differences
from stack.resources.xinference.model import Model
from tests.unit.fake_services import FakeXinference
from tests.unit.subject import ENDPOINT, PAYLOAD, Subject

OTHER = {**PAYLOAD, "model_size_in_billions": 7}
TWO = {**PAYLOAD, "replica": 2}
DELETE, CANCEL = "/v1/models/qwen", "/v1/models/qwen/cancel"


@pytest.fixture
def model() -> Subject:
    return Subject(Model, {"endpoint": ENDPOINT, "payload": PAYLOAD}, FakeXinference())


def meddle(
    monkeypatch: pytest.MonkeyPatch, service: FakeXinference, call: tuple[str, str], what: Any
) -> None:
    """Let something happen just before this call."""
    answer = service.answer

    def meddled(request: httpx.Request) -> httpx.Response:
        if (request.method, request.url.path) == call:
            what()
        return answer(request)

    monkeypatch.setattr(service, "answer", meddled)


# -- started or adopted -------------------------------------------------------------------------


def test_a_model_is_started_and_not_awaited(model: Subject) -> None:
    model.service.launched_as = "CREATING"

    model.create()

    assert model.id == "qwen"
    assert model.service.waits == ["false"]
    assert model.clock.passed == 0
    assert model.service.autostart["qwen"]["launch"] == PAYLOAD


def test_sizes_are_sent_as_whole_numbers(model: Subject) -> None:
    # As it comes over the engine's wire.
    model.create(payload={**PAYLOAD, "model_size_in_billions": 14.0})

    assert repr(model.service.launches[0]["model_size_in_billions"]) == "14"


@pytest.mark.parametrize(
    ("there", "status"),
    [
        ({**PAYLOAD, "model_engine": "vLLM", "model_size_in_billions": "14"}, "READY"),
        (PAYLOAD, "LOADING"),
    ],
)
def test_an_equal_model_or_one_that_still_starts_is_adopted(
    model: Subject, there: dict[str, Any], status: str
) -> None:
    model.service.put(there, status)

    model.create()

    assert model.service.launches == []
    assert DELETE not in model.service.called("DELETE")


def test_another_model_of_the_uid_leaves_before_ours_comes(model: Subject) -> None:
    model.service.put(OTHER)

    model.create()

    assert [call for call in model.service.calls if call[0] != "GET"] == [
        # Else the other one's entry could bring it back at any time.
        ("DELETE", "/v1/autostart/models/qwen"),
        ("POST", "/v1/models"),
        ("DELETE", DELETE),
        ("POST", "/v1/models"),
        # Last, because writing it starts what is down.
        ("POST", "/v1/autostart/models"),
    ]
    assert model.service.models["qwen"]["payload"] == PAYLOAD


def test_a_dead_model_is_not_adopted(model: Subject) -> None:
    model.service.put(PAYLOAD)
    model.service.models["qwen"]["crashed"] = True

    model.create()

    assert DELETE in model.service.called("DELETE")
    assert model.service.launches == [PAYLOAD]


def test_one_that_started_by_itself_meanwhile_is_adopted(
    model: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.service.put(OTHER)

    def autostart_is_faster() -> None:
        if model.service.models["qwen"]["status"] == "TERMINATED":
            model.service.put(PAYLOAD, "LOADING")

    meddle(monkeypatch, model.service, ("POST", "/v1/models"), autostart_is_faster)
    model.create()
    assert model.service.launches == []


# -- seen as they are ---------------------------------------------------------------------------


def test_a_changed_payload_replaces_delete_first(model: Subject) -> None:
    model.create()
    result = model.diff(payload={**PAYLOAD, "gpu_memory_utilization": 0.6})

    assert (result.replaces, result.delete_before_replace) == (["payload"], True)


@pytest.mark.parametrize("status", ["READY", "LOADING", "CREATING"])
def test_a_model_that_serves_or_starts_is_there(model: Subject, status: str) -> None:
    model.create()
    model.service.models["qwen"]["status"] = status

    assert not model.drifts()


@pytest.mark.parametrize(
    "became",
    [
        {"status": "ERROR"},
        {"status": "TERMINATED"},
        # Though it is described as ever, and the server calls what replaced it ready.
        {"crashed": True},
        # 2.12 tells of it as CREATING for ever.
        {"status": "CREATING", "cancelled": True},
    ],
    ids=str,
)
def test_a_model_that_failed_ended_or_was_stopped_is_gone(
    model: Subject, became: dict[str, Any]
) -> None:
    model.create()
    model.service.models["qwen"].update(became)
    assert model.gone()


@pytest.mark.parametrize(
    ("state", "gone"),
    [
        # Before its turn nothing is known of it.
        ({}, False),
        ({"attempts": 1, "status": "launching"}, False),
        ({"attempts": 1, "status": "active"}, True),
        ({"attempts": 3, "status": "error"}, True),
    ],
)
def test_a_model_whose_turn_is_to_come_after_a_restart_is_not_gone(
    model: Subject, state: dict[str, Any], gone: bool
) -> None:
    model.create()
    model.service.models.clear()
    model.service.autostart["qwen"]["state"] = state

    assert model.gone() is gone


def test_a_model_changed_by_hand_is_drift(model: Subject) -> None:
    model.create()
    model.service.put({**PAYLOAD, "quantization": "Int8"})

    model.state = model.seen()

    assert model.state["payload"]["quantization"] == "Int8"
    assert model.diff().replaces == ["payload"]


def test_one_copy_of_two_is_not_what_was_asked_for(model: Subject) -> None:
    model.create(payload=TWO)
    assert not model.gone()
    model.service.models["qwen"]["rows"] = ["READY"]

    assert model.gone()


def test_unreachable_is_not_gone(model: Subject) -> None:
    model.create()
    model.service.down = True

    assert model.seen() == model.state


def test_an_autostart_entry_deleted_by_hand_is_written_again(model: Subject) -> None:
    model.create()
    model.service.autostart.clear()

    model.heal()

    assert list(model.service.autostart) == ["qwen"]
    assert model.service.models["qwen"]["status"] == "READY"


@pytest.mark.parametrize(
    ("payload", "found", "differing"),
    [
        ({**PAYLOAD, "n_gpu": None}, {"accelerators": []}, {}),
        ({**PAYLOAD, "n_gpu": None}, {"accelerators": ["0"]}, {"n_gpu": 1}),
        ({**PAYLOAD, "n_gpu": 1}, {"accelerators": ["0"]}, {}),
        (PAYLOAD, {"model_name": "qwen2.5-instruct", "quantization": None}, {}),
        ({"model_size_in_billions": "0_5"}, {"model_size_in_billions": 0.5}, {}),
        (PAYLOAD, {"model_name": "qwen3"}, {"model_name": "qwen3"}),
    ],
)
def test_only_what_both_sides_tell_is_compared_and_the_cpu_is_no_gpu(
    payload: dict[str, Any], found: dict[str, Any], differing: dict[str, Any]
) -> None:
    assert differences(payload, found) == differing


# -- deleted ------------------------------------------------------------------------------------


def test_delete_forgets_the_autostart_first_and_cancels_nothing_that_serves(model: Subject) -> None:
    model.create()
    model.service.calls.clear()

    model.delete()
    deletes = model.service.called("DELETE")
    model.delete()

    assert deletes == ["/v1/autostart/models/qwen", DELETE]
    assert model.service.models["qwen"]["status"] == "TERMINATED"
    assert CANCEL not in model.service.called("POST")


def test_delete_cancels_a_launch(model: Subject) -> None:
    model.service.launched_as = "LOADING"
    model.create()

    model.delete()

    assert model.service.called("POST")[-1] == CANCEL
    assert model.service.models["qwen"]["cancelled"]
    # A DELETE is refused as if it were gone, while the launch goes on.
    assert DELETE not in model.service.called("DELETE")


@pytest.mark.parametrize("rows", [["TERMINATED", "READY"], ["READY"]])
def test_copies_that_were_stopped_are_gone_whatever_their_rows_say(
    model: Subject, rows: list[str]
) -> None:
    """2.12 writes one row too low, so the last one stays READY."""
    model.create(payload=TWO)
    model.service.models["qwen"]["rows"] = rows

    model.delete()

    assert model.gone()


def test_a_launch_without_a_first_status_is_not_cancelled_yet(model: Subject) -> None:
    model.service.launched_as = "CREATING"
    model.create()
    model.service.shows_no_replicas = True
    cancelled: list[bool] = []

    def shows() -> None:
        cancelled.append(CANCEL in model.service.called("POST"))
        model.service.shows_no_replicas = len(cancelled) < 3

    model.clock.on_sleep = shows
    model.delete()

    assert cancelled == [False, False, False]
    assert model.service.models["qwen"]["cancelled"]


def test_a_launch_that_cannot_be_ended_is_not_called_gone(model: Subject) -> None:
    model.service.launched_as, model.service.shows_no_replicas = "LOADING", True
    model.create()

    with pytest.raises(DeadlineExceeded, match="launching") as error:
        model.delete()
    assert "docker restart xinference" in error.value.advice


def test_unreachable_is_no_reason_to_go_on_deleting(model: Subject) -> None:
    model.service.launched_as, model.service.shows_no_replicas = "LOADING", True
    model.create()

    model.clock.on_sleep = lambda: setattr(model.service, "down", True)
    with pytest.raises(Unreachable):
        model.delete()
    assert model.clock.passed < STOP_SECONDS


def test_one_that_became_ready_while_it_was_cancelled_is_cleared_away(model: Subject) -> None:
    """By a launch of its uid: that meets the copy that nothing else reaches, and fails."""
    model.create()
    model.service.models["qwen"]["stranded"] = True

    model.delete()

    assert model.service.launches == [PAYLOAD, PAYLOAD]
    assert model.service.models["qwen"]["status"] == "ERROR"


def test_what_is_leaving_is_waited_for(model: Subject) -> None:
    model.create()
    model.service.models["qwen"]["status"] = "TERMINATING"

    def leaves() -> None:
        if model.clock.passed > 10:
            model.service.models["qwen"]["status"] = "TERMINATED"

    model.clock.on_sleep = leaves
    model.delete()
    assert model.clock.passed > 10


def test_a_model_that_crashes_in_the_moment_of_its_delete_is_deleted_all_the_same(
    model: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.create()
    loading = partial(model.service.models["qwen"].update, status="LOADING")
    meddle(monkeypatch, model.service, ("DELETE", DELETE), loading)

    model.delete()

    assert model.service.models["qwen"]["cancelled"]
