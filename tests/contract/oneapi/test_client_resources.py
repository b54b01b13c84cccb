"""The resources of OneAPI on the real OneAPI: adopt, see drift, mend it, leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from provisioning.clients.errors import DeadlineExceeded, Unauthorized
from provisioning.clients.oneapi import UpstreamFailed
from stack.resources.base import LabProvider
from stack.resources.declaration import Props
from stack.resources.oneapi.channel import Channel
from stack.resources.oneapi.root import Root
from stack.resources.oneapi.token import Token
from tests.contract.oneapi.client_subject import OurSide
from tests.contract.oneapi.subject import ROOT_TOKEN, OneApi
from tests.contract.upstream import Upstream

Start = Callable[..., OneApi]
PASSWORD = "a-good-password"


@pytest.fixture
def ours(oneapi: OneApi) -> OurSide:
    """Our side of the shared OneAPI."""
    return OurSide(oneapi)


@pytest.fixture
def channels(ours: OurSide) -> LabProvider:
    """The channels' provider."""
    return ours.provider(LabProvider(Channel))


@pytest.fixture
def tokens(ours: OurSide) -> LabProvider:
    """The tokens' provider."""
    return ours.provider(LabProvider(Token))


@pytest.fixture
def wanted(ours: OurSide, upstream: Upstream) -> Props:
    """A channel's inputs; its one model is called as itself."""
    name = ours.oneapi.new_name()
    return ours.props(
        name=name,
        type=1,
        base_url=upstream.base_url,
        models=[name],
        model_mapping={},
        key="our-key",
        priority=0,
        kind="chat",
        probe=name,
        relay_key=f"sk-{ROOT_TOKEN}",
    )


def _create(provider: LabProvider, props: Props) -> Props:
    outs = provider.create(props).outs
    assert outs is not None
    return outs


def _read(provider: LabProvider, outs: Props) -> Props:
    result = provider.read("id", outs)
    assert result.id is not None
    assert result.outs is not None
    return result.outs


def _healed(provider: LabProvider, outs: Props, wanted: Props) -> Props:
    """Refresh, see that there is something to mend, mend it, see that nothing is left to do."""
    seen = _read(provider, outs)
    assert provider.diff("id", seen, wanted).changes
    new = provider.update("id", seen, wanted).outs
    assert new is not None
    assert not provider.diff("id", _read(provider, new), wanted).changes
    return new


# Root


def test_the_first_contact(start: Start) -> None:
    """Root gets the lab's password; a second run finds it set, and takes up the same token."""
    oneapi = start()
    ours = OurSide(oneapi)
    root = ours.provider(LabProvider(Root))
    inputs = {"endpoint": ours.endpoint, "password": PASSWORD}
    outs = _create(root, inputs)
    assert oneapi.login().json()["success"] is False
    assert oneapi.login(PASSWORD).json()["success"] is True
    # An interrupted run has no state.
    assert _create(root, inputs)["access_token"] == outs["access_token"]
    assert not root.diff("root", _read(root, outs), inputs).changes


def test_a_changed_password_goes_by_the_access_token(start: Start) -> None:
    """A new password needs no login, and the access token stays."""
    oneapi = start()
    ours = OurSide(oneapi)
    root = ours.provider(LabProvider(Root))
    outs = _create(root, {"endpoint": ours.endpoint, "password": PASSWORD})
    logins = ours.network.calls.count(("POST", "/api/user/login"))
    other = {"endpoint": ours.endpoint, "password": "another-password"}
    new = root.update("root", outs, other).outs
    assert new is not None
    assert new["access_token"] == outs["access_token"]
    assert ours.network.calls.count(("POST", "/api/user/login")) == logins
    assert oneapi.login("another-password").json()["success"] is True


def test_a_rotated_access_token_is_seen_and_fetched_again(start: Start) -> None:
    """An access token rotated by hand is drift; the next `up` takes up the new one."""
    oneapi = start()
    ours = OurSide(oneapi)
    root = ours.provider(LabProvider(Root))
    inputs = {"endpoint": ours.endpoint, "password": PASSWORD}
    outs = _create(root, inputs)
    oneapi.access_token = outs["access_token"]
    rotated = oneapi.api("GET", "/api/user/token")["data"]
    assert _healed(root, outs, inputs)["access_token"] == rotated


