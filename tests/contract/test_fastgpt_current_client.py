"""Our client against FastGPT 4.16: the lab's whole story, as measured §5 tells it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from provisioning.channels import XINFERENCE_KEY
from provisioning.clients.errors import NotFound, Refused
from provisioning.clients.fastgpt import CurrentClient
from provisioning.fastgpt_models import model_set
from stack.resources.fastgpt.app import GRAPH, as_wanted
from tests.contract.fastgpt_subject import (
    EMBEDDING,
    INTAKE,
    LIBRARY,
    LLM,
    MANUAL,
    MODELS,
    RERANKER,
    ROOT_PASSWORD,
    FastGpt,
    Stage,
    graph_of,
    publish,
)
from tests.contract.upstream import WIDE
from tests.waiting import until

_graph = partial(graph_of, "current")


@pytest.fixture(scope="module")
def current(stage: Stage) -> FastGpt:
    """One FastGPT for all tests of the module, which knows the lab's models."""
    stage.plugin().wait_until_listening()
    fastgpt = stage.current("current").up()
    with client_of(fastgpt) as client:
        client.set_models(model_set(MODELS))
    return fastgpt


def client_of(fastgpt: FastGpt, **more: Any) -> CurrentClient:
    told = {"password": ROOT_PASSWORD, **more}
    return CurrentClient(f"http://{fastgpt.address}:3000", **told)


@pytest.fixture
def client(stage: Stage, current: FastGpt) -> Iterator[CurrentClient]:
    stage.upstream.forget()
    # One session for all: a minute has ten logins.
    with client_of(current, token=getattr(current, "session", "")) as made:
        made.datasets()
        current.session = made.token  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def app(client: CurrentClient) -> Iterator[str]:
    made = client.create_app("app", _graph().nodes, _graph().edges)
    yield made
    client.delete_app(made)


def _indexed(client: CurrentClient, base: str) -> None:
    until(lambda: all(row.indexed for row in client.collections(base)), "indexing")


def test_the_whole_way_from_a_file_to_a_cited_answer(
    client: CurrentClient, base: str, stage: Stage
) -> None:
    made = client.upload_file(base, "lab-manual.pdf", MANUAL.read_bytes(), INTAKE)
    assert made.inserted is None
    _indexed(client, base)
    (row,) = client.collections(base)
    assert (row.id, row.name) == (made.collection_id, "lab-manual.pdf")
    beginning = client.first_passage(made.collection_id)
    assert beginning
    assert client.search(base, beginning)[0].collection_id == made.collection_id
    assert client.reranks(base, beginning, RERANKER)
    stage.upstream.refuse(RERANKER, 500, message="down")
    assert not client.reranks(base, beginning, RERANKER)
    stage.upstream.refusals.clear()

    app = client.create_app("assistant", _graph(base).nodes, _graph(base).edges)
    client.update_app(app, name="assistant", intro="Knows the lab.")
    graph = _graph(base, rerank=True)
    publish(client, app, graph)
    shown = client.app(app)
    for key in GRAPH:
        assert as_wanted(getattr(graph, key), getattr(shown, key)) == getattr(graph, key)
    share = client.create_share_link(app, "visitors", response_detail=True).share_id
    answer = client.ask(share, "How do I stop paying?", visitor="v", chat_id="c1")
    assert "destroy" in answer.text
    assert {hit.document for hit in answer.citations} == {"lab-manual.pdf"}
    assert all(hit.reranked for hit in answer.citations)

    client.delete_app(app)
    assert client.apps() == []
    with pytest.raises(Refused):
        client.ask(share, "How do I stop paying?", visitor="v", chat_id="c2")
    client.delete_collection(made.collection_id, dataset_id=base)
    assert client.collections(base) == []


def test_the_models_are_those_of_the_catalogue_and_each_can_be_tried(
    client: CurrentClient, stage: Stage
) -> None:
    found = client.init_data()
    assert (found.vector, found.llm, found.rerank) == ((EMBEDDING, WIDE), (LLM,), (RERANKER,))
    assert client.models() == model_set(MODELS)
    for name in (LLM, EMBEDDING, RERANKER):
        client.test_model(name)
    (asked,) = stage.upstream.bodies("/v1/rerank")
    assert asked["model"] == RERANKER
    stage.upstream.refuse(EMBEDDING, 503, message="no channel")
    with pytest.raises(Refused, match="no channel") as error:
        client.test_model(EMBEDDING)
    assert XINFERENCE_KEY not in str(error.value)


