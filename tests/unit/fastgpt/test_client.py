"""FastGPT's client in what the double of contract/test_fastgpt_client cannot be brought to."""

import hashlib
import json

import httpx
import pytest

from provisioning.clients.errors import (
    DeadlineExceeded,
    NotFound,
    Refused,
    Unauthorized,
    Unreachable,
)
from provisioning.clients.fastgpt import SeedsClient
from provisioning.clients.fastgpt.rows import Intake
from tests.clock import FakeClock
from tests.unit.fastgpt.bench import LOGIN, PASSWORD, Bench, failure

INTAKE = Intake("chunk", 512)
NOT_REGISTERED = failure("用户未注册")


def client_of(transport: httpx.BaseTransport, clock: FakeClock, **who: str) -> SeedsClient:
    return SeedsClient("http://x:3000", transport=transport, clock=clock, **who)


@pytest.fixture
def client(bench: Bench, clock: FakeClock) -> SeedsClient:
    return client_of(bench, clock, password=PASSWORD)


def test_login_waits_for_root_to_exist(client: SeedsClient, bench: Bench, clock: FakeClock) -> None:
    bench.override[LOGIN] = NOT_REGISTERED
    clock.on_sleep = bench.override.clear
    assert client.login()
    assert clock.passed
    bench.override[LOGIN] = NOT_REGISTERED
    clock.on_sleep = lambda: None
    with pytest.raises(DeadlineExceeded, match="replica set"):
        client_of(bench, clock, password=PASSWORD).login()


def test_a_wrong_password_is_not_waited_for(bench: Bench, clock: FakeClock) -> None:
    with pytest.raises(Unauthorized, match="密码错误") as error:
        client_of(bench, clock, password="nope-nope").login()
    assert clock.passed == 0
    for secret in ("nope", hashlib.sha256(b"nope-nope").hexdigest()):
        assert secret not in str(error.value)


def test_a_refused_detail_of_something_listed_is_not_gone(
    client: SeedsClient, bench: Bench
) -> None:
    made = client.create_dataset("base", vector_model="m3e", agent_model="qwen")
    bench.override["/api/core/dataset/detail"] = failure("out of order")
    with pytest.raises(Refused, match="out of order") as error:
        client.dataset(made)
    assert not isinstance(error.value, NotFound)


@pytest.mark.parametrize(
    ("call", "error", "sent"),
    [
        # Longer than one attempt of FastGPT's to connect, and no longer than it must be.
        (SeedsClient.count_vectors, httpx.ReadTimeout, {25.0}),
        (
            lambda client: client.add_link("d", "http://x", INTAKE),
            httpx.ReadError,
            {900.0},
        ),
    ],
    ids=["a database that hangs", "an upload is never sent twice"],
)
def test_what_is_not_waited_for_long_or_not_repeated(
    clock: FakeClock, call: object, error: type[httpx.TransportError], sent: set[float]
) -> None:
    given: list[float] = []

    def cut_off(request: httpx.Request) -> httpx.Response:
        given.append(request.extensions["timeout"]["read"])
        raise error("cut off", request=request)

    with pytest.raises(Unreachable):
        call(client_of(httpx.MockTransport(cut_off), clock, token="t"))  # type: ignore[operator]
    assert set(given) == sent
    assert error is httpx.ReadTimeout or len(given) == 1


def test_deleting_an_app_deletes_its_keys_too(client: SeedsClient, bench: Bench) -> None:
    """FastGPT itself leaves them, and they would count."""
    app_id = client.create_app("app", [], [])
    client.create_api_key(app_id, "k")
    for _ in range(2):
        client.delete_app(app_id)
    assert bench.ids("apps") == bench.ids("openapis") == []


def test_an_answer_may_come_in_parts_and_quote_a_passage_twice_to_who_has_no_session(
    clock: FakeClock,
) -> None:
    parts = [{"type": "text", "text": {"content": "By its "}}, {"text": "lease."}, {"text": None}]
    quoted = {"id": "1", "sourceName": "manual.pdf", "q": "It ends."}
    nodes = [{"quoteList": [quoted]}, {"quoteList": [quoted, {**quoted, "id": "2"}]}, {}]
    answer = {"choices": [{"message": {"content": parts}}], "responseData": nodes}

    def take(request: httpx.Request) -> httpx.Response:
        assert not {"token", "cookie"} & request.headers.keys()
        assert json.loads(request.content)["messages"] == [{"role": "user", "content": "?"}]
        return httpx.Response(200, json=answer)

    told = client_of(httpx.MockTransport(take), clock, token="root's").ask(
        "s", "?", visitor="v", chat_id="c"
    )
    assert told.text == "By its lease."
    assert len(told.citations) == 2