def test_a_password_changed_by_hand_is_said(start: Start) -> None:
    """Neither the lab's password nor the first one opens: an error that holds neither."""
    oneapi = start()
    oneapi.become_root()
    oneapi.api("PUT", "/api/user/self", {"password": "somebody-elses"})
    ours = OurSide(oneapi)
    root = ours.provider(LabProvider(Root))
    with pytest.raises(Unauthorized, match="changed in the web page") as error:
        root.create({"endpoint": ours.endpoint, "password": PASSWORD})
    assert PASSWORD not in str(error.value)


# Channels


def test_a_channel_is_made_proven_seen_and_deleted(
    channels: LabProvider, wanted: Props, ours: OurSide, upstream: Upstream
) -> None:
    """Made, proven by a real request, unchanged at a refresh, and gone without a trace."""
    outs = _create(channels, wanted)
    assert upstream.asked[-1].headers["authorization"] == "Bearer our-key"
    assert not channels.diff("id", _read(channels, outs), wanted).changes
    channels.delete("id", outs)
    channels.delete("id", outs)
    assert ours.oneapi.channels_named(wanted["name"]) == []
    assert wanted["name"] not in ours.oneapi.models()
    assert channels.read("id", outs).id is None


def test_a_leftover_is_adopted_and_its_doubles_removed(
    channels: LabProvider, wanted: Props, ours: OurSide, upstream: Upstream
) -> None:
    """Channels of the same name, an interrupted run's, become one: ours (trap 7)."""
    name = wanted["name"]
    ours.oneapi.add_channel(name=name, models="old-model", key="old-key")
    newest = ours.oneapi.add_channel(name=name, models="older-model", key="old-key")
    neighbour = ours.oneapi.add_channel(name=f"{name}-2", models=f"{name}-2")
    outs = _create(channels, wanted)
    assert outs["object_id"] == newest
    assert [row["id"] for row in ours.oneapi.channels_named(name)] == [newest]
    assert ours.oneapi.channel(neighbour)["models"] == f"{name}-2"
    assert upstream.asked[-1].headers["authorization"] == "Bearer our-key"


def test_a_half_made_channel_is_made_whole(
    channels: LabProvider, wanted: Props, ours: OurSide
) -> None:
    """A row without abilities, left by a refused POST, is adopted and routes (§4, trap 7)."""
    name = wanted["name"]
    half = {"type": 1, "key": "k", "name": name, "models": f"{name},{name}", "group": "default"}
    assert ours.oneapi.api("POST", "/api/channel/", half)["success"] is False
    (left,) = ours.oneapi.channels_named(name)
    assert _create(channels, wanted)["object_id"] == left["id"]
    assert ours.oneapi.chat(name).status_code == 200


def test_blanks_and_doubles_are_no_drift(
    channels: LabProvider, wanted: Props, ours: OurSide
) -> None:
    """Names with blanks and doubles are stored clean, and a refresh sees no difference (trap 8)."""
    name = wanted["name"]
    untidy = {**wanted, "models": [f" {name}", name.upper(), f"{name} "]}
    outs = _create(channels, untidy)
    assert ours.oneapi.channel(outs["object_id"])["models"] == name
    assert not channels.diff("id", _read(channels, outs), untidy).changes


@pytest.mark.parametrize(
    "edit",
    [
        {"models": "other-model"},
        {"base_url": "http://127.0.0.1:9"},
        {"model_mapping": '{"x":"y"}'},
        {"model_mapping": "not json"},
        {"priority": 9},
        {"status": 2},
        {"type": 8},
        {"name": "renamed-by-hand"},
    ],
    ids=lambda edit: "-".join(str(value) for pair in edit.items() for value in pair),
)
def test_a_channel_changed_by_hand_is_mended(
    channels: LabProvider, wanted: Props, ours: OurSide, edit: dict[str, Any]
) -> None:
    """Whatever was changed in the web page: a refresh says so, an update mends it."""
    outs = _create(channels, wanted)
    changed = ours.oneapi.api("PUT", "/api/channel/", {"id": outs["object_id"], **edit})
    assert changed["success"], changed["message"]
    new = _healed(channels, outs, wanted)
    assert new["object_id"] == outs["object_id"]
    assert ours.oneapi.chat(wanted["name"]).status_code == 200


