"""OneAPI's root, channels and tokens: adopt, see drift, mend it, leave nothing behind."""

from __future__ import annotations

from typing import Any

import httpx
import pulumi
import pytest

from provisioning.clients.errors import DeadlineExceeded, Unauthorized
from provisioning.clients.oneapi import UpstreamFailed
from stack.resources.oneapi.channel import Channel
from stack.resources.oneapi.root import Root
from stack.resources.oneapi.token import Token
from tests.unit.fake_services import FakeOneApi
from tests.unit.subject import ENDPOINT, Subject

RELAY_KEY = "z" * 48
PASSWORD = "a-good-password"


def refusal(status: int, message: str, code: str, kind: str) -> httpx.Response:
    error = {"message": message, "type": kind, "code": code}
    return httpx.Response(status, json={"error": error})


BAD_KEY = refusal(401, "bad key", "bad_response_status_code", "upstream_error")
NOT_UP = refusal(500, "refused", "do_request_failed", "one_api_error")


@pytest.fixture
def root() -> Subject:
    return Subject(Root, {"endpoint": ENDPOINT, "password": PASSWORD}, FakeOneApi())


@pytest.fixture
def channel() -> Subject:
    service = FakeOneApi()
    service.add_token(name="fastgpt")
    wanted = {
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
    }
    return Subject(Channel, wanted, service)


@pytest.fixture
def token() -> Subject:
    service = FakeOneApi()
    wanted = {"endpoint": ENDPOINT, "access_token": service.access_token, "name": "users"}
    return Subject(Token, {**wanted, "models": []}, service)


# -- root ---------------------------------------------------------------------------------------


def test_the_first_contact_sets_the_password(root: Subject) -> None:
    assert root.create()["access_token"] == root.service.access_token
    assert root.service.password == PASSWORD
    assert [body["password"] for body in root.service.login_bodies] == [PASSWORD, "123456"]


def test_an_interrupted_first_contact_is_taken_up(root: Subject) -> None:
    root.service.password = PASSWORD
    root.create()
    assert root.service.logins == 1


def test_a_read_tries_the_password_once(root: Subject) -> None:
    root.create()
    before = root.service.logins
    assert root.seen() == root.state
    assert root.service.logins == before + 1


def test_a_password_changed_by_hand_is_seen_and_set_again(root: Subject) -> None:
    root.create()
    root.service.password = "changed-by-hand"
    root.heal()
    assert root.service.password == PASSWORD


def test_a_password_that_cannot_be_tried_counts_as_unchanged(root: Subject) -> None:
    root.create()
    root.service.too_many_logins = True
    assert root.seen() == root.state


@pytest.mark.parametrize("broken", ["password", "access_token"])
def test_a_database_that_is_down_is_no_drift(
    root: Subject, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    root.create()
    setattr(root.service, broken, "what nobody can look up")
    root.service.database_down = True

    assert root.seen() == root.state
    assert "docker logs mysql" in "".join(told)


def test_a_changed_password_goes_by_the_access_token(root: Subject) -> None:
    root.create()
    before = root.service.logins
    new = root.update(password="another-password")
    assert (root.service.password, root.service.logins) == ("another-password", before)
    assert new["access_token"] == root.service.access_token


def test_a_token_rotated_by_hand_is_seen_and_fetched_again(root: Subject) -> None:
    root.create()
    root.service.access_token = "b" * 32
    assert root.heal()["access_token"] == "b" * 32


def test_neither_password_is_accepted(root: Subject) -> None:
    root.service.password = "somebody-elses"

    with pytest.raises(Unauthorized, match="oneapiPassword") as error:
        root.create()
    assert PASSWORD not in str(error.value)


# -- channels -----------------------------------------------------------------------------------


def test_a_channel_is_made_and_proven(channel: Subject) -> None:
    made = channel.create()["object_id"]

    assert channel.service.channels[made]["models"] == "qwen"
    assert [body["model"] for body in channel.service.relayed] == ["qwen", "qwen"]
    # First ours and no other, then as everybody asks.
    assert channel.service.pinned == [made, None]
    assert not channel.drifts()


def test_a_paid_channel_is_not_proven(channel: Subject) -> None:
    channel.create(probe="")
    assert channel.service.relayed == []


def test_another_probe_is_sent_and_touches_no_channel(channel: Subject) -> None:
    channel.create()
    channel.update(kind="embedding")
    assert channel.service.calls[-1] == ("POST", "/v1/embeddings")
    assert channel.service.called("PUT") == []


def test_a_wrong_key_upstream_is_not_waited_for_though_another_channel_would_answer(
    channel: Subject,
) -> None:
    channel.service.add_channel(name="by-hand", type=1, models="qwen")
    channel.service.upstream = BAD_KEY
    channel.service.other_channel = httpx.Response(
        200, json={"choices": [{"message": {"content": "Hi"}}]}
    )

    with pytest.raises(UpstreamFailed, match="bad key"):
        channel.create()
    assert channel.clock.passed == 0


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ("upstream", NOT_UP),
        # Chance may choose ours the next time.
        ("other_channel", BAD_KEY),
    ],
)
def test_what_may_come_up_later_is_waited_for(
    channel: Subject, who: str, says: httpx.Response
) -> None:
    setattr(channel.service, who, says)

    def comes_up() -> None:
        if channel.clock.passed > 20:
            setattr(channel.service, who, None)

    channel.clock.on_sleep = comes_up
    channel.create()
    assert channel.clock.passed > 20


