"""OneAPI's root, channels and tokens: adopt, see drift, mend it, leave nothing behind."""

from __future__ import annotations

from typing import Any

import httpx
import pulumi
import pytest

from provisioning.clients.http import DeadlineExceeded, Unauthorized
from provisioning.clients.oneapi import UpstreamFailed
from stack.resources.base import LabProvider
from stack.resources.declaration import Props
from stack.resources.oneapi.channel import Channel
from stack.resources.oneapi.root import Root
from stack.resources.oneapi.token import Token
from tests.unit.fake_services import FakeClock, FakeOneApi

ENDPOINT = {"host": "1.2.3.4", "ssh_port": 22, "user": "root", "host_key": "k", "port": 3001}
RELAY_KEY = "z" * 48
PASSWORD = "a-good-password"


@pytest.fixture
def service() -> FakeOneApi:
    return FakeOneApi()


def ready(provider: LabProvider, service: FakeOneApi) -> Any:
    provider.transport = service.transport
    provider.clock = FakeClock()
    return provider


@pytest.fixture
def root(service: FakeOneApi) -> LabProvider:
    made: LabProvider = ready(LabProvider(Root), service)
    return made


@pytest.fixture
def channels(service: FakeOneApi) -> LabProvider:
    service.add_token(name="fastgpt")
    made: LabProvider = ready(LabProvider(Channel), service)
    return made


@pytest.fixture
def tokens(service: FakeOneApi) -> LabProvider:
    made: LabProvider = ready(LabProvider(Token), service)
    return made


def channel(service: FakeOneApi, **more: Any) -> Props:
    return {
        "endpoint": ENDPOINT,
        "access_token": service.access_token,
        "name": "xinference-chat",
        "type": 1,
        "base_url": "http://xinference:9997",
        "models": ["qwen"],
        "model_mapping": {},
        "key": "none",
        "priority": 0,
        "kind": "chat",
        "probe": "qwen",
        "relay_key": f"sk-{RELAY_KEY}",
        **more,
    }


def token(service: FakeOneApi, **more: Any) -> Props:
    return {
        "endpoint": ENDPOINT,
        "access_token": service.access_token,
        "name": "users",
        "models": [],
        **more,
    }


def create(provider: LabProvider, props: Props) -> Props:
    outs = provider.create(props).outs
    assert outs is not None
    return outs


def refreshed(provider: LabProvider, outs: Props) -> Props:
    result = provider.read("id", outs)
    assert result.id is not None
    assert result.outs is not None
    return result.outs


def healed(provider: LabProvider, outs: Props, wanted: Props) -> Props:
    """Refresh, see that there is something to mend, and mend it."""
    seen = refreshed(provider, outs)
    assert provider.diff("id", seen, wanted).changes
    assert not provider.diff("id", seen, wanted).replaces
    new = provider.update("id", seen, wanted).outs
    assert new is not None
    again = refreshed(provider, new)
    assert not provider.diff("id", again, wanted).changes
    return new


# -- root ---------------------------------------------------------------------------------------


def test_the_first_contact_sets_the_password(root: LabProvider, service: FakeOneApi) -> None:
    outs = create(root, {"endpoint": ENDPOINT, "password": PASSWORD})

    assert service.password == PASSWORD
    assert outs["access_token"] == service.access_token
    assert [body["password"] for body in service.login_bodies] == [PASSWORD, "123456"]


def test_an_interrupted_first_contact_is_taken_up(root: LabProvider, service: FakeOneApi) -> None:
    service.password = PASSWORD

    create(root, {"endpoint": ENDPOINT, "password": PASSWORD})

    assert service.logins == 1


def test_a_read_tries_the_password_once(root: LabProvider, service: FakeOneApi) -> None:
    outs = create(root, {"endpoint": ENDPOINT, "password": PASSWORD})
    before = service.logins

    assert refreshed(root, outs) == outs
    assert service.logins == before + 1