def test_a_channel_doubled_by_hand_is_mended(
    channels: LabProvider, wanted: Props, ours: OurSide
) -> None:
    """A second channel of our name is drift; ours stays, the other goes (trap 7)."""
    outs = _create(channels, wanted)
    ours.oneapi.add_channel(name=wanted["name"], models="another", key="k")
    _healed(channels, outs, wanted)
    left = [row["id"] for row in ours.oneapi.channels_named(wanted["name"])]
    assert left == [outs["object_id"]]


def test_a_vanished_channel_is_made_again_and_leaves_no_ghost(
    channels: LabProvider, wanted: Props, ours: OurSide
) -> None:
    """A change of a channel that was deleted by hand makes it anew: no PUT, no ghost (trap 7)."""
    name = wanted["name"]
    outs = _create(channels, wanted)
    ours.oneapi.api("DELETE", f"/api/channel/{outs['object_id']}")
    more = {**wanted, "models": [name, f"{name}-b"]}
    new = channels.update("id", outs, more).outs
    assert new is not None
    assert new["object_id"] != outs["object_id"]
    assert ours.oneapi.chat(f"{name}-b").status_code == 200
    channels.delete("id", new)
    # A ghost would still be listed.
    assert not {name, f"{name}-b"} & set(ours.oneapi.models())


def test_a_changed_key_reaches_the_upstream(
    channels: LabProvider, wanted: Props, upstream: Upstream
) -> None:
    """A key is never shown; a changed one is sent, and holds from the next request on (trap 9)."""
    outs = _create(channels, wanted)
    rotated = {**wanted, "key": "our-new-key"}
    assert channels.diff("id", _read(channels, outs), rotated).changes
    channels.update("id", outs, rotated)
    assert upstream.asked[-1].headers["authorization"] == "Bearer our-new-key"


def test_a_channel_made_again_by_hand_gets_our_key(
    channels: LabProvider, wanted: Props, ours: OurSide, upstream: Upstream
) -> None:
    """Deleted and made again by hand under our name: its key is unknown, so ours is set."""
    outs = _create(channels, wanted)
    ours.oneapi.api("DELETE", f"/api/channel/{outs['object_id']}")
    again = ours.oneapi.add_channel(
        name=wanted["name"], models=wanted["name"], base_url=upstream.base_url, key="their-key"
    )
    assert _healed(channels, outs, wanted)["object_id"] == again
    ours.oneapi.chat(wanted["name"])
    assert upstream.asked[-1].headers["authorization"] == "Bearer our-key"


def test_another_channel_does_not_answer_for_ours(
    channels: LabProvider, wanted: Props, ours: OurSide, upstream: Upstream
) -> None:
    """Ours is refused upstream, one made by hand lists the model and works: ours still fails."""
    name = wanted["name"]
    ours.oneapi.add_channel(name=f"{name}-by-hand", models=name, base_url=upstream.base_url)
    refused = {**wanted, "model_mapping": {name: "openai-401"}}
    for _ in range(4):
        with pytest.raises(UpstreamFailed) as error:
            channels.create(refused)
        assert error.value.status == 401
    assert ours.clock.passed == 0


def test_another_channel_that_fails_is_named(
    channels: LabProvider, wanted: Props, ours: OurSide, upstream: Upstream
) -> None:
    """Ours works, but one made by hand takes the model's requests first: the error says so."""
    name = wanted["name"]
    by_hand = {"model_mapping": f'{{"{name}":"openai-401"}}', "priority": 1}
    ours.oneapi.add_channel(
        name=f"{name}-by-hand", models=name, base_url=upstream.base_url, **by_hand
    )
    with pytest.raises(DeadlineExceeded, match="to be routed") as error:
        channels.create(wanted)
    assert f"another channel lists {name}" in error.value.advice


