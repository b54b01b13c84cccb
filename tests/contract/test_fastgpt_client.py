"""Our client against FastGPT: what it takes the contract for is what the contract says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioning.app_graph import Graph, simple_app
from provisioning.clients.errors import NotFound, Refused, Unauthorized
from provisioning.clients.fastgpt import FastGptClient
from provisioning.knowledge import App
from tests.contract.fastgpt_subject import (
    EMBEDDING,
    LLM,
    MODELS,
    RERANKER,
    ROOT_PASSWORD,
    WIDE,
    FastGpt,
    Lab,
    config,
    fastgpt,
    lab,
    running,
    until,
)

__all__ = ["fastgpt", "lab", "running"]
MANUAL = Path(__file__).parents[2] / "documents" / "lab-manual.pdf"
FIELDS = {"parentId": None, "trainingType": "chunk", "chunkSize": 512, "metadata": {"mine": "1"}}
LIBRARY = "# Library\n\nThe library opens at nine.\n\nA lost card costs five euros.\n"


def client_of(fastgpt: FastGpt, password: str = ROOT_PASSWORD, **more: Any) -> FastGptClient:
    return FastGptClient(f"http://{fastgpt.address}:3000", password=password, **more)


@pytest.fixture
def client(fastgpt: FastGpt) -> Iterator[FastGptClient]:
    with client_of(fastgpt) as made:
        yield made


@pytest.fixture
def base(client: FastGptClient) -> Iterator[str]:
    made = client.create_dataset("base", vector_model=EMBEDDING, agent_model=LLM)
    yield made
    client.delete_dataset(made)


@pytest.fixture
def app(client: FastGptClient) -> Iterator[str]:
    made = client.create_app("app", _graph().nodes, _graph().edges)
    yield made
    client.delete_app(made)


def _graph(dataset: str = "", **more: Any) -> Graph:
    settings = App.model_validate({"name": "app", "similarity": 0, **more})
    return simple_app(settings, MODELS[0], [dataset] if dataset else [], EMBEDDING)


def _publish(client: FastGptClient, app_id: str, graph: Graph, name: str = "one") -> None:
    client.publish_app(
        app_id,
        nodes=graph.nodes,
        edges=graph.edges,
        chat_config=graph.chat_config,
        version_name=name,
    )


def _indexed(client: FastGptClient, base: str) -> None:
    until("indexing", lambda: all(c.chunks and not c.waiting for c in client.collections(base)))


def test_the_whole_way_from_a_file_to_a_cited_answer(client: FastGptClient, base: str) -> None:
    made = client.upload_file(base, "lab-manual.pdf", MANUAL.read_bytes(), FIELDS)
    assert made.inserted > 3
    assert made.too_long == 0
    _indexed(client, base)
    (row,) = client.collections(base)
    assert (row.id, row.name, row.chunks) == (made.collection_id, "lab-manual.pdf", made.inserted)
    beginning = client.first_passage(made.collection_id)
    assert beginning
    assert client.search(base, beginning)[0].collection_id == made.collection_id

    app = client.create_app("assistant", _graph(base).nodes, _graph(base).edges)
    client.update_app(app, name="assistant", intro="Knows the lab.")
    _publish(client, app, _graph(base))
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


def test_a_first_contact_races_with_nothing(lab: Lab) -> None:
    with client_of(lab.fastgpt("first-contact").up()) as client:
        found = client.init_data()
        assert (found.vector, found.llm, found.rerank) == ((EMBEDDING, WIDE), (LLM,), (RERANKER,))
        assert client.count_vectors() == 0


def test_a_wrong_password_is_said_and_not_shown(fastgpt: FastGpt) -> None:
    with client_of(fastgpt, "wrong-password") as client, pytest.raises(Unauthorized) as error:
        client.datasets()
    assert "密码错误" in str(error.value)
    assert "wrong-password" not in str(error.value)


def test_a_session_that_fastgpt_does_not_know_is_opened_again(fastgpt: FastGpt) -> None:
    with client_of(fastgpt, token="eyJ.of.yesterday") as client:
        assert client.datasets() == []
        assert client.token != "eyJ.of.yesterday"


def test_a_base_is_shown_as_it_was_made_and_changed(client: FastGptClient, base: str) -> None:
    client.update_dataset(base, name="other", agent_model=LLM, intro="About it.")
    found = client.dataset(base)
    assert (found.name, found.intro) == ("other", "About it.")
    assert (found.vector_model, found.agent_model) == (EMBEDDING, LLM)
    assert [(d.id, d.name) for d in client.datasets()] == [(base, "other")]


def test_what_is_gone_is_not_found_and_deletes_quietly(client: FastGptClient) -> None:
    base = client.create_dataset("short-lived", vector_model=EMBEDDING, agent_model=LLM)
    made = client.add_text(base, "a", "Some text.", FIELDS)
    client.delete_dataset(base)
    with pytest.raises(NotFound):
        client.dataset(base)
    with pytest.raises(NotFound):
        client.collection(made.collection_id, dataset_id=base)
    client.delete_dataset(base)
    client.delete_collection(made.collection_id, dataset_id=base)


@pytest.mark.parametrize(
    "name",
    ["手册 100%.md", "50% off.md", "a%20b.md", "a;b.md", 'quo"te.md', "a+b & c.md", "plain.md"],
)
def test_a_file_keeps_its_name(client: FastGptClient, base: str, name: str) -> None:
    made = client.upload_file(base, name, LIBRARY.encode(), FIELDS)
    found = client.collection(made.collection_id, dataset_id=base)
    assert (found.name, found.training, found.chunk_size) == (name, "chunk", 512)
    assert found.metadata["mine"] == "1"
    _indexed(client, base)
    assert {hit.document for hit in client.search(base, "library")} == {name}


def test_a_text_is_kept_whole(client: FastGptClient, base: str) -> None:
    made = client.add_text(base, "事实", "图书馆九点开门。", FIELDS)
    found = client.collection(made.collection_id, dataset_id=base)
    assert (found.name, found.text_length) == ("事实", len("图书馆九点开门。"))


def test_a_link_is_told_by_its_address(client: FastGptClient, base: str) -> None:
    page = "http://oneapi:3000/page"
    made = client.add_link(base, page, FIELDS)
    assert made.inserted == 1
    (row,) = client.collections(base)
    assert (row.link, row.name) == (page, "Opening hours")
    _indexed(client, base)
    assert client.search(base, "open")[0].document == "Opening hours"


def test_a_link_that_leads_nowhere_is_an_empty_document(client: FastGptClient, base: str) -> None:
    made = client.add_link(base, "http://nowhere.example/", FIELDS)
    assert made.inserted == 0
    assert client.collection(made.collection_id, dataset_id=base).text_length == 0


def test_what_is_too_long_for_the_model_is_counted(lab: Lab) -> None:
    narrow = config()
    narrow["vectorModels"][0]["maxToken"] = 20
    with client_of(lab.fastgpt("narrow", narrow).up()) as client:
        base = client.create_dataset("narrow", vector_model=EMBEDDING, agent_model=LLM)
        sizes = (("馆" * 26, 1, 0), ("馆" * 27, 0, 1))
        for text, inserted, too_long in sizes:
            made = client.add_text(base, "a", text, FIELDS)
            assert (made.inserted, made.too_long) == (inserted, too_long)


def test_a_base_of_many_pages_is_read_whole(client: FastGptClient, base: str) -> None:
    names = {f"note {number}" for number in range(65)}
    for name in sorted(names):
        client.add_text(base, name, f"This is {name}.", FIELDS)
    assert {row.name for row in client.collections(base)} == names


def test_qa_training_keeps_questions_with_their_answers(
    client: FastGptClient, base: str, lab: Lab
) -> None:
    lab.upstream.chat_answer = "Q1: When does it open?\nA1: At nine."
    fields = {**FIELDS, "trainingType": "qa", "chunkSize": 8000}
    made = client.add_text(base, "a", LIBRARY, fields)
    _indexed(client, base)
    assert client.first_passage(made.collection_id) == "When does it open?"
    assert client.search(base, "open")[0].passage == "When does it open?\nAt nine."
    asked = lab.upstream.bodies("/v1/chat/completions")[-1]["messages"][-1]["content"]
    assert "opens at nine" in asked


def test_visitors_get_the_graph_that_was_published_last(client: FastGptClient, app: str) -> None:
    share = client.create_share_link(app, "visitors", response_detail=True).share_id
    _publish(client, app, _graph(prompt="The library opens at nine."))
    assert "nine" in client.ask(share, "When does the library open?", visitor="v", chat_id="1").text
    _publish(client, app, _graph(prompt="The library opens at ten."), "two")
    assert "ten" in client.ask(share, "When does the library open?", visitor="v", chat_id="2").text


def test_an_app_is_shown_as_it_was_published(client: FastGptClient, app: str, base: str) -> None:
    graph = _graph(base, welcome="Hello.")
    client.update_app(app, name="renamed", intro="An intro.")
    _publish(client, app, graph)
    found = client.app(app)
    assert (found.name, found.intro) == ("renamed", "An intro.")
    assert [node["nodeId"] for node in found.nodes] == [node["nodeId"] for node in graph.nodes]
    assert found.chat_config["welcomeText"] == "Hello."
    assert [(a.id, a.name) for a in client.apps()] == [(app, "renamed")]


def test_a_link_is_listed_changed_and_deleted(client: FastGptClient, app: str) -> None:
    share = client.create_share_link(app, "visitors", response_detail=True).share_id
    (link,) = client.share_links(app)
    assert (link.share_id, link.name, link.response_detail) == (share, "visitors", True)
    assert link.id != share
    client.update_share_link(link.id, "guests", response_detail=False)
    (link,) = client.share_links(app)
    assert (link.share_id, link.name, link.response_detail) == (share, "guests", False)
    for _ in range(2):
        client.delete_share_link(link.id, app_id=app)
    assert client.share_links(app) == []


def test_a_key_is_shown_once_and_chats(client: FastGptClient, app: str, fastgpt: FastGpt) -> None:
    key = client.create_api_key(app, "notebook").key
    (listed,) = client.api_keys(app)
    assert (listed.name, listed.masked[-4:]) == ("notebook", key[-4:])
    _publish(client, app, _graph(prompt="The library opens at nine."))
    body = {"messages": [{"role": "user", "content": "When does the library open?"}]}
    with fastgpt.anonymous() as http:
        headers = {"Authorization": f"Bearer {key}"}
        answer = http.post("/api/v1/chat/completions", json=body, headers=headers).json()
    assert "nine" in answer["choices"][0]["message"]["content"]
    for _ in range(2):
        client.delete_api_key(listed.id, app_id=app)
    assert client.api_keys(app) == []


def test_an_app_that_is_gone_is_not_found(client: FastGptClient, app: str) -> None:
    client.delete_app(app)
    client.delete_app(app)
    with pytest.raises(NotFound):
        client.app(app)
    assert client.share_links(app) == client.api_keys(app) == []