def test_a_password_changed_by_hand_is_seen_and_set_again(
    root: LabProvider, service: FakeOneApi
) -> None:
    wanted = {"endpoint": ENDPOINT, "password": PASSWORD}
    outs = create(root, wanted)
    service.password = "changed-by-hand"

    healed(root, outs, wanted)

    assert service.password == PASSWORD


def test_a_password_that_cannot_be_tried_counts_as_unchanged(
    root: LabProvider, service: FakeOneApi
) -> None:
    outs = create(root, {"endpoint": ENDPOINT, "password": PASSWORD})
    service.too_many_logins = True

    assert refreshed(root, outs) == outs


@pytest.mark.parametrize("broken", ["password", "access_token"])
def test_a_database_that_is_down_is_no_drift(
    root: LabProvider,
    service: FakeOneApi,
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    outs = create(root, {"endpoint": ENDPOINT, "password": PASSWORD})
    setattr(service, broken, "what nobody can look up")
    service.database_down = True

    assert refreshed(root, outs) == outs
    assert "docker logs mysql" in "".join(told)


def test_a_changed_password_goes_by_the_access_token(
    root: LabProvider, service: FakeOneApi
) -> None:
    outs = create(root, {"endpoint": ENDPOINT, "password": PASSWORD})
    before = service.logins

    new = root.update("root", outs, {"endpoint": ENDPOINT, "password": "another-password"}).outs

    assert service.password == "another-password"
    assert service.logins == before
    assert new is not None
    assert new["access_token"] == service.access_token


def test_a_token_rotated_by_hand_is_seen_and_fetched_again(
    root: LabProvider, service: FakeOneApi
) -> None:
    wanted = {"endpoint": ENDPOINT, "password": PASSWORD}
    outs = create(root, wanted)
    service.access_token = "b" * 32

    new = healed(root, outs, wanted)

    assert new["access_token"] == "b" * 32


def test_neither_password_is_accepted(root: LabProvider, service: FakeOneApi) -> None:
    service.password = "somebody-elses"

    with pytest.raises(Unauthorized, match="oneapiPassword") as error:
        root.create({"endpoint": ENDPOINT, "password": PASSWORD})
    assert PASSWORD not in str(error.value)


# -- channels -----------------------------------------------------------------------------------


def test_a_channel_is_made_and_proven(channels: LabProvider, service: FakeOneApi) -> None:
    wanted = channel(service)
    outs = create(channels, wanted)

    assert service.channels[outs["channel_id"]]["models"] == "qwen"
    assert [body["model"] for body in service.relayed] == ["qwen", "qwen"]
    # First ours and no other, then as everybody asks.
    assert service.pinned == [outs["channel_id"], None]
    assert not channels.diff("id", refreshed(channels, outs), wanted).changes


def test_another_channel_of_the_model_does_not_answer_for_ours(
    channels: LabProvider, service: FakeOneApi
) -> None:
    service.add_channel(name="by-hand", type=1, models="qwen")
    error = {"message": "bad key", "type": "upstream_error", "code": "bad_response_status_code"}
    service.upstream = httpx.Response(401, json={"error": error})
    service.other_channel = httpx.Response(200, json={"choices": [{"message": {"content": "Hi"}}]})

    with pytest.raises(UpstreamFailed, match="bad key"):
        channels.create(channel(service))


def test_another_channel_of_the_model_does_not_fail_ours_at_once(
    channels: LabProvider, service: FakeOneApi
) -> None:
    service.add_channel(name="by-hand", type=1, models="qwen")
    error = {"message": "bad key", "type": "upstream_error", "code": "bad_response_status_code"}
    service.other_channel = httpx.Response(401, json={"error": error})
    clock = FakeClock()
    channels.clock = clock

    def chance_chooses_ours() -> None:
        if clock.passed > 10:
            service.other_channel = None

    clock.on_sleep = chance_chooses_ours
    create(channels, channel(service))
    assert clock.passed > 10


def test_another_channel_of_the_model_that_always_fails_is_named(
    channels: LabProvider, service: FakeOneApi
) -> None:
    error = {"message": "bad key", "type": "upstream_error", "code": "bad_response_status_code"}
    service.other_channel = httpx.Response(401, json={"error": error})

    with pytest.raises(DeadlineExceeded, match="bad key") as failed:
        channels.create(channel(service))
    assert "another channel lists qwen" in failed.value.advice


def test_a_paid_channel_is_not_proven(channels: LabProvider, service: FakeOneApi) -> None:
    create(channels, channel(service, probe=""))

    assert service.relayed == []


def test_a_channel_that_does_not_route_is_not_made(
    channels: LabProvider, service: FakeOneApi
) -> None:
    with pytest.raises(DeadlineExceeded, match="无可用渠道") as error:
        channels.create(channel(service, probe="nobody"))
    assert "nobody" in error.value.waited_for
    assert "xinference-chat" in error.value.advice


def test_an_upstream_that_comes_up_later_is_waited_for(
    channels: LabProvider, service: FakeOneApi
) -> None:
    error = {"message": "refused", "type": "one_api_error", "code": "do_request_failed"}
    service.upstream = httpx.Response(500, json={"error": error})
    clock = FakeClock()
    channels.clock = clock

    def comes_up() -> None:
        if clock.passed > 20:
            service.upstream = None

    clock.on_sleep = comes_up
    create(channels, channel(service))
    assert clock.passed > 20


def test_a_wrong_key_upstream_is_not_waited_for(channels: LabProvider, service: FakeOneApi) -> None:
    error = {"message": "bad key", "type": "upstream_error", "code": "bad_response_status_code"}
    service.upstream = httpx.Response(401, json={"error": error})

    with pytest.raises(UpstreamFailed, match="bad key"):
        channels.create(channel(service))
    assert channels.clock.monotonic() == 0


def test_a_leftover_is_adopted_and_doubles_are_removed(
    channels: LabProvider, service: FakeOneApi
) -> None:
    service.add_channel(name="xinference-chat", type=8, models="old")
    newest = service.add_channel(name="xinference-chat", type=1, models="older")
    other = service.add_channel(name="xinference-chat-2", type=1, models="x")

    outs = create(channels, channel(service))

    assert outs["channel_id"] == newest
    assert set(service.channels) == {newest, other}
    assert service.channels[newest]["models"] == "qwen"


@pytest.mark.parametrize(
    "edit",
    [
        {"models": "qwen,other"},
        {"models": " qwen"},
        {"base_url": "http://elsewhere:1"},
        {"status": 2},
        {"status": 3},
        {"name": "renamed"},
        {"model_mapping": '{"qwen": "x"}'},
        {"priority": 5},
        {"type": 8},
    ],
    ids=str,
)
def test_an_edit_by_hand_is_seen_and_mended(
    channels: LabProvider, service: FakeOneApi, edit: dict[str, Any]
) -> None:
    wanted = channel(service)
    outs = create(channels, wanted)
    before = dict(service.channels[outs["channel_id"]])
    service.channels[outs["channel_id"]].update(edit)

    healed(channels, outs, wanted)

    assert service.channels[outs["channel_id"]] == before


def test_a_double_made_by_hand_is_seen_and_removed(
    channels: LabProvider, service: FakeOneApi
) -> None:
    wanted = channel(service)
    outs = create(channels, wanted)
    service.add_channel(name="xinference-chat", type=1, models="qwen")

    healed(channels, outs, wanted)

    assert list(service.channels) == [outs["channel_id"]]


def test_a_deleted_channel_is_gone(channels: LabProvider, service: FakeOneApi) -> None:
    outs = create(channels, channel(service))
    service.channels.clear()

    assert channels.read("id", outs).id is None


def test_one_made_again_by_hand_gets_our_key(channels: LabProvider, service: FakeOneApi) -> None:
    wanted = channel(service, key="our-key")
    outs = create(channels, wanted)
    service.channels.clear()
    again = service.add_channel(
        name="xinference-chat", type=1, base_url=wanted["base_url"], models="qwen", key="theirs"
    )

    new = healed(channels, outs, wanted)

    assert new["channel_id"] == again
    assert service.channels[again]["key"] == "our-key"


def test_a_channel_gone_between_refresh_and_update_is_made_anew(
    channels: LabProvider, service: FakeOneApi
) -> None:
    outs = create(channels, channel(service))
    service.channels.clear()

    new = channels.update("id", outs, channel(service, models=["qwen", "glm"])).outs

    assert new is not None
    assert service.channels[new["channel_id"]]["models"] == "qwen,glm"


def test_a_new_token_or_relay_key_calls_nothing(channels: LabProvider, service: FakeOneApi) -> None:
    outs = create(channels, channel(service))
    calls = len(service.calls)
    news = channel(service, access_token="n" * 32, relay_key="another")

    assert channels.diff("id", outs, news).changes
    new = channels.update("id", outs, news).outs

    assert new is not None
    assert new == {**outs, "access_token": "n" * 32, "relay_key": "another"}
    assert len(service.calls) == calls


def test_another_probe_is_sent(channels: LabProvider, service: FakeOneApi) -> None:
    outs = create(channels, channel(service))

    channels.update("id", outs, channel(service, kind="embedding"))

    assert service.calls[-1] == ("POST", "/v1/embeddings")
    assert service.called("PUT") == []


def test_delete_takes_doubles_along_and_may_be_repeated(
    channels: LabProvider, service: FakeOneApi
) -> None:
    outs = create(channels, channel(service))
    service.add_channel(name="xinference-chat", type=1)

    channels.delete("id", outs)
    channels.delete("id", outs)

    assert service.channels == {}


def test_an_invalid_access_token_is_not_gone(channels: LabProvider, service: FakeOneApi) -> None:
    outs = create(channels, channel(service))
    service.access_token = "b" * 32

    assert channels.read("id", outs).outs == outs


def test_unreachable_is_not_gone(channels: LabProvider, service: FakeOneApi) -> None:
    outs = create(channels, channel(service))
    service.down = True

    assert refreshed(channels, outs) == outs


@pytest.mark.parametrize("key", ["", " \n"])
def test_an_empty_key_is_refused_before_it_is_sent(
    channels: LabProvider, service: FakeOneApi, key: str
) -> None:
    failures = channels.check({}, channel(service, key=key)).failures

    assert [failure.property for failure in failures] == ["key"]


# -- tokens -------------------------------------------------------------------------------------


def test_a_token_is_made_with_its_key(tokens: LabProvider, service: FakeOneApi) -> None:
    wanted = token(service)
    outs = create(tokens, wanted)

    assert outs["key"] == "sk-" + service.tokens[outs["token_id"]]["key"]
    assert service.tokens[outs["token_id"]]["unlimited_quota"] is True
    assert not tokens.diff("id", refreshed(tokens, outs), wanted).changes


def test_a_leftover_token_keeps_its_key(tokens: LabProvider, service: FakeOneApi) -> None:
    left = service.add_token(name="users", unlimited_quota=False)

    outs = create(tokens, token(service))

    assert (outs["token_id"], outs["key"]) == (left, f"sk-{RELAY_KEY}")
    assert list(service.tokens) == [left]


@pytest.mark.parametrize(
    "edit",
    [
        {"models": "x"},
        {"unlimited_quota": False},
        {"expired_time": 5},
        {"status": 2},
        {"name": "r"},
    ],
    ids=str,
)
def test_a_token_edited_by_hand_is_seen_and_mended(
    tokens: LabProvider, service: FakeOneApi, edit: dict[str, Any]
) -> None:
    wanted = token(service)
    outs = create(tokens, wanted)
    service.tokens[outs["token_id"]].update(edit)

    new = healed(tokens, outs, wanted)

    assert new["key"] == outs["key"]


def test_a_token_made_twice_or_deleted_by_hand(tokens: LabProvider, service: FakeOneApi) -> None:
    wanted = token(service)
    outs = create(tokens, wanted)
    service.add_token(name="users")

    healed(tokens, outs, wanted)
    assert list(service.tokens) == [outs["token_id"]]

    service.tokens.clear()
    assert tokens.read("id", outs).id is None
    tokens.delete("id", outs)
