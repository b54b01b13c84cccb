"""Our client and relay on the real OneAPI, in what no resource does with them (§3 to §7)."""

from collections.abc import Callable

import httpx
import pytest

from provisioning.clients.errors import RateLimited, Refused, Unauthorized, Unexpected
from provisioning.clients.oneapi import FIRST_PASSWORD, Channel, Token
from provisioning.clients.oneapi.management import RATE_LIMIT_SECONDS
from tests.contract.oneapi.subject import OneApi
from tests.contract.upstream import Upstream

Start = Callable[..., OneApi]


@pytest.fixture
def channel(oneapi: OneApi, upstream: Upstream) -> Channel:
    """A channel to the upstream, not made yet; its one model is called as itself."""
    return _channel(oneapi.new_name(), upstream.base_url)


def _channel(name: str, base_url: str = "") -> Channel:
    return Channel(name=name, type=1, base_url=base_url, models=(name,), key="a-secret-key")


# Root and limits


def test_no_password_is_in_an_error_and_a_login_drops_the_cookie(start: Start) -> None:
    """21 characters are refused; a wrong one looks like a database that is down (trap 6)."""
    oneapi = start()
    with oneapi.client("") as client:
        with pytest.raises(Unauthorized, match="database") as wrong:
            client.login("root", "wrong-password")
        oneapi.access_token = client.login("root", FIRST_PASSWORD)
        with pytest.raises(Refused) as long:
            client.set_password("p" * 21)
        oneapi.api("GET", "/api/user/token")
        # The cookie would go before the token.
        with pytest.raises(Unauthorized):
            client.me()
    assert "wrong-password" not in str(wrong.value)
    assert "p" * 21 not in str(long.value)


@pytest.mark.parametrize("token", ["", "0" * 32])
def test_no_access_token_and_a_wrong_one_are_unauthorized(oneapi: OneApi, token: str) -> None:
    """HTTP 401 without a token, HTTP 200 with a wrong one: both are Unauthorized (trap 1)."""
    with oneapi.client(token) as client, pytest.raises(Unauthorized):
        client.channels()


@pytest.mark.fault("OneAPI answering 429")
def test_a_limit_is_waited_out_until_the_deadline(start: Start) -> None:
    """429 is waited out; for longer it is RateLimited, with what to do (§3, trap 5)."""
    oneapi = start(GLOBAL_API_RATE_LIMIT="3")
    network, clock = oneapi.network, oneapi.clock
    network.address = "10.1.0.1"

    def the_window_ends() -> None:
        if clock.passed >= 30:
            network.address = "10.1.0.2"

    clock.on_sleep = the_window_ends
    with oneapi.client("") as client:
        for _ in range(6):
            assert client._call("GET", "/api/status")["system_name"]
        assert clock.passed == 30
        with pytest.raises(RateLimited, match="restart the OneAPI container"):
            client._call("GET", "/api/status")
    assert clock.passed == 30 + RATE_LIMIT_SECONDS


def test_too_many_logins_are_not_a_wrong_password(start: Start) -> None:
    """The 21st login within 20 minutes is RateLimited, though its password is right (trap 5)."""
    oneapi = start()
    oneapi.network.address = "10.1.0.4"
    for _ in range(20):
        oneapi.login(client=oneapi.network.address)
    with oneapi.client("") as client, pytest.raises(RateLimited):
        client.login("root", FIRST_PASSWORD)


# Channels and tokens


def test_a_channel_is_found_by_its_exact_name(oneapi: OneApi, channel: Channel) -> None:
    """POST tells no id: the newest of exactly that name is ours; one that is refused leaves a
    half-made row, which is deleted (§4, trap 7)."""
    name = channel.name
    oneapi.add_channel(name=f"{name}-2", models=f"{name}-2")
    with oneapi.client() as client:
        first, made = client.create_channel(channel), client.create_channel(channel)
        assert [found.id for found in client.channels_named(name)] == [made, first]
        found = client.channel(made)
        oneapi.network.spoil["POST", "/api/channel/"] = {"models": "same,same"}
        oneapi.network.spoil["PUT", "/api/channel/"] = {"models": "same,same"}
        with pytest.raises(Refused):
            client.create_channel(channel)
        with pytest.raises(Refused) as error:
            client.update_channel(made, channel)
    # PUT and OneAPI's log show it (trap 9).
    assert channel.key not in str(error.value)
    assert (found.models, found.base_url) == (channel.models, channel.base_url)
    assert (found.key, found.status) == ("", 1)
    assert oneapi.channels_named(name) == [first, made]
    assert "DELETE" in [method for method, _ in oneapi.network.calls]


def test_a_yes_without_a_new_channel_is_not_believed(oneapi: OneApi, channel: Channel) -> None:
    oneapi.network.override["/api/channel/"] = httpx.Response(200, json={"success": True})
    with oneapi.client() as client, pytest.raises(Unexpected, match="no new channel"):
        client.create_channel(channel)


def test_all_pages_are_read(start: Start) -> None:
    """Twelve channels and twelve tokens are two pages, and all of them are found (§4, §5)."""
    oneapi = start()
    oneapi.become_root()
    with oneapi.client() as client:
        for number in range(12):
            client.create_channel(_channel(f"c{number}"))
            client.create_token(Token(name=f"t{number}"))
        assert [found.name for found in client.channels()] == [f"c{n}" for n in range(11, -1, -1)]
        assert client.tokens_named("t0")


def test_an_update_of_a_token_keeps_what_is_not_ours(oneapi: OneApi, channel: Channel) -> None:
    """PUT replaces a token whole, so it is read first: its subnet and key stay (trap 9)."""
    name = oneapi.new_name("t")
    with oneapi.client() as client:
        client.create_channel(channel)
        made = client.create_token(Token(name=name, unlimited=True))
        row = oneapi.api("GET", f"/api/token/{made.id}")
        oneapi.api("PUT", "/api/token/", {**row, "subnet": "127.0.0.0/8"})
        wanted = Token(name=name, models=channel.models, unlimited=True)
        changed = client.update_token(made.id, wanted)
    assert (changed.key, changed.models) == (made.key, channel.models)
    assert oneapi.api("GET", f"/api/token/{made.id}")["subnet"] == "127.0.0.0/8"
    with oneapi.our_relay(made.key) as relay:
        assert relay.chat(channel.name, "Hi")
        with pytest.raises(Refused, match="无权使用模型"):
            relay.chat("another", "Hi")


# Relay


def test_a_probe_is_a_real_request(oneapi: OneApi, upstream: Upstream) -> None:
    """A transcription is routed as `whisper-1`, whatever its model (§6)."""
    name = oneapi.new_name()
    made = oneapi.add_channel(name=name, models=f"{name},whisper-1", base_url=upstream.base_url)
    with oneapi.our_relay() as relay:
        for kind in ("chat", "embedding", "speech", "transcription"):
            relay.probe(kind, name)
    oneapi.api("DELETE", f"/api/channel/{made}")
    paths = ["chat/completions", "embeddings", "audio/speech", "audio/transcriptions"]
    assert [asked.path for asked in upstream.asked] == [f"/v1/{path}" for path in paths]
    with oneapi.our_relay("sk-unknown") as relay, pytest.raises(Unauthorized):
        relay.chat(name, "Hi")
    with oneapi.our_relay(channel_id=987_003) as relay, pytest.raises(Refused, match="无效的渠道"):
        relay.chat(name, "Hi")