def test_a_session_that_fastgpt_does_not_know_is_opened_again(current: FastGpt) -> None:
    with client_of(current, token="of:yesterday") as client:
        assert client.init_data().version
        assert client.token != "of:yesterday"


@pytest.mark.parametrize("name", ["手册 100%.md", "a%20b.md", 'quo"te.md', "a+b & c.md"])
def test_a_file_keeps_its_name(client: CurrentClient, base: str, name: str) -> None:
    made = client.upload_file(base, name, LIBRARY.encode(), INTAKE)
    found = client.collection(made.collection_id, dataset_id=base)
    told = (found.name, found.training, found.chunk_size, found.mark)
    assert told == (name, "chunk", 512, "1")
    _indexed(client, base)
    assert {hit.document for hit in client.search(base, "library")} == {name}


def test_a_text_keeps_its_name_and_its_mark(client: CurrentClient, base: str) -> None:
    made = client.add_text(base, "事实", "图书馆九点开门。", INTAKE).collection_id
    _indexed(client, base)
    found = client.collection(made, dataset_id=base)
    assert (found.name, found.text_length, found.mark) == ("事实", 8, "1")
    assert client.search(base, "图书馆")[0].document == "事实"


def test_a_base_of_many_pages_is_read_whole(client: CurrentClient, base: str) -> None:
    names = {f"note {number}" for number in range(35)}
    for name in sorted(names):
        client.add_text(base, name, f"This is {name}.", INTAKE)
    assert {row.name for row in client.collections(base)} == names


def test_an_embedding_that_fails_is_told_in_the_end_and_can_be_tried_again(
    client: CurrentClient, base: str, stage: Stage
) -> None:
    stage.upstream.refuse(EMBEDDING, 503, message="embedding down")
    made = client.add_text(base, "a", LIBRARY, INTAKE).collection_id
    until(lambda: client.collections(base)[0].failed, "the last try")
    assert "embedding down" in client.training_errors(made)[0]
    stage.upstream.forget()
    client.retry_training(base)
    _indexed(client, base)


def test_a_failing_model_is_an_error_though_http_says_200(
    client: CurrentClient, app: str, stage: Stage
) -> None:
    share = client.create_share_link(app, "visitors", response_detail=True).share_id
    publish(client, app, _graph(prompt="The library opens at nine."))
    assert "nine" in client.ask(share, "When does the library open?", visitor="v", chat_id="1").text
    stage.upstream.refuse(LLM, 503, message="no channel")
    with pytest.raises(Refused, match="no channel"):
        client.ask(share, "When does the library open?", visitor="v", chat_id="2")


def test_a_key_of_an_app_chats_and_is_shown_again(
    client: CurrentClient, app: str, current: FastGpt
) -> None:
    made = client.create_api_key(app, "notebook")
    (listed,) = client.api_keys(app)
    assert (listed.id, listed.name) == (made.id, "notebook")
    assert client.api_key(made.id, app_id=app) == made.key
    publish(client, app, _graph(prompt="The library opens at nine."))
    body = {"messages": [{"role": "user", "content": "When does the library open?"}]}
    headers = {"Authorization": f"Bearer {made.key}"}
    with current.anonymous() as http:
        answer = http.post("/api/v1/chat/completions", json=body, headers=headers).json()
    assert "nine" in answer["choices"][0]["message"]["content"]
    client.rename_api_key(made.id, "other", app_id=app)
    assert [row.name for row in client.api_keys(app)] == ["other"]


def test_deleting_takes_a_while_and_twice_is_as_good(client: CurrentClient) -> None:
    made = client.create_app("short", _graph().nodes, _graph().edges)
    for _ in range(2):
        client.delete_app(made)
        with pytest.raises(NotFound):
            client.app(made)
