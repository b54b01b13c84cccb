"""OneAPI's client against its measured habits (`docs/facts/oneapi.md`)."""

from __future__ import annotations

import httpx
import pytest

from provisioning.clients.http import (
    NotFound,
    RateLimited,
    Refused,
    Unauthorized,
    Unexpected,
    Unreachable,
)
from provisioning.clients.oneapi import (
    Channel,
    NoChannel,
    OneApiClient,
    OneApiRelay,
    Token,
    UpstreamFailed,
    clean_models,
)
from provisioning.clients.oneapi.relay import silence
from tests.unit.fake_services import FakeClock, FakeOneApi

KEY = "z" * 48


@pytest.fixture
def service() -> FakeOneApi:
    return FakeOneApi()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client(service: FakeOneApi, clock: FakeClock) -> OneApiClient:
    return OneApiClient(
        "http://x:3001",
        access_token=service.access_token,
        transport=service.transport,
        clock=clock,
    )


def relay(service: FakeOneApi, key: str = KEY) -> OneApiRelay:
    return OneApiRelay("http://x:3001", key, transport=service.transport, clock=FakeClock())


def wanted(name: str = "xinference-chat", **more: object) -> Channel:
    fields = {"type": 1, "base_url": "http://xinference:9997", "models": ("qwen",), "key": "none"}
    return Channel(name=name, **{**fields, **more})  # type: ignore[arg-type]


def test_login_takes_up_the_token_that_is_there_and_drops_the_cookie(service: FakeOneApi) -> None:
    client = OneApiClient("http://x", transport=service.transport, clock=FakeClock())

    assert client.login("root", "123456") == service.access_token
    # GET /api/user/token would make a new token and end the old one.
    assert "/api/user/token" not in service.called("GET")
    service.access_token = "b" * 32
    with pytest.raises(Unauthorized):
        client.me()


def test_a_refused_login_names_the_database_too(service: FakeOneApi) -> None:
    client = OneApiClient("http://x", transport=service.transport, clock=FakeClock())

    with pytest.raises(Unauthorized, match="database") as error:
        client.login("root", "wrong-password")
    assert "wrong-password" not in str(error.value)


def test_http_200_is_no_success(client: OneApiClient) -> None:
    with pytest.raises(Refused, match="输入不合法"):
        client.set_password("short")


def test_an_invalid_access_token_is_told_apart(service: FakeOneApi) -> None:
    client = OneApiClient(
        "http://x", access_token="c" * 32, transport=service.transport, clock=FakeClock()
    )

    with pytest.raises(Unauthorized):
        client.channels()


def test_too_many_requests_are_waited_out(
    client: OneApiClient, service: FakeOneApi, clock: FakeClock
) -> None:
    service.too_many = 3

    assert client.channels() == []
    assert clock.passed > 0


def test_too_many_requests_for_too_long(client: OneApiClient, service: FakeOneApi) -> None:
    service.too_many = 10**6

    with pytest.raises(RateLimited, match="restart the OneAPI container"):
        client.channels()


def test_lists_go_over_all_pages(client: OneApiClient, service: FakeOneApi) -> None:
    for number in range(23):
        service.add_channel(name=f"c{number}", type=1)

    assert len(client.channels()) == 23


def test_names_are_matched_exactly_though_the_search_goes_by_prefix(
    client: OneApiClient, service: FakeOneApi
) -> None:
    service.add_channel(name="chat-2", type=1)
    old = service.add_channel(name="chat", type=1)
    new = service.add_channel(name="chat", type=1)

    assert [found.id for found in client.channels_named("chat")] == [new, old]


def test_a_made_channel_is_clean(client: OneApiClient, service: FakeOneApi) -> None:
    made = client.create_channel(
        wanted(
            base_url="http://xinference:9997/",
            models=(" qwen ", "Qwen", "alias"),
            model_mapping={"alias": "upstream"},
            key="secret-key\r\n",
        )
    )

    row = service.channels[made]
    assert row["models"] == "qwen,alias"
    assert row["base_url"] == "http://xinference:9997"
    assert row["model_mapping"] == '{"alias": "upstream"}'
    assert row["key"] == "secret-key"


def test_the_id_of_a_new_channel_is_not_that_of_an_older_one_of_its_name(
    client: OneApiClient, service: FakeOneApi
) -> None:
    old = service.add_channel(name="xinference-chat", type=1)

    assert client.create_channel(wanted()) > old


def test_a_yes_without_a_new_channel_is_not_believed(
    client: OneApiClient, service: FakeOneApi
) -> None:
    service.add_channel(name="xinference-chat", type=1)
    service.forgets_channels = True

    with pytest.raises(Unexpected, match="no new channel"):
        client.create_channel(wanted())