def test_a_channel_without_its_model_is_not_proven(channels: LabProvider, wanted: Props) -> None:
    """A channel answers for any model if asked by id; that its name routes is proven too (§2)."""
    other = {**wanted, "models": [f"{wanted['name']}-other"]}
    with pytest.raises(DeadlineExceeded, match="无可用渠道"):
        channels.create(other)


# Tokens


@pytest.fixture
def token(ours: OurSide) -> Props:
    """A token's inputs."""
    return ours.props(name=ours.token_name(), models=[])


def test_a_token_is_made_seen_and_deleted(tokens: LabProvider, token: Props, ours: OurSide) -> None:
    """Made once, unchanged at a refresh, deleted; its key opens the relay only meanwhile."""
    outs = _create(tokens, token)
    bearer = f"Bearer {outs['key']}"
    assert ours.oneapi.admitted(Authorization=bearer) == 200
    assert not tokens.diff("id", _read(tokens, outs), token).changes
    tokens.delete("id", outs)
    tokens.delete("id", outs)
    assert ours.oneapi.admitted(Authorization=bearer) == 401
    assert tokens.read("id", outs).id is None


@pytest.mark.parametrize(
    "edit",
    [{"models": "m"}, {"unlimited_quota": False}, {"expired_time": 4_000_000_000}, {"name": "x"}],
    ids=lambda edit: next(iter(edit)),
)
def test_a_token_changed_by_hand_is_mended(
    tokens: LabProvider, token: Props, ours: OurSide, edit: dict[str, Any]
) -> None:
    """Whatever was changed in the web page: mended, and the key stays (trap 9)."""
    outs = _create(tokens, token)
    row = ours.oneapi.api("GET", f"/api/token/{outs['object_id']}")["data"]
    assert ours.oneapi.api("PUT", "/api/token/", {**row, **edit})["success"]
    new = _healed(tokens, outs, token)
    assert (new["key"], new["object_id"]) == (outs["key"], outs["object_id"])
    assert ours.oneapi.admitted(Authorization=f"Bearer {new['key']}") == 200


def test_a_token_expired_by_hand_is_mended(
    tokens: LabProvider, token: Props, ours: OurSide
) -> None:
    """A PUT that left out the time expires a token; it lives again under its key (§5)."""
    outs = _create(tokens, token)
    by_hand = {"id": outs["object_id"], "name": token["name"]}
    assert ours.oneapi.api("PUT", "/api/token/", by_hand)["success"]
    assert ours.oneapi.admitted(Authorization=f"Bearer {outs['key']}") == 401
    new = _healed(tokens, outs, token)
    assert new["key"] == outs["key"]
    assert ours.oneapi.admitted(Authorization=f"Bearer {new['key']}") == 200


def test_a_token_disabled_by_hand_is_mended(
    tokens: LabProvider, token: Props, ours: OurSide
) -> None:
    """A full PUT leaves the status alone; a disabled token is enabled by the one that can (§5)."""
    outs = _create(tokens, token)
    off = {"id": outs["object_id"], "status": 2}
    assert ours.oneapi.api("PUT", "/api/token/?status_only=1", off)["success"]
    assert ours.oneapi.admitted(Authorization=f"Bearer {outs['key']}") == 401
    _healed(tokens, outs, token)
    assert ours.oneapi.admitted(Authorization=f"Bearer {outs['key']}") == 200


def test_tokens_doubled_by_hand_become_one(
    tokens: LabProvider, token: Props, ours: OurSide
) -> None:
    """A second token of our name is drift; ours stays with its key (§5)."""
    outs = _create(tokens, token)
    ours.oneapi.api("POST", "/api/token/", {"name": token["name"], "unlimited_quota": True})
    assert _healed(tokens, outs, token)["key"] == outs["key"]
    found = ours.oneapi.api("GET", "/api/token/search", params={"keyword": token["name"]})["data"]
    assert [row["id"] for row in found] == [outs["object_id"]]