def test_another_channel_of_the_model_that_always_fails_is_named(channel: Subject) -> None:
    channel.service.other_channel = BAD_KEY

    with pytest.raises(DeadlineExceeded, match="bad key") as failed:
        channel.create()
    assert "another channel lists qwen" in failed.value.advice


def test_a_channel_that_does_not_route_is_not_made(channel: Subject) -> None:
    with pytest.raises(DeadlineExceeded, match="无可用渠道") as error:
        channel.create(probe="nobody")
    assert "nobody" in error.value.waited_for
    assert "xinference-chat" in error.value.advice


def test_a_leftover_is_adopted_and_doubles_are_removed(channel: Subject) -> None:
    channel.service.add_channel(name="xinference-chat", type=8, models="old")
    newest = channel.service.add_channel(name="xinference-chat", type=1, models="older")
    other = channel.service.add_channel(name="xinference-chat-2", type=1, models="x")

    assert channel.create()["object_id"] == newest
    assert set(channel.service.channels) == {newest, other}
    assert channel.service.channels[newest]["models"] == "qwen"


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
def test_an_edit_by_hand_is_seen_and_mended(channel: Subject, edit: dict[str, Any]) -> None:
    row = channel.service.channels[channel.create()["object_id"]]
    before = dict(row)
    row.update(edit)

    channel.heal()

    assert channel.service.channels[channel.state["object_id"]] == before


def test_a_double_made_by_hand_is_seen_and_removed(channel: Subject) -> None:
    ours = channel.create()["object_id"]
    channel.service.add_channel(name="xinference-chat", type=1, models="qwen")
    channel.heal()
    assert list(channel.service.channels) == [ours]


def test_a_deleted_channel_is_gone(channel: Subject) -> None:
    channel.create()
    channel.service.channels.clear()
    assert channel.gone()


def test_one_made_again_by_hand_gets_our_key(channel: Subject) -> None:
    channel.create(key="our-key")
    channel.service.channels.clear()
    again = channel.service.add_channel(
        name="xinference-chat", type=1, base_url="http://xinference:9997", models="qwen", key="t"
    )

    assert channel.heal()["object_id"] == again
    assert channel.service.channels[again]["key"] == "our-key"


def test_a_channel_gone_between_refresh_and_update_is_made_anew(channel: Subject) -> None:
    channel.create()
    channel.service.channels.clear()
    new = channel.update(models=["qwen", "glm"])
    assert channel.service.channels[new["object_id"]]["models"] == "qwen,glm"


def test_a_new_token_or_relay_key_calls_nothing(channel: Subject) -> None:
    made = channel.create()
    new = {"access_token": "n" * 32, "relay_key": "another"}
    channel.service.calls.clear()

    assert channel.changes(**new)
    assert channel.update(**new) == {**made, **new}
    assert channel.service.calls == []


def test_delete_takes_doubles_along_and_may_be_repeated(channel: Subject) -> None:
    channel.create()
    channel.service.add_channel(name="xinference-chat", type=1)
    channel.delete()
    channel.delete()
    assert channel.service.channels == {}


@pytest.mark.parametrize("wrong", [{"access_token": "b" * 32}, {"down": True}])
def test_one_that_nobody_can_look_at_is_not_gone(channel: Subject, wrong: dict[str, Any]) -> None:
    channel.create()
    vars(channel.service).update(wrong)
    assert channel.seen() == channel.state


@pytest.mark.parametrize("key", ["", " \n"])
def test_an_empty_key_is_refused_before_it_is_sent(channel: Subject, key: str) -> None:
    assert channel.complaints(key=key) == ["key"]


# -- tokens -------------------------------------------------------------------------------------


def test_a_token_is_made_with_its_key(token: Subject) -> None:
    made = token.create()
    row = token.service.tokens[made["object_id"]]

    assert made["key"] == "sk-" + row["key"]
    assert row["unlimited_quota"] is True
    assert not token.drifts()


def test_a_leftover_token_keeps_its_key(token: Subject) -> None:
    left = token.service.add_token(name="users", unlimited_quota=False)
    made = token.create()
    assert (made["object_id"], made["key"]) == (left, f"sk-{RELAY_KEY}")
    assert list(token.service.tokens) == [left]


@pytest.mark.parametrize(
    "edit",
    [
        {"models": "x"},
        {"unlimited_quota": False},
        {"unlimited_quota": False, "status": 4},
        {"expired_time": 5},
        {"status": 2},
        {"name": "r"},
    ],
    ids=str,
)
def test_a_token_edited_by_hand_is_seen_and_mended(token: Subject, edit: dict[str, Any]) -> None:
    made = token.create()
    token.service.tokens[made["object_id"]].update(edit)
    assert token.heal()["key"] == made["key"]


def test_a_token_made_twice_or_deleted_by_hand(token: Subject) -> None:
    ours = token.create()["object_id"]
    token.service.add_token(name="users")
    token.heal()
    assert list(token.service.tokens) == [ours]

    token.service.tokens.clear()
    assert token.gone()
    token.delete()
