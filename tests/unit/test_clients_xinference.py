"""Xinference's client: errors told by their text, launches that do not wait."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from provisioning.clients.http import Busy, Conflict, NotFound, Refused, Unauthorized
from provisioning.clients.xinference import (
    ModelState,
    XinferenceClient,
    advice_for,
    autostart_payload,
    concise,
    is_failed_download,
    is_left_over,
    is_unknown_model,
)
from tests.unit.fake_services import FakeClock, FakeXinference

PAYLOAD = {"model_uid": "m3e", "model_name": "m3e-base", "model_type": "embedding"}
NOT_FOUND = "[address=1.2.3.4:5, pid=6] Model not found in the model list, uid: m3e"


@pytest.fixture
def service() -> FakeXinference:
    return FakeXinference()


@pytest.fixture
def client(service: FakeXinference) -> XinferenceClient:
    return XinferenceClient("http://x:9997", transport=service.transport, clock=FakeClock())


def answering(response: httpx.Response) -> XinferenceClient:
    return XinferenceClient(
        "http://x", transport=httpx.MockTransport(lambda _: response), clock=FakeClock()
    )


def test_not_to_wait_is_said_in_the_query(
    client: XinferenceClient, service: FakeXinference
) -> None:
    assert client.launch(PAYLOAD) == "m3e"
    # In the body it would be an argument of the engine.
    assert service.waits == ["false"]
    assert service.launches == [PAYLOAD]


def test_a_taken_uid_is_a_conflict_even_while_loading(
    client: XinferenceClient, service: FakeXinference
) -> None:
    service.put(PAYLOAD, "LOADING")

    with pytest.raises(Conflict):
        client.launch(PAYLOAD)


def test_a_400_not_found_is_gone_and_a_503_loading_is_busy(
    client: XinferenceClient, service: FakeXinference
) -> None:
    with pytest.raises(NotFound):
        client.describe("m3e")
    service.put(PAYLOAD, "LOADING")
    with pytest.raises(Busy):
        client.describe("m3e")


def test_an_unknown_model_name_is_refused_and_not_gone() -> None:
    client = answering(httpx.Response(400, json={"detail": "Model not found, name: nix"}))

    with pytest.raises(Refused) as error:
        client.launch(PAYLOAD)
    assert not isinstance(error.value, NotFound)


def test_a_failed_download_is_not_loading() -> None:
    detail = "[address=1.2.3.4:5, pid=6] Failed to download model 'm3e' after multiple retries"
    client = answering(httpx.Response(503, json={"detail": detail}))

    with pytest.raises(Refused, match="503 Failed to download") as error:
        client.launch(PAYLOAD)
    assert not isinstance(error.value, Busy)
    assert is_failed_download(error.value.answer)


def test_authentication_that_is_on_says_how_to_switch_it_off() -> None:
    client = answering(httpx.Response(401, json={"detail": "Could not validate credentials"}))

    with pytest.raises(Unauthorized, match="XINFERENCE_AUTH_ADVANCED=0"):
        client.version()


def test_stopping_what_is_not_there_is_done(
    client: XinferenceClient, service: FakeXinference
) -> None:
    service.put(PAYLOAD)

    assert client.stop("m3e")
    assert not client.stop("m3e")


def test_cancelling_what_was_never_launched_is_done(client: XinferenceClient) -> None:
    assert not client.cancel("m3e")


def test_a_refused_delete_of_a_launch_is_not_gone(
    client: XinferenceClient, service: FakeXinference
) -> None:
    service.put(PAYLOAD, "LOADING")

    with pytest.raises(Busy, match="uid: m3e-0"):
        client.stop("m3e")


def test_a_replicas_name_differs_by_version() -> None:
    detail = "[address=1.2.3.4:5, pid=6] Model not found in the model list, uid: m3e-rep0"
    with pytest.raises(Busy):
        answering(httpx.Response(400, json={"detail": detail})).stop("m3e")
    # A uid that looks like a replica's is one's own all the same.
    assert not answering(httpx.Response(400, json={"detail": detail})).stop("m3e-rep0")


def test_a_model_that_serves_is_not_cancelled(
    client: XinferenceClient, service: FakeXinference
) -> None:
    service.put(PAYLOAD)

    assert not client.cancel("m3e")
    assert service.called("POST") == []
    assert client.state("m3e").standing == "serving"


def test_a_launch_is_cancelled(client: XinferenceClient, service: FakeXinference) -> None:
    service.put(PAYLOAD, "CREATING")

    assert client.state("m3e").standing == "launching"
    assert client.cancel("m3e")
    assert client.state("m3e").standing == "failed"


OPEN, OPENING = (200, {"model_name": "x"}), (503, "Model is loading, please retry later")
BROKEN, NONE = (400, "[a] Model not found in the model list, uid: m3e-0"), (400, NOT_FOUND)


@pytest.mark.parametrize(
    ("described", "book", "copies", "standing"),
    [
        (OPEN, ("READY", ["READY"]), 1, "serving"),
        (OPEN, ("READY", ["READY", "READY"]), 2, "serving"),
        (OPENING, ("CREATING", ["CREATING"]), 1, "launching"),
        # No status for a moment.
        (OPENING, ("CREATING", []), 1, "launching"),
        # Of two copies, the first is there.
        (OPEN, ("READY", ["READY", "CREATING"]), 2, "launching"),
        # A crash: noticed; another process in its place; one of two; given up for good.
        (BROKEN, ("ERROR", ["TERMINATING"]), 1, "down"),
        ((400, "Model not found in the model list, uid: m3e-rep0"), ("ERROR", []), 1, "down"),
        (OPEN, ("READY", ["TERMINATING"]), 1, "down"),
        (OPEN, ("READY", ["TERMINATING", "READY"]), 2, "down"),
        (OPEN, ("READY", ["READY"]), 2, "down"),
        (NONE, None, 1, "absent"),
        # Being stopped, and of two copies stopped.
        (NONE, ("TERMINATING", ["TERMINATING"]), 1, "down"),
        (NONE, None, 2, "absent"),
        # Cancelled at 2.12, where a worker heard it and where none did.
        (NONE, ("ERROR", ["CREATING"]), 1, "failed"),
        (NONE, ("CREATING", ["CREATING"]), 1, "launching"),
        (NONE, ("ERROR", ["ERROR"]), 1, "failed"),
        (NONE, ("READY", ["READY"]), 1, "stranded"),
    ],
)
def test_how_a_model_stands(
    described: tuple[int, Any],
    book: tuple[str, list[str]] | None,
    copies: int,
    standing: str,
) -> None:
    """Description and book together, as measured; the rows of a stopped model count for nothing."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models/instances":
            rows = [{"status": status, "error_message": None} for status in book[1]] if book else []
            found = [{"status": book[0], "replica_statuses": rows}] if book else []
            return httpx.Response(200, json=found)
        status, body = described
        return httpx.Response(status, json=body if status == 200 else {"detail": body})

    transport = httpx.MockTransport(answer)
    state = XinferenceClient("http://x", transport=transport, clock=FakeClock()).state(
        "m3e", copies
    )
    assert state.standing == standing


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (ModelState("failed", ("ERROR",), "CUDA out of memory"), "failed: CUDA out of memory"),
        (ModelState("down", ("TERMINATING", "READY")), "down (TERMINATING, READY)"),
        (ModelState("absent"), "absent"),
    ],
)
def test_a_state_is_told_in_a_few_words(state: ModelState, text: str) -> None:
    assert str(state) == text


