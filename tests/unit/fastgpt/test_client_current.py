"""FastGPT 4.16's client against what the real one answered."""

import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from provisioning.clients.errors import (
    DeadlineExceeded,
    NotFound,
    Refused,
    Unauthorized,
    Unreachable,
)
from provisioning.clients.fastgpt import CurrentClient
from provisioning.clients.fastgpt.session import SharedToken
from tests.clock import FakeClock
from tests.unit.fastgpt.recorded import LOGIN, Recorded

Ask = Callable[[CurrentClient], Any]
APP, BASE = "a00000000000000000000017", "a00000000000000000000012"


def test_root_logs_in_with_a_code_and_is_not_logged_in_twice() -> None:
    recorded = Recorded(*LOGIN, "23-dataset-list")
    client = recorded.client("")
    (base,) = client.datasets()
    assert client.datasets() == [base]
    (sent,) = recorded.sent[LOGIN[1]]
    digest = hashlib.sha256(b"root-password").hexdigest()
    assert sent == {"username": "root", "password": digest, "code": "<CODE>"}
    assert recorded.heard[-1].headers["token"] == "<SESSION>"


@pytest.mark.fault("a session that FastGPT has lost")
def test_an_ended_session_is_opened_again_once_for_all_who_share_it() -> None:
    recorded = Recorded(*LOGIN, "128-dataset-list-session-old", "23-dataset-list")
    shared: Any = SharedToken("old")
    one, other = recorded.client(shared), recorded.client(shared)
    one._renew("old")
    other._renew("old")
    assert other.token == "<SESSION>"
    assert len(recorded.sent[LOGIN[1]]) == 1
    shared.value = "old again"
    assert one.datasets()


def test_a_wrong_password_is_said_at_once() -> None:
    recorded = Recorded("02-wrong-a-preLogin", "02-wrong-b-loginByPassword")
    with pytest.raises(Unauthorized, match=r"503002.*docker restart fastgpt"):
        recorded.client("").login()
    assert recorded.clock.passed == 0


def test_a_code_that_another_login_used_up_is_no_wrong_password() -> None:
    recorded = Recorded(*LOGIN[:1], "124-login-code-twice", LOGIN[1])
    assert recorded.client("").login()
    assert "somebody else" in recorded.progress[0]


@pytest.mark.fault("ten logins in a minute")
def test_too_many_logins_wait_until_the_minute_is_over() -> None:
    recorded = Recorded("125-preLogin-rate", *LOGIN)
    assert recorded.client("").login()
    assert recorded.clock.passed >= 60
    assert len(recorded.heard) == 3, "nothing is asked within the minute"
    assert "ten times a minute" in recorded.progress[0]
    refused = Recorded("125-preLogin-rate").client("")
    with pytest.raises(DeadlineExceeded, match=r"ten times a minute.*503006"):
        refused.login()


def test_version_and_models_are_roots_to_see_and_a_lost_session_is_noticed() -> None:
    recorded = Recorded("01-getInitData-anonymous", *LOGIN, "11-getInitData-models")
    found = recorded.client("garbage").init_data()
    known = (found.version, found.llm, found.vector, found.rerank)
    assert known == ("0.0.0", ("qwen2-instruct",), ("bge-m3",), ("bge-reranker-v2-m3",))
    kinds = {"qwen2-instruct": "llm", "bge-m3": "embedding", "bge-reranker-v2-m3": "rerank"}
    assert found.active == kinds
    with pytest.raises(Refused, match="Redis"):
        Recorded("01-getInitData-anonymous", *LOGIN).client("garbage").init_data()


@pytest.mark.fault("FastGPT's start hangs")
@pytest.mark.parametrize(
    ("error", "said"),
    [(httpx.ReadTimeout, "waits for PostgreSQL"), (httpx.ConnectError, "docker ps -a")],
)
def test_a_start_that_hangs_is_told_from_one_that_ended(
    error: type[httpx.TransportError], said: str
) -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise error("silent", request=request)

    # In a session, and where one has to be opened first.
    for token in ("t", ""):
        clock = FakeClock()
        told: Any = {"transport": httpx.MockTransport(silent), "clock": clock, "token": token}
        with pytest.raises(Unreachable, match=said):
            CurrentClient("http://x:3000", **told).init_data()
        assert clock.passed < 60, "whoever asks waits, and knows for what"


GONE: dict[str, tuple[str, Ask]] = {
    "no dataset": ("159-dataset-detail-gone", lambda client: client.dataset("1")),
    "a marked dataset": ("158-dataset-detail-after-delete", lambda client: client.dataset("1")),
    "no app": ("65b-app-detail-gone", lambda client: client.app("1")),
    "a marked app": ("65-app-detail-after-del", lambda client: client.app("1")),
    "no document": (
        "155-collection-detail-after-delete",
        lambda client: client.collection("1", dataset_id=BASE),
    ),
}


@pytest.mark.parametrize(("name", "ask"), GONE.values(), ids=GONE)
def test_what_is_gone_or_marked_is_not_found(name: str, ask: Ask) -> None:
    with pytest.raises(NotFound):
        ask(Recorded(name).client())


def test_a_refusal_for_another_reason_is_not_gone() -> None:
    with pytest.raises(Refused, match="validation") as error:
        Recorded("130-missing--api-core-dataset-detail-id-abc").client().dataset("abc")
    assert not isinstance(error.value, NotFound)


TWICE: dict[str, tuple[tuple[str, ...], Ask]] = {
    "dataset": (
        ("160-dataset-delete-twice", "159-dataset-detail-gone"),
        lambda client: client.delete_dataset("1"),
    ),
    "document": (
        ("156-collection-delete-twice",),
        lambda client: client.delete_collection("1", dataset_id=BASE),
    ),
    "app": (("65b-app-detail-gone",), lambda client: client.delete_app("1")),
    "link": (
        ("76-outLink-delete-again",),
        lambda client: client.delete_share_link("1", app_id=APP),
    ),
}


@pytest.mark.parametrize(("names", "ask"), TWICE.values(), ids=TWICE)
def test_deleting_what_is_gone_succeeds(names: tuple[str, ...], ask: Ask) -> None:
    ask(Recorded(*names).client())


def test_a_deleted_app_is_waited_for_because_it_answers_until_its_job_has_run() -> None:
    gone = ("64-app-del", "65-app-detail-after-del", "65b-app-detail-gone")
    recorded = Recorded("55-app-detail-after-publish", "78-openapi-list", *gone)
    recorded.client().delete_app(APP)
    assert recorded.clock.passed > 0
    assert list(recorded.sent) == ["55-app-detail-after-publish", "78-openapi-list", *gone]
