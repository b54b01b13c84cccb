"""Our client against FastGPT: what it takes the contract for is what the contract says."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from provisioning.clients.errors import Refused
from provisioning.clients.fastgpt import SeedsClient
from provisioning.clients.fastgpt.rows import Intake
from tests.contract.fastgpt_subject import (
    EMBEDDING,
    INTAKE,
    LIBRARY,
    LLM,
    MANUAL,
    RERANKER,
    FastGpt,
    Stage,
    config,
    graph_of,
    publish,
)
from tests.contract.upstream import WIDE
from tests.waiting import until

_graph = partial(graph_of, "seeds")


@pytest.fixture
def client(fastgpt: FastGpt) -> Iterator[SeedsClient]:
    with fastgpt.client() as made:
        yield made


@pytest.fixture
def app(client: SeedsClient) -> Iterator[str]:
    made = client.create_app("app", _graph().nodes, _graph().edges)
    yield made
    client.delete_app(made)


def _indexed(client: SeedsClient, base: str) -> None:
    rows: Any = lambda: client.collections(base)  # noqa: E731
    until(lambda: all(row.chunks and not row.waiting for row in rows()), "indexing")


def test_the_whole_way_from_a_file_to_a_cited_answer(
    client: SeedsClient, base: str, stage: Stage
) -> None:
    made = client.upload_file(base, "lab-manual.pdf", MANUAL.read_bytes(), INTAKE)
    assert made.inserted > 3
    assert made.too_long == 0
    _indexed(client, base)
    (row,) = client.collections(base)
    assert (row.id, row.name, row.chunks) == (made.collection_id, "lab-manual.pdf", made.inserted)
    beginning = client.first_passage(made.collection_id)
    assert beginning
    assert client.search(base, beginning)[0].collection_id == made.collection_id
    assert client.reranks(base, beginning, RERANKER)
    stage.upstream.refuse(RERANKER, 500, message="down")
    assert not client.reranks(base, beginning, RERANKER)
    stage.upstream.refusals.clear()

    app = client.create_app("assistant", _graph(base).nodes, _graph(base).edges)
    client.update_app(app, name="assistant", intro="Knows the lab.")
    publish(client, app, _graph(base))
    share = client.create_share_link(app, "visitors", response_detail=True).share_id
    answer = client.ask(share, "How do I stop paying?", visitor="v", chat_id="c1")
    assert "destroy" in answer.text
    assert {hit.document for hit in answer.citations} == {"lab-manual.pdf"}
    assert any("destroy" in hit.passage for hit in answer.citations)

    client.delete_app(app)
    assert client.apps() == []
    with pytest.raises(Refused):
        client.ask(share, "How do I stop paying?", visitor="v", chat_id="c2")
    client.delete_collection(made.collection_id, dataset_id=base)
    assert client.collections(base) == []


def test_a_first_contact_races_with_nothing(stage: Stage) -> None:
    with stage.fastgpt("first-contact").up().client() as client:
        found = client.init_data()
        assert (found.vector, found.llm, found.rerank) == ((EMBEDDING, WIDE), (LLM,), (RERANKER,))
        assert client.count_vectors() == 0


def test_a_session_that_fastgpt_does_not_know_is_opened_again(fastgpt: FastGpt) -> None:
    with fastgpt.client(token="eyJ.of.yesterday") as client:
        assert client.datasets() == []
        assert client.token != "eyJ.of.yesterday"


@pytest.mark.parametrize(
    "name",
    ["手册 100%.md", "50% off.md", "a%20b.md", "a;b.md", 'quo"te.md', "a+b & c.md", "plain.md"],
)
def test_a_file_keeps_its_name(client: SeedsClient, base: str, name: str) -> None:
    made = client.upload_file(base, name, LIBRARY.encode(), INTAKE)
    found = client.collection(made.collection_id, dataset_id=base)
    assert (found.name, found.training, found.chunk_size) == (name, "chunk", 512)
    assert found.mark == "1"
    _indexed(client, base)
    assert {hit.document for hit in client.search(base, "library")} == {name}


def test_a_text_is_kept_whole_and_a_link_by_its_address(client: SeedsClient, base: str) -> None:
    text, page = "图书馆九点开门。", "http://oneapi:3000/page"
    made = client.add_text(base, "事实", text, INTAKE).collection_id
    found = client.collection(made, dataset_id=base)
    assert (found.name, found.text_length) == ("事实", len(text))
    nowhere = client.add_link(base, "http://nowhere.example/", INTAKE)
    found = client.collection(nowhere.collection_id, dataset_id=base)
    assert (nowhere.inserted, found.text_length) == (0, 0), "an empty document"
    for gone in (made, nowhere.collection_id):
        client.delete_collection(gone, dataset_id=base)
    assert client.add_link(base, page, INTAKE).inserted == 1
    (row,) = client.collections(base)
    assert (row.link, row.name) == (page, "Opening hours")
    _indexed(client, base)
    assert client.search(base, "open")[0].document == "Opening hours"


def test_what_is_too_long_for_the_model_is_counted(stage: Stage) -> None:
    narrow = config()
    narrow["vectorModels"][0]["maxToken"] = 20
    with stage.fastgpt("narrow", json.dumps(narrow)).up().client() as client:
        base = client.create_dataset("narrow", vector_model=EMBEDDING, agent_model=LLM)
        # F1: of Chinese and English alike, 1.3 characters for each token.
        for text, taken in (("馆" * 26, 1), ("w" * 26, 1), ("馆" * 27, 0), ("w" * 27, 0)):
            made = client.add_text(base, "a", text, INTAKE)
            assert (made.inserted, made.too_long) == (taken, 1 - taken)


def test_a_base_of_many_pages_is_read_whole(client: SeedsClient, base: str) -> None:
    names = {f"note {number}" for number in range(65)}
    for name in sorted(names):
        client.add_text(base, name, f"This is {name}.", INTAKE)
    assert {row.name for row in client.collections(base)} == names


def test_qa_training_keeps_questions(client: SeedsClient, base: str, stage: Stage) -> None:
    stage.upstream.chat_answer = "Q1: When does it open?\nA1: At nine."
    made = client.add_text(base, "a", LIBRARY, Intake("qa", 8000))
    _indexed(client, base)
    assert client.first_passage(made.collection_id) == "When does it open?"
    assert client.search(base, "open")[0].passage == "When does it open?\nAt nine."
    asked = stage.upstream.bodies("/v1/chat/completions")[-1]["messages"][-1]["content"]
    assert "opens at nine" in asked


def test_visitors_get_the_graph_that_was_published_last(client: SeedsClient, app: str) -> None:
    share = client.create_share_link(app, "visitors", response_detail=True).share_id
    publish(client, app, _graph(prompt="The library opens at nine."))
    assert "nine" in client.ask(share, "When does the library open?", visitor="v", chat_id="1").text
    publish(client, app, _graph(prompt="The library opens at ten."), "two")
    assert "ten" in client.ask(share, "When does the library open?", visitor="v", chat_id="2").text


def test_a_key_of_an_app_chats(client: SeedsClient, app: str, fastgpt: FastGpt) -> None:
    key = client.create_api_key(app, "notebook").key
    (listed,) = client.api_keys(app)
    assert (listed.name, listed.masked[-4:]) == ("notebook", key[-4:])
    publish(client, app, _graph(prompt="The library opens at nine."))
    body = {"messages": [{"role": "user", "content": "When does the library open?"}]}
    headers = {"Authorization": f"Bearer {key}"}
    with fastgpt.anonymous() as http:
        answer = http.post("/api/v1/chat/completions", json=body, headers=headers).json()
    assert "nine" in answer["choices"][0]["message"]["content"]
