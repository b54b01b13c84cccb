"""Our client and relay on the real OneAPI (docs/facts/oneapi.md §3 to §7)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from provisioning.clients.errors import NotFound, RateLimited, Refused, Unauthorized
from provisioning.clients.oneapi import (
    FIRST_PASSWORD,
    Channel,
    NoChannel,
    OneApiClient,
    Token,
    UpstreamFailed,
)
from provisioning.clients.oneapi.management import RATE_LIMIT_SECONDS
from tests.contract.oneapi.client_subject import OurSide
from tests.contract.oneapi.subject import OneApi
from tests.contract.upstream import Upstream

Start = Callable[..., OneApi]


@pytest.fixture
def ours(oneapi: OneApi) -> OurSide:
    """Our side of the shared OneAPI."""
    return OurSide(oneapi)


@pytest.fixture
def client(ours: OurSide) -> OneApiClient:
    """Our client, as root."""
    return ours.client()


@pytest.fixture
def channel(oneapi: OneApi, upstream: Upstream) -> Channel:
    """A channel to the upstream, not made yet; its one model is called as itself."""
    name = oneapi.new_name()
    return _channel(name, upstream.base_url)


def _channel(
    name: str, base_url: str = "", models: tuple[str, ...] = (), key: str = "k", **more: Any
) -> Channel:
    """A channel of OpenAI's type; its model is called as itself unless `models` are given."""
    return Channel(name=name, type=1, base_url=base_url, models=models or (name,), key=key, **more)


# Root


def test_a_login_takes_up_the_token_that_is_there(start: Start) -> None:
    """A login hands out the boot-time access token and does not rotate it (§3, trap 5)."""
    oneapi = start()
    ours = OurSide(oneapi)
    with ours.client("") as client:
        first = client.login("root", FIRST_PASSWORD)
        assert client.me()["access_token"] == first
    with ours.client("") as client:
        assert client.login("root", FIRST_PASSWORD) == first
    assert ("GET", "/api/user/token") not in ours.network.calls


def test_a_new_password_keeps_the_access_token(start: Start) -> None:
    """A password is set without the old one; the token goes on, the old password does not (§3)."""
    oneapi = start()
    ours = OurSide(oneapi)
    with ours.client("") as client:
        token = client.login("root", FIRST_PASSWORD)
        client.set_password("a-good-password")
        assert client.me()["username"] == "root"
    with ours.client("") as client:
        with pytest.raises(Unauthorized):
            client.login("root", FIRST_PASSWORD)
        assert client.login("root", "a-good-password") == token


def test_a_password_of_the_wrong_length_is_refused(start: Start) -> None:
    """21 characters are refused, and the text of the error does not hold them (trap 6)."""
    oneapi = start()
    with OurSide(oneapi).client("") as client:
        client.login("root", FIRST_PASSWORD)
        with pytest.raises(Refused) as error:
            client.set_password("p" * 21)
    assert "p" * 21 not in str(error.value)


@pytest.mark.parametrize("token", ["", "0" * 32])
def test_no_access_token_and_a_wrong_one_are_unauthorized(ours: OurSide, token: str) -> None:
    """HTTP 401 without a token, HTTP 200 with a wrong one: both are Unauthorized (trap 1)."""
    with ours.client(token) as client, pytest.raises(Unauthorized):
        client.channels()


# Limits


def test_a_limit_is_waited_out(start: Start) -> None:
    """429 is waited out, and the call then goes through (§3, trap 5)."""
    oneapi = start(GLOBAL_API_RATE_LIMIT="3")
    ours = OurSide(oneapi)
    ours.network.address = "10.1.0.1"

    def the_window_ends() -> None:
        if ours.clock.passed >= 30:
            ours.network.address = "10.1.0.2"

    ours.clock.on_sleep = the_window_ends
    with ours.client("") as client:
        for _ in range(4):
            assert client._call("GET", "/api/status")["system_name"]
    assert ours.clock.passed == 30


def test_a_limit_that_does_not_end_is_an_error(start: Start) -> None:
    """429 for longer than the deadline is RateLimited, with what to do (§3, trap 5)."""
    oneapi = start(GLOBAL_API_RATE_LIMIT="2")
    ours = OurSide(oneapi)
    ours.network.address = "10.1.0.3"
    with ours.client("") as client:
        client._call("GET", "/api/status")
        client._call("GET", "/api/status")
        with pytest.raises(RateLimited, match="restart the OneAPI container"):
            client._call("GET", "/api/status")
    assert ours.clock.passed == RATE_LIMIT_SECONDS


