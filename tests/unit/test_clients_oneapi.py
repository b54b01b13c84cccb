"""OneAPI's client where the real one cannot be brought to it (see tests/contract/oneapi)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from provisioning.clients.errors import (
    NotFound,
    RateLimited,
    Refused,
    ServiceError,
    Unauthorized,
    Unexpected,
)
from provisioning.clients.oneapi import (
    Channel,
    NoChannel,
    OneApiClient,
    OneApiRelay,
    UpstreamFailed,
    clean_models,
)
from provisioning.clients.oneapi.relay import silence
from tests.unit.fake_services import FakeClock, FakeOneApi

KEY = "z" * 48


@pytest.fixture
def service() -> FakeOneApi:
    return FakeOneApi()


def management(service: FakeOneApi, access_token: str = "") -> OneApiClient:
    return OneApiClient(
        "http://x:3001", access_token=access_token, transport=service.transport, clock=FakeClock()
    )


@pytest.fixture
def client(service: FakeOneApi) -> OneApiClient:
    return management(service, service.access_token)


@pytest.fixture
def served(service: FakeOneApi) -> FakeOneApi:
    """With FastGPT's token, and a channel for the model `qwen`."""
    service.add_token(name="fastgpt")
    service.add_channel(name="c", type=1, models="qwen")
    return service


def relay(service: FakeOneApi, key: str = KEY) -> OneApiRelay:
    return OneApiRelay("http://x:3001", key, transport=service.transport, clock=FakeClock())


def test_a_login_drops_the_cookie(service: FakeOneApi) -> None:
    client = management(service)
    assert client.login("root", "123456") == service.access_token
    service.access_token = "b" * 32
    with pytest.raises(Unauthorized):
        client.me()


def test_a_refused_login_names_the_database_too(service: FakeOneApi) -> None:
    with pytest.raises(Unauthorized, match="database") as error:
        management(service).login("root", "wrong-password")
    assert "wrong-password" not in str(error.value)


def test_a_yes_without_a_new_channel_is_not_believed(
    client: OneApiClient, service: FakeOneApi
) -> None:
    service.add_channel(name="xinference-chat", type=1)
    service.forgets_channels = True
    with pytest.raises(Unexpected, match="no new channel"):
        client.create_channel(Channel(name="xinference-chat", models=("qwen",), key="none"))


def test_a_mapping_that_oneapi_would_ignore_is_shown_as_different(
    client: OneApiClient, service: FakeOneApi
) -> None:
    channel_id = service.add_channel(name="c", type=1, model_mapping="{broken")
    assert client.channel(channel_id).model_mapping == {"": "{broken"}


def test_keys_are_not_in_any_repr(client: OneApiClient, service: FakeOneApi) -> None:
    token = client.token(service.add_token(name="users"))
    assert KEY not in repr((token, relay(service)))
    assert "top-secret" not in repr(Channel(name="c", key="top-secret"))
    assert service.access_token not in repr(client)


def test_models_are_stripped_and_each_there_once() -> None:
    assert clean_models([" a", "A ", "", "b", " "]) == ("a", "b")


@pytest.mark.parametrize("key", [KEY, f"sk-{KEY}"])
@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("chat", "/v1/chat/completions"),
        ("embedding", "/v1/embeddings"),
        ("speech", "/v1/audio/speech"),
        ("transcription", "/v1/audio/transcriptions"),
    ],
)
def test_a_probe_is_a_real_request(served: FakeOneApi, kind: str, path: str, key: str) -> None:
    relay(served, key).probe(kind, "qwen")
    assert served.called("POST") == [path]


def test_no_kind_is_made_up(service: FakeOneApi) -> None:
    with pytest.raises(ValueError, match="relays no rerank"):
        relay(service).probe("rerank", "bge")


def test_silence_is_a_wav_file() -> None:
    assert silence()[:4] == b"RIFF"


def error(status: int, message: str, kind: str, code: str = "") -> httpx.Response:
    said = {"message": message, "type": kind, "code": code}
    return httpx.Response(status, json={"error": said})


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(503, "无可用渠道", "one_api_error"), NoChannel),
        (error(401, "无效的令牌", "one_api_error"), Unauthorized),
        (error(429, "too many", "one_api_error"), RateLimited),
        (error(400, "no", "one_api_error"), Refused),
        # In OpenAI's form, yet OneAPI's own.
        (error(404, "Invalid URL (POST /v1/rerank)", "invalid_request_error"), NotFound),
        (httpx.Response(200, json={"choices": []}), Unexpected),
        (httpx.Response(200, text="<html>"), Unexpected),
    ],
)
def test_what_the_relay_refuses(
    served: FakeOneApi, answer: httpx.Response, kind: type[ServiceError]
) -> None:
    served.upstream = answer
    with pytest.raises(kind) as failed:
        relay(served).probe("chat", "qwen")
    assert type(failed.value) is kind


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (error(401, "no such key", "upstream_error", "bad_response_status_code"), (401, True)),
        # In OpenAI's own form: not a wrong token of ours.
        (error(401, "No such key.", "invalid_request_error", "bad_key"), (401, True)),
        (error(500, "dial tcp", "one_api_error", "do_request_failed"), (500, False)),
    ],
)
def test_what_is_behind_the_relay_failed(
    served: FakeOneApi, answer: httpx.Response, seen: tuple[int, bool]
) -> None:
    served.upstream = answer
    with pytest.raises(UpstreamFailed) as failed:
        relay(served).probe("chat", "qwen")
    assert (failed.value.status, failed.value.connected) == seen


def test_an_echoed_key_is_masked(served: FakeOneApi) -> None:
    served.upstream = error(401, f"wrong key sk-{KEY}", "one_api_error")
    with pytest.raises(Unauthorized, match="wrong key") as failed:
        relay(served).chat("qwen", "Hi")
    assert KEY not in str(failed.value)


def test_an_answer_without_what_was_asked_for(served: FakeOneApi) -> None:
    body: dict[str, Any] = {"data": [{"embedding": []}]}
    served.upstream = httpx.Response(200, json=body)
    with pytest.raises(Unexpected, match="an empty answer"):
        relay(served).probe("embedding", "qwen")
