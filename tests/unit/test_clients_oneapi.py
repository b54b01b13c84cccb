"""OneAPI's relay client: what the real one of tests/contract/oneapi cannot be made to answer."""

import httpx
import pytest

from provisioning.clients.errors import NotFound, RateLimited, Refused, Unauthorized, Unexpected
from provisioning.clients.oneapi import (
    Channel,
    NoChannel,
    OneApiClient,
    OneApiRelay,
    Token,
    UpstreamFailed,
)
from tests.clock import FakeClock

KEY = "z" * 48
CODE = "bad_response_status_code"


def relay(answer: httpx.Response) -> OneApiRelay:
    transport = httpx.MockTransport(lambda _: answer)
    return OneApiRelay("http://x:3001", KEY, transport=transport, clock=FakeClock())


def error(status: int, message: str, kind: str = "one_api_error", code: str = "") -> httpx.Response:
    said = {"message": message, "type": kind, "code": code}
    return httpx.Response(status, json={"error": said})


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (error(503, "无可用渠道"), NoChannel, "无可用渠道"),
        (error(401, f"wrong key sk-{KEY}"), Unauthorized, "wrong key"),
        (error(429, "too many"), RateLimited, "too many"),
        (error(400, "no"), Refused, "no"),
        # In OpenAI's form, yet OneAPI's own.
        (
            error(404, "Invalid URL (POST /v1/rerank)", "invalid_request_error"),
            NotFound,
            "Invalid URL",
        ),
        (httpx.Response(200, json={"choices": []}), Unexpected, "the answer lacks"),
        (httpx.Response(200, text="<html>"), Unexpected, "<html>"),
    ],
)
def test_what_the_relay_refuses(answer: httpx.Response, kind: type[Refused], said: str) -> None:
    with pytest.raises(kind, match=said) as failed:
        relay(answer).probe("chat", "qwen")
    assert type(failed.value) is kind
    assert KEY not in str(failed.value)


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (error(401, "no such key", "upstream_error", CODE), (401, True)),
        # In OpenAI's own form: not a wrong token of ours.
        (error(401, "No such key.", "invalid_request_error", "bad_key"), (401, True)),
        (error(500, "dial tcp", code="do_request_failed"), (500, False)),
    ],
)
def test_what_is_behind_the_relay_failed(answer: httpx.Response, seen: tuple[int, bool]) -> None:
    with pytest.raises(UpstreamFailed) as failed:
        relay(answer).probe("chat", "qwen")
    assert (failed.value.status, failed.value.connected) == seen


def test_an_answer_without_what_was_asked_for() -> None:
    with pytest.raises(Unexpected, match="an empty answer"):
        relay(httpx.Response(200, json={"data": [{"embedding": []}]})).probe("embedding", "qwen")


def test_no_kind_is_made_up() -> None:
    with pytest.raises(ValueError, match="relays no rerank"):
        relay(httpx.Response(200)).probe("rerank", "bge")


def test_keys_are_not_in_any_repr() -> None:
    told = repr((
        Token(name="users", key=KEY),
        relay(httpx.Response(200)),
        Channel(name="c", key="top-secret"),
        OneApiClient("http://x", access_token=KEY),
    ))  # fmt: skip
    assert KEY not in told
    assert "top-secret" not in told