def test_too_many_logins_are_not_a_wrong_password(start: Start) -> None:
    """The 21st login within 20 minutes is RateLimited, though its password is right (trap 5)."""
    oneapi = start()
    ours = OurSide(oneapi)
    ours.network.address = "10.1.0.4"
    for _ in range(20):
        oneapi.login(client=ours.network.address)
    with ours.client("") as client, pytest.raises(RateLimited):
        client.login("root", FIRST_PASSWORD)


# Channels


def test_a_channel_is_made_and_found_by_its_exact_name(
    client: OneApiClient, channel: Channel, oneapi: OneApi
) -> None:
    """POST tells no id: it is found by name, a longer name of the same beginning is not (§4)."""
    longer = oneapi.add_channel(name=f"{channel.name}-2", models=f"{channel.name}-2")
    made = client.create_channel(channel)
    assert made != longer
    (found,) = client.channels_named(channel.name)
    assert (found.id, found.models, found.base_url) == (made, channel.models, channel.base_url)
    assert (found.key, found.status) == ("", 1)


def test_a_second_channel_of_a_name_has_an_id_of_its_own(
    client: OneApiClient, channel: Channel
) -> None:
    """Names are not unique: the id told is that of the one just made (trap 7)."""
    first = client.create_channel(channel)
    second = client.create_channel(channel)
    assert second > first
    assert [found.id for found in client.channels_named(channel.name)] == [second, first]


def test_models_are_stripped_and_deduplicated(
    ours: OurSide, channel: Channel, upstream: Upstream
) -> None:
    """Blanks and doubles, whatever their case, do not reach OneAPI; all of it routes (trap 8)."""
    name = channel.name
    models = (f" {name} ", name.upper(), f"{name}-b", "", name)
    with ours.client() as client:
        made = client.create_channel(_channel(name, upstream.base_url + "/", models, key="k\n"))
        assert client.channel(made).models == (name, f"{name}-b")
        assert client.channel(made).base_url == upstream.base_url
        assert len(client.channels_named(name)) == 1
    with ours.relay() as relay:
        assert relay.chat(name, "Hi") == f"I am {name}"
        assert relay.chat(f"{name}-b", "Hi") == f"I am {name}-b"
    assert upstream.asked[-1].headers["authorization"] == "Bearer k"


def test_what_a_refused_post_leaves_behind_is_removed(ours: OurSide, channel: Channel) -> None:
    """A refused POST leaves a half-made row: it is deleted, older ones of the name stay (§4)."""

    def twice_the_same_model(request: httpx.Request) -> dict[str, Any] | None:
        if (request.method, request.url.path) != ("POST", "/api/channel/"):
            return None
        return {**json.loads(request.content), "models": "same,same"}

    with ours.client() as client:
        older = client.create_channel(channel)
        ours.network.spoil = twice_the_same_model
        with pytest.raises(Refused):
            client.create_channel(channel)
        assert [found.id for found in client.channels_named(channel.name)] == [older]
    assert "DELETE" in [method for method, _ in ours.network.calls]


def test_an_update_of_a_vanished_channel_leaves_no_ghost(
    ours: OurSide, channel: Channel, oneapi: OneApi
) -> None:
    """PUT to a missing id would say yes and list a ghost: it is NotFound, never sent (trap 7)."""
    with ours.client() as client, pytest.raises(NotFound):
        client.update_channel(987_001, channel)
    assert ours.network.changes() == []
    assert channel.name not in oneapi.models()


def test_an_update_can_take_things_away(
    ours: OurSide, channel: Channel, upstream: Upstream, oneapi: OneApi
) -> None:
    """PUT is partial, yet mapping and priority can be cleared, and it is enabled again (trap 9)."""
    name = channel.name
    mapped = _channel(name, upstream.base_url, model_mapping={name: "up"}, priority=7)
    with ours.client() as client, ours.relay() as relay:
        made = client.create_channel(mapped)
        assert relay.chat(name, "Hi") == "I am up"
        oneapi.api("PUT", "/api/channel/", {"id": made, "status": 2})
        client.update_channel(made, channel)
        found = client.channel(made)
        assert (dict(found.model_mapping), found.priority, found.status) == ({}, 0, 1)
        assert relay.chat(name, "Hi") == f"I am {name}"


