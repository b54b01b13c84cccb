"""The resources of OneAPI on the real OneAPI: adopt, see drift, mend it, leave nothing behind."""

from collections.abc import Callable
from typing import Any

import httpx
import pulumi
import pytest

from provisioning.clients.errors import DeadlineExceeded, Unauthorized
from provisioning.clients.oneapi import UpstreamFailed
from stack.resources import base
from stack.resources.oneapi.channel import Channel
from stack.resources.oneapi.root import Root
from stack.resources.oneapi.token import Token
from tests.contract.oneapi.subject import ROOT_TOKEN, OneApi
from tests.contract.upstream import Upstream
from tests.unit.subject import Subject

Start = Callable[..., OneApi]
PASSWORD = "a-good-password"
LOGIN = ("POST", "/api/user/login")


def relay_error(status: int, message: str, code: str = "") -> httpx.Response:
    error = {"message": message, "type": "one_api_error", "code": code}
    return httpx.Response(status, json={"error": error})


# Root


@pytest.fixture
def own(start: Start) -> OneApi:
    """A OneAPI of the case's own."""
    return start()


@pytest.fixture
def root(own: OneApi) -> Subject:
    """Its root, not touched yet."""
    return own.subject(Root, password=PASSWORD)


@pytest.fixture
def met(root: Subject, own: OneApi) -> Subject:
    """Its root after the first contact."""
    own.access_token = root.create()["access_token"]
    own.network.calls.clear()
    return root


def test_the_first_contact(root: Subject, own: OneApi) -> None:
    """Root gets the lab's password; a second run finds it set, and takes up the same token.

    Logins are counted (§3, trap 5): the right password is tried first, and once by each look.
    """
    outs = root.create()
    assert [own.opens_with(password) for password in ("123456", PASSWORD)] == [False, True]
    own.network.calls.clear()
    # An interrupted run has no state.
    assert root.create() == outs
    assert root.seen() == outs
    assert own.network.calls.count(LOGIN) == 2
    # It would make a new token and end the old one.
    assert ("GET", "/api/user/token") not in own.network.calls


def test_a_changed_password_goes_by_the_access_token(met: Subject, own: OneApi) -> None:
    """A new password needs no login, and the access token stays."""
    new = met.update(password="another-password")
    assert new["access_token"] == own.access_token
    assert LOGIN not in own.network.calls
    assert own.opens_with("another-password")


def test_what_was_changed_by_hand_is_seen_and_set_again(met: Subject, own: OneApi) -> None:
    """The password is set again; an access token that was rotated is fetched."""
    own.api("PUT", "/api/user/self", {"password": "by-somebody"})
    met.heal()
    assert own.opens_with(PASSWORD)
    rotated = own.api("GET", "/api/user/token")
    assert met.heal()["access_token"] == rotated


def test_a_password_changed_before_the_first_contact_is_said(root: Subject, own: OneApi) -> None:
    """Neither the lab's password nor the first one opens: an error that holds neither."""
    own.become_root()
    own.api("PUT", "/api/user/self", {"password": "somebody-elses"})
    with pytest.raises(Unauthorized, match=r"changed in the web page.*oneapiPassword") as error:
        root.create()
    assert PASSWORD not in str(error.value)


def test_a_password_that_cannot_be_tried_counts_as_unchanged(met: Subject, own: OneApi) -> None:
    own.network.override[LOGIN[1]] = httpx.Response(429)
    assert met.seen() == met.state


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (LOGIN[1], {"success": False, "message": "用户名或密码错误，或用户已被封禁"}),
        ("/api/user/self", {"success": False, "message": "无权进行此操作，access token 无效"}),
    ],
)
def test_a_database_that_is_down_is_no_drift(
    met: Subject, own: OneApi, monkeypatch: pytest.MonkeyPatch, path: str, answer: object
) -> None:
    told: list[str] = []
    monkeypatch.setattr(base, "_told", set())
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    own.network.override[path] = httpx.Response(200, json=answer)
    own.network.override["/v1/models"] = relay_error(401, "令牌验证失败")
    assert met.seen() == met.state
    assert "docker logs mysql" in "".join(told)


# Channels