def test_a_list_of_all_models_is_no_part_of_an_error() -> None:
    listed = "dict_keys(['bge-m3', " + "'another', " * 500 + "])"
    said = concise(
        f"[address=0.0.0.0:3, pid=9] Rerank model x not found, available models: {listed}"
    )
    assert said == "Rerank model x not found, available models: ..."
    assert is_unknown_model(said)


@pytest.mark.parametrize(
    ("error", "left_over"),
    [
        ("Model is already in the model list, uid: m3e-0", True),
        ("HTTP 400 m3e-0 is running", True),
        ("m3e-rep1 is launching", True),
        ("the engine is running out of memory", False),
        ("", False),
    ],
)
def test_what_is_left_of_an_earlier_launch_is_known(error: str, left_over: bool) -> None:
    assert is_left_over(error) is left_over


def test_a_delete_of_what_is_being_started_again_is_repeated_later() -> None:
    refused = httpx.Response(400, json={"detail": "[address=1:2, pid=3] m3e-0 is launching"})
    with pytest.raises(Busy):
        answering(refused).stop("m3e")


@pytest.mark.parametrize(
    ("state", "to_come"),
    [
        ({}, True),
        ({"attempts": 0, "status": "waiting_worker"}, True),
        ({"attempts": 1, "status": "launching"}, True),
        ({"attempts": 1, "status": "active"}, False),
        ({"attempts": 3, "status": "error"}, False),
    ],
)
def test_a_models_turn_after_a_restart_is_told_by_its_entry(
    client: XinferenceClient, service: FakeXinference, state: dict[str, Any], to_come: bool
) -> None:
    service.autostart["m3e"] = {"launch": PAYLOAD, "state": state}
    assert client.autostart() == {"m3e": to_come}