def test_what_a_refused_post_leaves_is_removed(
    client: OneApiClient, service: FakeOneApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if our cleaning had missed a double: the row stays behind.
    monkeypatch.setattr(
        "provisioning.clients.oneapi.rows.clean_models", lambda _: ("qwen", "QWEN")
    )
    older = service.add_channel(name="xinference-chat", type=1)

    with pytest.raises(Refused, match="UNIQUE"):
        client.create_channel(wanted())
    assert list(service.channels) == [older]


def test_an_update_of_a_channel_that_is_gone_sends_no_put(
    client: OneApiClient, service: FakeOneApi
) -> None:
    with pytest.raises(NotFound):
        client.update_channel(99, wanted())
    assert service.called("PUT") == []


def test_an_update_enables_the_channel(client: OneApiClient, service: FakeOneApi) -> None:
    channel_id = service.add_channel(name="xinference-chat", type=1)
    service.channels[channel_id]["status"] = 2

    client.update_channel(channel_id, wanted())

    assert service.channels[channel_id]["status"] == 1


def test_a_mapping_that_oneapi_would_ignore_is_shown_as_different(
    client: OneApiClient, service: FakeOneApi
) -> None:
    channel_id = service.add_channel(name="c", type=1, model_mapping="{broken")

    assert client.channel(channel_id).model_mapping == {"": "{broken"}


def test_a_token_keeps_what_is_not_ours_to_change(
    client: OneApiClient, service: FakeOneApi
) -> None:
    token_id = service.add_token(
        name="users", remain_quota=7, unlimited_quota=False, expired_time=-1, subnet="10.0.0.0/8"
    )

    client.update_token(
        token_id, Token(name="users", unlimited=False, remain_quota=100), set_quota=False
    )

    row = service.tokens[token_id]
    assert (row["remain_quota"], row["subnet"], row["expired_time"]) == (7, "10.0.0.0/8", -1)


def test_deleting_twice_is_no_error(client: OneApiClient, service: FakeOneApi) -> None:
    client.delete_token(99)
    client.delete_channel(99)

    assert service.called("DELETE") == ["/api/token/99", "/api/channel/99"]


def test_keys_are_not_in_any_repr(client: OneApiClient, service: FakeOneApi) -> None:
    token = client.token(service.add_token(name="users"))

    assert KEY not in repr(token)
    assert "top-secret" not in repr(wanted(key="top-secret"))
    assert service.access_token not in repr(client)


def test_models_are_stripped_and_each_there_once() -> None:
    assert clean_models([" a", "A ", "", "b", " "]) == ("a", "b")


@pytest.mark.parametrize("key", [KEY, f"sk-{KEY}"])
@pytest.mark.parametrize("kind", ["chat", "embedding", "transcription"])
def test_a_probe_is_a_real_request(service: FakeOneApi, kind: str, key: str) -> None:
    service.add_token(name="fastgpt")
    service.add_channel(name="c", type=1, models="qwen")

    relay(service, key).probe(kind, "qwen")

    paths = {
        "chat": "/v1/chat/completions",
        "embedding": "/v1/embeddings",
        "transcription": "/v1/audio/transcriptions",
    }
    assert service.called("POST") == [paths[kind]]


def test_no_kind_is_made_up(service: FakeOneApi) -> None:
    with pytest.raises(ValueError, match="relays no rerank"):
        relay(service).probe("rerank", "bge")


def test_no_channel_is_told_from_the_rest(service: FakeOneApi) -> None:
    service.add_token(name="fastgpt")

    with pytest.raises(NoChannel, match="无可用渠道"):
        relay(service).probe("chat", "qwen")


def test_an_upstreams_401_is_not_the_tokens(service: FakeOneApi) -> None:
    service.add_token(name="fastgpt")
    service.add_channel(name="c", type=1, models="qwen")
    error = {"message": "no such key", "type": "upstream_error", "code": "bad_response_status_code"}
    service.upstream = httpx.Response(401, json={"error": error})

    with pytest.raises(UpstreamFailed) as failed:
        relay(service).probe("chat", "qwen")
    assert (failed.value.status, failed.value.connected) == (401, True)


def test_an_upstream_that_is_not_there(service: FakeOneApi) -> None:
    service.add_token(name="fastgpt")
    service.add_channel(name="c", type=1, models="qwen")
    error = {"message": "dial tcp", "type": "one_api_error", "code": "do_request_failed"}
    service.upstream = httpx.Response(500, json={"error": error})

    with pytest.raises(UpstreamFailed) as failed:
        relay(service).probe("chat", "qwen")
    assert not failed.value.connected


def test_a_wrong_token_is_unauthorized_and_not_shown(service: FakeOneApi) -> None:
    with pytest.raises(Unauthorized) as error:
        relay(service, "wrongwrongwrong").probe("chat", "qwen")
    assert "wrongwrong" not in str(error.value)


def test_unreachable_is_its_own_error(client: OneApiClient, service: FakeOneApi) -> None:
    service.down = True

    with pytest.raises(Unreachable):
        client.channels()


def test_silence_is_a_wav_file() -> None:
    assert silence()[:4] == b"RIFF"


def test_a_request_can_be_bound_to_one_channel(service: FakeOneApi) -> None:
    service.add_token(name="fastgpt")
    ours = service.add_channel(name="ours", type=1, models="qwen")
    pinned = OneApiRelay(
        "http://x:3001", f"sk-{'z' * 48}", channel_id=ours, transport=service.transport
    )

    pinned.chat("qwen", "Hi")

    assert service.pinned == [ours]
    assert "z" * 48 not in repr(pinned)


def test_a_providers_error_in_openais_form_is_the_providers(service: FakeOneApi) -> None:
    service.add_token(name="fastgpt")
    service.add_channel(name="c", type=1, models="qwen")
    error = {"message": "No such key.", "type": "invalid_request_error", "code": "bad_key"}
    service.upstream = httpx.Response(401, json={"error": error})

    with pytest.raises(UpstreamFailed, match="No such key") as failed:
        relay(service).probe("chat", "qwen")
    assert (failed.value.status, failed.value.connected) == (401, True)


def test_a_path_that_oneapi_does_not_know_is_its_own_error(service: FakeOneApi) -> None:
    service.add_token(name="fastgpt")
    service.add_channel(name="c", type=1, models="qwen")
    error = {"message": "Invalid URL (POST /v1/rerank)", "type": "invalid_request_error"}
    service.upstream = httpx.Response(404, json={"error": error})

    with pytest.raises(NotFound):
        relay(service).probe("chat", "qwen")
