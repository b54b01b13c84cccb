"""Xinference's client: errors told by their text, and what only a spoiled answer shows."""

from typing import Any

import httpx
import pytest

from provisioning.clients.errors import (
    Busy,
    Conflict,
    NotFound,
    RateLimited,
    Refused,
    ServiceError,
    Unauthorized,
    Unreachable,
)
from provisioning.clients.xinference import (
    ModelState,
    XinferenceClient,
    advice_for,
    is_failed_download,
    is_left_over,
    is_unknown_model,
)
from tests.clock import FakeClock
from tests.tables import table
from tests.unit.xinference import Answers

PAYLOAD = {"model_uid": "m3e", "model_name": "m3e-base", "model_type": "embedding"}
PREFIX = "[address=1.2.3.4:5, pid=6] "
NOT_FOUND = "Model not found in the model list, uid: m3e"


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def client(answers: Answers) -> XinferenceClient:
    return XinferenceClient("http://x:9997", transport=answers.transport, clock=FakeClock())


def answering(status: int, body: Any) -> XinferenceClient:
    """A client whose every call is answered with this body, or with a text as Xinference errs."""
    answer = httpx.Response(status, json={"detail": body} if isinstance(body, str) else body)
    transport = httpx.MockTransport(lambda _: answer)
    return XinferenceClient("http://x", transport=transport, clock=FakeClock())


@pytest.mark.parametrize(
    ("status", "detail", "kind"),
    [
        (400, NOT_FOUND, NotFound),
        (500, "Model m3e has not been launched yet", NotFound),
        (404, "Not Found", NotFound),
        # Of the catalogue, not of the book.
        (400, "Model not found, name: nix", Refused),
        (400, "Model is already in the model list, uid: m3e", Conflict),
        (503, "Model is loading, please retry later", Busy),
        (503, "Failed to download model 'm3e' after multiple retries", Refused),
        (429, "Rate limit reached", RateLimited),
        (401, "Could not validate credentials", Unauthorized),
    ],
)
def test_errors_are_told_by_their_text(status: int, detail: str, kind: type[ServiceError]) -> None:
    with pytest.raises(ServiceError) as error:
        answering(status, PREFIX + detail).describe("m3e")
    assert type(error.value) is kind
    assert error.value.answer.startswith(f"HTTP {status} {detail}")


def test_the_key_is_carried_hidden_and_a_proxy_without_xinference_is_nobody() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        status = 502 if len(asked) < 3 else 401
        return httpx.Response(status, json={"detail": "no sk-secret-key"})

    transport = httpx.MockTransport(answer)
    client = XinferenceClient("http://x", "sk-secret-key", transport=transport, clock=FakeClock())
    with pytest.raises(Unauthorized) as error:
        client.describe("m3e")
    assert [r.headers["Authorization"] for r in asked] == ["Bearer sk-secret-key"] * 3
    assert "sk-secret-key" not in str(error.value)
    client = XinferenceClient(
        "http://x", transport=httpx.MockTransport(lambda _: httpx.Response(502)), clock=FakeClock()
    )
    with pytest.raises(Unreachable):
        client.describe("m3e")


def test_what_is_sent_to_launch_now_and_at_each_start(
    client: XinferenceClient, answers: Answers
) -> None:
    client.launch(PAYLOAD)
    # In the body it would be an argument of the engine.
    assert answers.queries[-1] == {"wait_ready": "false"}
    client.put_autostart(PAYLOAD)
    client.put_autostart({"model_uid": "a-chat", "model_name": "a", "model_type": "LLM"})
    launched, small, chat = answers.bodies
    assert launched == PAYLOAD
    assert small["priority"] < chat["priority"], "chat models come back after the small ones"


@table("clients_xinference")
def test_a_refused_delete_is_not_always_gone(detail: str, uid: str, stays: bool) -> None:
    client = answering(400, PREFIX + detail)
    if stays:
        with pytest.raises(Busy):
            client.stop(uid)
    else:
        client.stop(uid)


OPEN, OPENING = (200, {"model_name": "x"}), (503, "Model is loading, please retry later")
BROKEN, NONE = (400, "[a] Model not found in the model list, uid: m3e-0"), (400, NOT_FOUND)


@table("clients_xinference")
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


def test_a_state_is_told_in_a_few_words() -> None:
    failed = ModelState("failed", ("ERROR",), "CUDA out of memory")
    assert str(failed) == "failed: CUDA out of memory"
    assert str(ModelState("down", ("TERMINATING", "READY"))) == "down (TERMINATING, READY)"
    assert str(ModelState("absent")) == "absent"


def test_a_list_of_all_models_is_no_part_of_an_error() -> None:
    listed = "dict_keys(['bge-m3', " + "'another', " * 500 + "])"
    unknown = f"Rerank model x not found, available models: {listed}"
    rows = [{"status": "ERROR", "error_message": text} for text in (None, PREFIX + unknown)]
    book = [{"status": "ERROR", "replica_statuses": rows}]

    def answer(request: httpx.Request) -> httpx.Response:
        told = request.url.path == "/v1/models/instances"
        return httpx.Response(200, json=book) if told else httpx.Response(404, json={})

    asked = XinferenceClient("http://x", transport=httpx.MockTransport(answer), clock=FakeClock())
    error = asked.state("m3e").error
    assert error == "Rerank model x not found, available models: ..."
    assert is_unknown_model(error)


@table("clients_xinference")
def test_what_is_left_of_an_earlier_launch_is_known(error: str, left_over: bool) -> None:
    assert is_left_over(error) is left_over


@table("clients_xinference")
def test_a_models_turn_after_a_restart_is_told_by_its_entry(
    state: dict[str, Any], to_come: bool, client: XinferenceClient, answers: Answers
) -> None:
    answers.entries["m3e"] = state
    assert client.autostart() == {"m3e": to_come}


@table("clients_xinference")
def test_an_autostart_entry_says_cpu_in_a_way_that_is_kept(
    more: dict[str, Any], kept: dict[str, Any], client: XinferenceClient, answers: Answers
) -> None:
    client.put_autostart({**PAYLOAD, **more})
    assert answers.bodies[0]["launch"] == {**PAYLOAD, **kept}


def test_progress_adds_up_the_files() -> None:
    files = [
        {"downloaded_bytes": 5, "total_bytes": 10, "speed_bytes_per_second": 2.5},
        # The total's name differs by version, and what is not known is null.
        {"downloaded_bytes": 5, "total_size": 10, "speed_bytes_per_second": None},
        {"downloaded_bytes": 1, "total_bytes": None},
    ]
    found = answering(200, {"stage": "downloading", "download_files": files}).progress("m3e")

    assert (found.stage, found.bytes_done, found.bytes_total) == ("downloading", 11, 20)
    assert found.bytes_per_second == 2.5


@table("clients_xinference")
def test_advice_goes_by_the_text(error: str, word: str) -> None:
    advice = advice_for(error)
    assert word in advice
    assert bool(advice) == bool(word)
    assert is_failed_download(error) == (word == "hub")