def test_chat_models_come_back_after_the_small_ones(
    client: XinferenceClient, service: FakeXinference
) -> None:
    client.put_autostart(PAYLOAD)
    client.put_autostart({"model_uid": "a-chat", "model_name": "a", "model_type": "LLM"})
    priority = {uid: entry["priority"] for uid, entry in service.autostart.items()}
    assert priority["m3e"] < priority["a-chat"]


def test_an_autostart_entry_says_cpu_in_a_way_that_is_kept(
    client: XinferenceClient, service: FakeXinference
) -> None:
    client.put_autostart({**PAYLOAD, "n_gpu": None, "quantization": None})

    launch = service.autostart["m3e"]["launch"]
    assert launch == {**PAYLOAD, "device": "cpu"}
    assert list(client.autostart()) == ["m3e"]


def test_an_autostart_entry_is_the_payload_where_no_null_is_lost() -> None:
    assert autostart_payload({**PAYLOAD, "n_gpu": 1}) == {**PAYLOAD, "n_gpu": 1}
    chosen = {**PAYLOAD, "n_gpu": None, "device": "cpu:1"}
    assert autostart_payload(chosen)["device"] == "cpu:1"


def test_progress_adds_up_the_files(client: XinferenceClient, service: FakeXinference) -> None:
    service.put(PAYLOAD, "LOADING")
    file = {"downloaded_bytes": 5, "total_bytes": 10, "speed_bytes_per_second": 2.5}
    service.models["m3e"]["progress"] = {"stage": "downloading", "download_files": [file, file]}

    found = client.progress("m3e")

    assert (found.stage, found.bytes_done, found.bytes_total) == ("downloading", 10, 20)
    assert found.bytes_per_second == 5.0


def test_the_older_shape_of_progress_is_read_too() -> None:
    assert answering(httpx.Response(200, json={"progress": 0.5})).progress("m3e").fraction == 0.5


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("ValueError: No available memory for the cache blocks", "memoryShare"),
        ("CUDA out of memory. Tried to allocate", "memoryShare"),
        ("Free memory is less than desired GPU memory utilization (0.7)", "memoryShare"),
        ("not greater than the number of GPUs: 1 on the machine", "gpus"),
        ("Failed to install packages for m3e-base", "pypiMirror"),
        ("Model x cannot be run on engine vLLM", "engine"),
        ("Failed to download model 'x'", "hub"),
        ("Failed to import module 'SentenceTransformer'", "engine"),
        ("something new", ""),
    ],
)
def test_advice_goes_by_the_text(error: str, word: str) -> None:
    advice = advice_for(error)

    assert word in advice
    assert bool(advice) == bool(word)