def test_the_key_is_in_no_error(ours: OurSide, channel: Channel) -> None:
    """What is refused is told without the key, which PUT and OneAPI's log show (trap 9)."""

    def twice_the_same_model(request: httpx.Request) -> dict[str, Any] | None:
        if (request.method, request.url.path) != ("PUT", "/api/channel/"):
            return None
        return {**json.loads(request.content), "models": "same,same"}

    secret = _channel(channel.name, key="very-secret-key")
    with ours.client() as client:
        made = client.create_channel(secret)
        ours.network.spoil = twice_the_same_model
        with pytest.raises(Refused) as error:
            client.update_channel(made, secret)
        assert "very-secret-key" not in str(error.value)
        client.delete_channel(made)


def test_deleting_twice_is_done_twice(client: OneApiClient, channel: Channel) -> None:
    """A DELETE of what is gone is no error (§4)."""
    made = client.create_channel(channel)
    client.delete_channel(made)
    client.delete_channel(made)
    with pytest.raises(NotFound):
        client.channel(made)


def test_all_pages_are_read(start: Start) -> None:
    """Twelve channels and twelve tokens are two pages, and all of them are found (§4, §5)."""
    oneapi = start()
    oneapi.become_root()
    with OurSide(oneapi).client() as client:
        for number in range(12):
            client.create_channel(_channel(f"c{number}"))
            client.create_token(Token(name=f"t{number}"))
        assert [found.name for found in client.channels()] == [f"c{n}" for n in range(11, -1, -1)]
        assert client.tokens_named("t0")


# Tokens


def test_an_update_of_a_token_keeps_what_is_not_ours(
    ours: OurSide, oneapi: OneApi, channel: Channel
) -> None:
    """PUT replaces a token whole, so it is read first: its subnet and key stay (trap 9)."""
    name = ours.token_name()
    with ours.client() as client, ours.relay() as relay:
        client.create_channel(channel)
        made = client.create_token(Token(name=name, unlimited=True))
        row = oneapi.api("GET", f"/api/token/{made.id}")["data"]
        oneapi.api("PUT", "/api/token/", {**row, "subnet": "127.0.0.0/8"})
        wanted = Token(name=name, models=(channel.name,), unlimited=True)
        changed = client.update_token(made.id, wanted)
        assert (changed.key, changed.models) == (made.key, channel.models)
        assert oneapi.api("GET", f"/api/token/{made.id}")["data"]["subnet"] == "127.0.0.0/8"
        assert relay.chat(channel.name, "Hi")
    with ours.relay(made.key) as relay:
        assert relay.chat(channel.name, "Hi")
        with pytest.raises(Refused, match="无权使用模型"):
            relay.chat("another", "Hi")


def test_a_vanished_token_is_not_found(client: OneApiClient) -> None:
    """GET and PUT of a missing token are NotFound, a DELETE is done already (§5)."""
    with pytest.raises(NotFound):
        client.token(987_002)
    with pytest.raises(NotFound):
        client.update_token(987_002, Token(name="x"))
    client.delete_token(987_002)


# Relay


def test_the_relays_errors_are_told_apart(
    ours: OurSide, channel: Channel, upstream: Upstream
) -> None:
    """No channel, a failing upstream and one that is down are three different things (§7)."""
    name = channel.name
    mapping = {f"{name}-b": "openai-401"}
    broken = _channel(f"{name}-broken", upstream.base_url, tuple(mapping), model_mapping=mapping)
    down = _channel(f"{name}-down", "http://127.0.0.1:9", (f"{name}-d",))
    with ours.client() as client, ours.relay() as relay:
        with pytest.raises(NoChannel):
            relay.probe("chat", name)
        for each in (channel, broken, down):
            client.create_channel(each)
        relay.probe("chat", name)
        relay.probe("embedding", name)
        with pytest.raises(UpstreamFailed) as failed:
            relay.probe("chat", f"{name}-b")
        assert (failed.value.status, failed.value.connected) == (401, True)
        with pytest.raises(UpstreamFailed) as failed:
            relay.probe("chat", f"{name}-d")
        assert not failed.value.connected
    with ours.relay("sk-unknown") as relay, pytest.raises(Unauthorized):
        relay.chat(name, "Hi")


def test_a_request_can_be_bound_to_one_channel(
    ours: OurSide, channel: Channel, upstream: Upstream
) -> None:
    """Root's key with a channel's id goes there, though another lists the model too (§2)."""
    name = channel.name
    mapped = _channel(name, upstream.base_url, model_mapping={name: "mine"})
    with ours.client() as client:
        client.create_channel(channel)
        mine = client.create_channel(mapped)
    with ours.relay(channel_id=mine) as relay:
        assert [relay.chat(name, "Hi") for _ in range(8)] == ["I am mine"] * 8
    with ours.relay(channel_id=987_003) as relay, pytest.raises(Refused, match="无效的渠道"):
        relay.chat(name, "Hi")