@pytest.fixture
def channel(oneapi: OneApi, upstream: Upstream) -> Subject:
    """A channel, not made yet; its one model is called as itself."""
    name = oneapi.new_name()
    return oneapi.subject(
        Channel,
        access_token=oneapi.access_token,
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


@pytest.fixture
def name(channel: Subject) -> str:
    """The channel's, and its model's."""
    return str(channel.wanted["name"])


def test_a_channel_is_made_proven_seen_and_deleted(
    channel: Subject, name: str, oneapi: OneApi, upstream: Upstream
) -> None:
    """Made, proven by real requests, unchanged at a refresh, and gone without a trace."""
    channel.create()
    assert upstream.asked[-1].headers["authorization"] == "Bearer our-key"
    assert not channel.drifts()
    oneapi.add_channel(name=name, models=name)
    for _ in range(2):
        channel.delete()
    assert oneapi.channels_named(name) == []
    assert name not in (oneapi.models() or ())
    assert channel.gone()


def test_what_is_asked_of_a_standing_channel(
    channel: Subject, oneapi: OneApi, upstream: Upstream
) -> None:
    """A paid one is not proven; another proof touches no channel, another way calls nothing."""
    channel.create(probe="")
    assert upstream.asked == []
    oneapi.network.calls.clear()
    channel.update(access_token=oneapi.access_token, relay_key=ROOT_TOKEN)
    assert oneapi.network.calls == []
    channel.update(kind="embedding", probe=channel.wanted["name"])
    assert set(oneapi.network.changes()) == {("POST", "/v1/embeddings")}


def test_a_leftover_is_adopted_and_its_doubles_removed(
    channel: Subject, name: str, oneapi: OneApi, upstream: Upstream
) -> None:
    """Channels of the same name, an interrupted run's, become one: ours (trap 7).

    The newest was left by a refused POST, and has no abilities (§4).
    """
    oneapi.add_channel(name=name, models="old-model", key="old-key")
    with pytest.raises(AssertionError, match="UNIQUE"):
        oneapi.add_channel(name=name, models=f"{name},{name}", key="old-key")
    newest = oneapi.channels_named(name)[-1]
    neighbour = oneapi.add_channel(name=f"{name}-2", models=f"{name}-2")
    assert channel.create()["object_id"] == newest
    assert oneapi.channels_named(name) == [newest]
    assert oneapi.channels_named(f"{name}-2") == [neighbour]
    assert upstream.asked[-1].headers["authorization"] == "Bearer our-key"


def test_blanks_and_doubles_are_no_drift(
    channel: Subject, name: str, oneapi: OneApi, upstream: Upstream
) -> None:
    """Names with blanks and doubles are stored clean, and a refresh sees no difference (trap 8)."""
    models = [f" {name}", name.upper(), "", f"{name}-b", f"{name} "]
    url = upstream.base_url + "/"
    channel.create(models=models, key="k\n", base_url=url)
    row = oneapi.api("GET", f"/api/channel/{channel.state['object_id']}")
    assert (row["models"], row["base_url"]) == (f"{name},{name}-b", upstream.base_url)
    assert oneapi.chat(f"{name}-b").status_code == 200
    assert upstream.asked[-1].headers["authorization"] == "Bearer k"
    assert not channel.drifts()


@pytest.mark.parametrize(
    "edit",
    [
        {"models": "other-model"},
        {"base_url": "http://127.0.0.1:9"},
        {"model_mapping": '{"x":"y"}'},
        {"model_mapping": "not json"},
        {"priority": 9},
        {"status": 2},
        {"status": 3},
        {"type": 8},
        {"name": "renamed-by-hand"},
    ],
    ids=str,
)
def test_a_channel_changed_by_hand_is_mended(
    channel: Subject, name: str, oneapi: OneApi, edit: dict[str, Any]
) -> None:
    """Whatever was changed in the web page: a refresh says so, an update mends it."""
    made = channel.create()["object_id"]
    before = oneapi.api("GET", f"/api/channel/{made}")
    oneapi.api("PUT", "/api/channel/", {"id": made, **edit})
    assert channel.heal()["object_id"] == made
    after = oneapi.api("GET", f"/api/channel/{made}")
    assert {key: after[key] for key in edit} == {key: before[key] for key in edit}
    assert oneapi.chat(name).status_code == 200


def test_a_channel_doubled_by_hand_is_mended(channel: Subject, name: str, oneapi: OneApi) -> None:
    """A second channel of our name is drift; ours stays, the other goes (trap 7)."""
    made = channel.create()["object_id"]
    oneapi.add_channel(name=name, models="another", key="k")
    channel.heal()
    assert oneapi.channels_named(name) == [made]


def test_a_vanished_channel_is_made_again_and_leaves_no_ghost(
    channel: Subject, name: str, oneapi: OneApi
) -> None:
    """A change of a channel that was deleted by hand makes it anew: no PUT, no ghost (trap 7)."""
    made = channel.create()["object_id"]
    oneapi.api("DELETE", f"/api/channel/{made}")
    new = channel.update(models=[name, f"{name}-b"])
    assert new["object_id"] != made
    assert oneapi.chat(f"{name}-b").status_code == 200
    channel.delete()
    # A ghost would still be listed.
    assert not {name, f"{name}-b"} & (oneapi.models() or {name})


def test_a_changed_key_reaches_the_upstream(channel: Subject, upstream: Upstream) -> None:
    """A key is never shown; a changed one is sent, and holds from the next request on (trap 9)."""
    channel.create()
    assert channel.changes(key="our-new-key")
    channel.update(key="our-new-key")
    assert upstream.asked[-1].headers["authorization"] == "Bearer our-new-key"


def test_a_channel_made_again_by_hand_gets_our_key(
    channel: Subject, name: str, oneapi: OneApi, upstream: Upstream
) -> None:
    """Deleted and made again by hand under our name: its key is unknown, so ours is set."""
    oneapi.api("DELETE", f"/api/channel/{channel.create()['object_id']}")
    theirs = {"models": name, "base_url": upstream.base_url, "key": "their-key"}
    again = oneapi.add_channel(name=name, **theirs)
    assert channel.heal()["object_id"] == again
    oneapi.chat(name)
    assert upstream.asked[-1].headers["authorization"] == "Bearer our-key"


def test_another_channel_does_not_answer_for_ours(
    channel: Subject, name: str, oneapi: OneApi, upstream: Upstream
) -> None:
    """Ours is refused upstream, one made by hand lists the model and works: ours still fails."""
    oneapi.add_channel(name=f"{name}-by-hand", models=name, base_url=upstream.base_url)
    channel.wanted["model_mapping"] = {name: "openai-401"}
    for _ in range(4):
        with pytest.raises(UpstreamFailed) as error:
            channel.create()
        assert error.value.status == 401
    assert channel.clock.passed == 0


def test_another_channel_that_fails_is_named(
    channel: Subject, name: str, oneapi: OneApi, upstream: Upstream
) -> None:
    """Ours works, but one made by hand takes the model's requests first: the error says so."""
    by_hand = {"model_mapping": f'{{"{name}":"openai-401"}}', "priority": 1}
    fields = {"name": f"{name}-by-hand", "models": name, "base_url": upstream.base_url}
    oneapi.add_channel(**fields, **by_hand)
    with pytest.raises(DeadlineExceeded, match="to be routed") as error:
        channel.create()
    assert f"another channel lists {name}" in error.value.advice


def test_a_channel_without_its_model_is_not_proven(channel: Subject, name: str) -> None:
    """A channel answers for any model if asked by id; that its name routes is proven too (§2)."""
    with pytest.raises(DeadlineExceeded, match="无可用渠道") as error:
        channel.create(models=[f"{name}-other"])
    assert name in error.value.waited_for
    assert f"channel {name} itself answers" in error.value.advice


def test_an_upstream_that_comes_up_later_is_waited_for(channel: Subject, oneapi: OneApi) -> None:
    down = relay_error(500, "dial tcp: connection refused", "do_request_failed")
    oneapi.network.override["/v1/chat/completions"] = down

    def comes_up() -> None:
        if channel.clock.passed > 20:
            oneapi.network.override.clear()

    channel.clock.on_sleep = comes_up
    channel.create()
    assert channel.clock.passed > 20


@pytest.mark.parametrize("key", ["", " \n"])
def test_an_empty_key_is_refused_before_it_is_sent(channel: Subject, key: str) -> None:
    assert channel.complaints(key=key) == ["key"]


# Tokens


@pytest.fixture
def token(oneapi: OneApi) -> Subject:
    """A token, not made yet."""
    inputs = {"access_token": oneapi.access_token, "name": oneapi.new_name("t")}
    return oneapi.subject(Token, **inputs, models=[])


def test_a_token_is_made_once_and_deleted(token: Subject, oneapi: OneApi) -> None:
    """Made once, unchanged at a refresh, deleted; its key opens the relay only meanwhile."""
    made = token.create()
    assert token.create() == made
    assert oneapi.models(made["key"]) is not None
    assert not token.drifts()
    for _ in range(2):
        token.delete()
    assert oneapi.models(made["key"]) is None
    assert token.gone()


ONLY_STATUS = "/api/token/?status_only=1"


@pytest.mark.parametrize(
    ("path", "edit"),
    [
        ("/api/token/", {"models": "m"}),
        ("/api/token/", {"unlimited_quota": False}),
        ("/api/token/", {"expired_time": 4_000_000_000}),
        ("/api/token/", {"name": "x"}),
        # As by a PUT that left out the time.
        ("/api/token/", {"expired_time": 0}),
        # A full PUT leaves the status alone; it is set by the one that can (§5).
        (ONLY_STATUS, {"status": 2}),
        (ONLY_STATUS, {"status": 4}),
    ],
    ids=str,
)
def test_a_token_changed_by_hand_is_mended(
    token: Subject, oneapi: OneApi, path: str, edit: dict[str, Any]
) -> None:
    """Whatever was changed in the web page: mended, and the key stays (trap 9)."""
    made = token.create()
    row = oneapi.api("GET", f"/api/token/{made['object_id']}")
    oneapi.api("PUT", path, {**row, **edit})
    new = token.heal()
    assert (new["key"], new["object_id"]) == (made["key"], made["object_id"])
    assert oneapi.models(new["key"]) is not None


def test_tokens_doubled_by_hand_become_one(token: Subject, oneapi: OneApi) -> None:
    """A second token of our name is drift; ours stays with its key (§5)."""
    made = token.create()
    oneapi.api("POST", "/api/token/", {"name": made["name"], "unlimited_quota": True})
    assert token.heal()["key"] == made["key"]
    found = oneapi.api("GET", "/api/token/search", params={"keyword": made["name"]})
    assert [row["id"] for row in found] == [made["object_id"]]
