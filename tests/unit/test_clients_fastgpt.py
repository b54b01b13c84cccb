"""FastGPT's client: envelope codes, lazy start, hidden ids (`docs/facts/fastgpt.md`)."""

from __future__ import annotations

import json

import httpx
import pytest

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.http import (
    DeadlineExceeded,
    NotFound,
    Refused,
    Unauthorized,
    Unexpected,
    Unreachable,
)
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


def test_http_200_with_another_code_is_refused(client: FastGptClient) -> None:
    with pytest.raises(NotFound, match="501000"):
        client.dataset("nix")


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


def test_all_pages_of_a_base_are_read(client: FastGptClient, service: FakeFastGpt) -> None:
    for number in range(65):
        service.add_collection("d", f"{number}.md")

    assert len(client.collections("d")) == 65


@pytest.mark.parametrize("name", ["手册 100%.pdf", "plain.md"])
def test_a_file_name_survives_the_servers_decoding(
    client: FastGptClient, service: FakeFastGpt, name: str
) -> None:
    fields = {"trainingType": "chunk", "chunkSize": 512, "metadata": {"mark": "1"}}
    made = client.upload_file("d", name, b"text", fields)

    row = service.collections[made.collection_id]
    assert (row["name"], row["chunkSize"], made.inserted) == (name, 512, 3)
    assert row["metadata"]["mark"] == "1"


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


def test_the_eleventh_key_is_refused(client: FastGptClient) -> None:
    app_id = client.create_app("app", [], [])
    for number in range(10):
        client.create_api_key(app_id, f"{number}")
    with pytest.raises(Refused, match="506002"):
        client.create_api_key(app_id, "one more")


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


def test_create_says_modules_and_publish_says_nodes(
    client: FastGptClient, service: FakeFastGpt
) -> None:
    app_id = client.create_app("app", [{"nodeId": "a"}], [])
    client.publish_app(app_id, nodes=[{"nodeId": "b"}], edges=[], chat_config={}, version_name="v")

    assert service.published[0]["nodes"] == [{"nodeId": "b"}]
    assert service.published[0]["isPublish"] is True
    assert client.app(app_id).nodes == [{"nodeId": "b"}]


def test_deleting_an_app_deletes_its_keys_first(
    client: FastGptClient, service: FakeFastGpt
) -> None:
    app_id = client.create_app("app", [], [])
    client.create_api_key(app_id, "k")

    client.delete_app(app_id)
    client.delete_app(app_id)

    assert (service.keys, service.apps) == ({}, {})


def test_a_share_links_own_id_shows_in_the_list(client: FastGptClient) -> None:
    app_id = client.create_app("app", [], [])
    share_id = client.create_share_link(app_id, "link", response_detail=True).share_id

    (link,) = client.share_links(app_id)
    assert link.share_id == share_id
    assert link.id != share_id
    assert link.response_detail


def test_a_key_is_shown_once(client: FastGptClient) -> None:
    app_id = client.create_app("app", [], [])
    key = client.create_api_key(app_id, "k").key

    (listed,) = client.api_keys(app_id)
    assert key.endswith(listed.masked[-4:])
    assert key not in repr(listed)


def test_a_visitor_has_no_session(client: FastGptClient, service: FakeFastGpt) -> None:
    client.login()

    answer = client.ask("share", "When does it end?", visitor="v", chat_id="c")

    assert answer.text == "By its lease."
    assert [hit.document for hit in answer.citations] == ["manual.pdf"]
    body = json.loads(service.asked[0].content)
    assert (body["shareId"], body["outLinkUid"], body["detail"]) == ("share", "v", True)


def test_what_a_visitor_is_refused_with(client: FastGptClient, service: FakeFastGpt) -> None:
    service.chat_error = "对于模型 qwen 无可用渠道"

    with pytest.raises(Refused, match="无可用渠道"):
        client.ask("share", "?", visitor="v", chat_id="c")


def test_a_search_answers_an_object(client: FastGptClient) -> None:
    (hit,) = client.search("d", "text of c1")

    assert hit.collection_id == "c1"


def _listed(rows: list[dict[str, object]]) -> httpx.Response:
    return httpx.Response(200, json={"code": 200, "data": rows, "message": ""})
