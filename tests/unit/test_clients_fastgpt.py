"""FastGPT's client where the double cannot be brought to it (see contract/test_fastgpt_client)."""

from __future__ import annotations

import httpx
import pytest

from provisioning.clients.errors import (
    DeadlineExceeded,
    NotFound,
    Refused,
    Unauthorized,
    Unexpected,
    Unreachable,
)
from provisioning.clients.fastgpt import FastGptClient
from tests.unit.fake_services import FakeClock, FakeFastGpt


@pytest.fixture
def service() -> FakeFastGpt:
    return FakeFastGpt()


@pytest.fixture
def client(service: FakeFastGpt) -> FastGptClient:
    return FastGptClient(
        "http://x:3000",
        password=service.password,
        transport=service.transport,
        clock=FakeClock(),
    )


def test_init_data_without_a_version_is_not_ready(
    client: FastGptClient, service: FakeFastGpt
) -> None:
    service.not_ready = 1

    with pytest.raises(Unexpected):
        client.init_data()
    found = client.init_data()
    assert (found.version, found.llm, found.vector) == ("4.8.8-fix2", ("qwen",), ("m3e",))


def test_login_waits_for_root_to_exist(client: FastGptClient, service: FakeFastGpt) -> None:
    service.not_ready = 2

    assert client.login() == service.token


def test_root_that_never_comes(client: FastGptClient, service: FakeFastGpt) -> None:
    service.not_ready = 10**6

    with pytest.raises(DeadlineExceeded, match="replica set"):
        client.login()


def test_a_wrong_password_is_not_waited_for(service: FakeFastGpt) -> None:
    clock = FakeClock()
    client = FastGptClient(
        "http://x", password="nope-nope", transport=service.transport, clock=clock
    )

    with pytest.raises(Unauthorized, match="密码错误") as error:
        client.login()
    assert clock.passed == 0
    assert "nope" not in str(error.value)


def test_a_refused_detail_of_something_listed_is_not_gone(
    client: FastGptClient, service: FakeFastGpt, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = client.create_dataset("base", vector_model="m3e", agent_model="qwen")
    listed = list(service.datasets.values())
    service.datasets.clear()
    monkeypatch.setattr(service, "_dataset_list", lambda _: _listed(listed), raising=False)

    with pytest.raises(Refused) as error:
        client.dataset(dataset_id)
    assert not isinstance(error.value, NotFound)


def test_an_expired_session_is_opened_again_once(
    client: FastGptClient, service: FakeFastGpt
) -> None:
    client.datasets()
    service.token = "session-2"

    assert client.datasets() == []
    logins = service.called("POST").count("/api/support/user/account/loginByPassword")
    assert logins == 2


def test_vectors_are_counted_in_postgresql(client: FastGptClient, service: FakeFastGpt) -> None:
    assert client.count_vectors() == 12
    service.postgres_error = "connect ECONNREFUSED 172.18.0.2:5432"
    with pytest.raises(Refused, match="ECONNREFUSED"):
        client.count_vectors()


def test_a_database_that_hangs_is_not_waited_for_long(service: FakeFastGpt) -> None:
    given: list[float] = []

    def hang(request: httpx.Request) -> httpx.Response:
        given.append(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("timed out", request=request)

    client = FastGptClient(
        "http://x", token="t", transport=httpx.MockTransport(hang), clock=FakeClock()
    )
    with pytest.raises(Unreachable):
        client.count_vectors()
    # Longer than one attempt of FastGPT's to connect, and no longer than it must be.
    assert set(given) == {25.0}


def test_an_upload_is_never_sent_twice(client: FastGptClient, service: FakeFastGpt) -> None:
    client.login()
    sent: list[int] = []

    def cut_off(request: httpx.Request) -> httpx.Response:
        sent.append(1)
        raise httpx.ReadError("cut off", request=request)

    client._http._transport = httpx.MockTransport(cut_off)
    with pytest.raises(Unreachable):
        client.add_text("d", "n", "text", {})
    assert len(sent) == 1


def test_deleting_an_app_deletes_its_keys_first(
    client: FastGptClient, service: FakeFastGpt
) -> None:
    app_id = client.create_app("app", [], [])
    client.create_api_key(app_id, "k")

    client.delete_app(app_id)
    client.delete_app(app_id)

    assert (service.keys, service.apps) == ({}, {})


def test_a_visitor_has_no_session(client: FastGptClient, service: FakeFastGpt) -> None:
    client.login()

    answer = client.ask("share", "When does it end?", visitor="v", chat_id="c")

    assert answer.text == "By its lease."
    assert [hit.document for hit in answer.citations] == ["manual.pdf"]
    assert "token" not in service.asked[0].headers


def test_an_answer_may_come_in_parts_and_quote_a_passage_twice() -> None:
    parts = [{"type": "text", "text": {"content": "By its "}}, {"text": "lease."}, {"text": None}]
    quoted = {"id": "1", "sourceName": "manual.pdf", "q": "It ends."}
    nodes = [{"quoteList": [quoted]}, {"quoteList": [quoted, {**quoted, "id": "2"}]}, {}]
    answer = {"choices": [{"message": {"content": parts}}], "responseData": nodes}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    told = FastGptClient("http://x", transport=transport).ask("s", "?", visitor="v", chat_id="c")
    assert told.text == "By its lease."
    assert len(told.citations) == 2


def _listed(rows: list[dict[str, object]]) -> httpx.Response:
    return httpx.Response(200, json={"code": 200, "data": rows, "message": ""})
