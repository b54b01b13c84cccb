"""Apps, their graphs, and chats with them (docs/facts/fastgpt.md §5 to §7, §10.5 to §10.8)."""

import json
from typing import Any

import httpx
import pytest

from provisioning.app_graph import simple_app
from provisioning.knowledge import App
from tests.contract.fastgpt_subject import (
    EMBEDDING,
    LLM,
    MODELS,
    WIDE,
    FastGpt,
    Lab,
    data,
    error,
    fastgpt,
    lab,
    running,
)

__all__ = ["fastgpt", "lab", "running"]
CHAT = "/api/v1/chat/completions"
SEARCH, ANSWER = "kbSearchNode01", "aiChatNode0001"
QUESTION = "When does the library open?"
Shape = dict[str, Any]


def graph(*datasets: str, **changes: Any) -> Shape:
    """Our own simple app; `changes` replace inputs, whichever node has them."""
    made = simple_app(App(name="app", similarity=0), MODELS[0], datasets, EMBEDDING)
    for item in (item for node in made.nodes for item in node["inputs"]):
        if item["key"] in changes:
            item["value"] = changes[item["key"]]
    return {"nodes": made.nodes, "edges": made.edges}


def create(fastgpt: FastGpt, shape: Shape, **more: Any) -> str:
    body = {"name": "app", "type": "simple", "modules": shape["nodes"], "edges": shape["edges"]}
    made: str = fastgpt.post("/api/core/app/create", **body, **more)
    return made


def publish(fastgpt: FastGpt, app: str, shape: Shape) -> None:
    body = {**shape, "chatConfig": {"welcomeText": "Hello"}, "type": "simple", "isPublish": True}
    data(fastgpt.http.post("/api/core/app/version/publish", params={"appId": app}, json=body))


def detail(fastgpt: FastGpt, app: str) -> dict[str, Any]:
    answer = fastgpt.http.get("/api/core/app/detail", params={"appId": app})
    found: dict[str, Any] = data(answer)
    return found


def visitor(fastgpt: FastGpt, app: str) -> dict[str, Any]:
    """Somebody with a new share link."""
    body = {"appId": app, "type": "share", "name": "link", "responseDetail": True, "limit": {}}
    share_id = fastgpt.post("/api/support/outLink/create", **body)
    return {"shareId": share_id, "outLinkUid": "visitor-1"}


def ask(
    fastgpt: FastGpt, visitor: dict[str, Any], question: str = QUESTION, **more: Any
) -> httpx.Response:
    """What the page of a share link posts: no login."""
    body = {"stream": False, "detail": True, "messages": [{"role": "user", "content": question}]}
    with fastgpt.anonymous() as http:
        return http.post(CHAT, json={**visitor, **body, **more})


@pytest.fixture(scope="module")
def dataset(running: FastGpt) -> str:
    """A dataset with one indexed document."""
    made = running.dataset()
    running.text(made, "# Library\n\nThe library opens at nine.\n", name="library.md")
    running.indexed(made)
    return made


@pytest.fixture
def app(fastgpt: FastGpt, dataset: str) -> str:
    """A published app on the dataset."""
    made = create(fastgpt, graph(dataset))
    publish(fastgpt, made, graph(dataset))
    return made


def asked_of_the_model(lab: Lab) -> dict[str, Any]:
    return lab.upstream.bodies("/v1/chat/completions")[-1]


@pytest.mark.parametrize("missing", ["name", "type", "modules"])
def test_what_is_missing_is_called_a_permission_error(fastgpt: FastGpt, missing: str) -> None:
    body = {"name": "a", "type": "simple", "modules": [], "nodes": []}
    del body[missing]
    answer = fastgpt.http.post("/api/core/app/create", json=body).json()
    assert answer["statusText"] == "inheritPermissionError"


def test_create_ignores_intro_and_chat_config(fastgpt: FastGpt) -> None:
    shown = detail(fastgpt, create(fastgpt, graph(), intro="mine", chatConfig={"a": 1}))
    assert shown["intro"] == ""
    assert "chatConfig" not in shown


def test_an_update_reaches_the_app_but_no_visitor(fastgpt: FastGpt, lab: Lab, app: str) -> None:
    shape = graph(systemPrompt="Only a draft.")
    body = {**shape, "intro": "changed", "name": "other"}
    data(fastgpt.http.put("/api/core/app/update", params={"appId": app}, json=body))
    shown = detail(fastgpt, app)
    assert (shown["name"], shown["intro"]) == ("other", "changed")
    ask(fastgpt, visitor(fastgpt, app))
    assert "Only a draft." not in json.dumps(asked_of_the_model(lab))


@pytest.mark.parametrize(("asked", "kept"), [(20000, 5120), (5000, 5000)])
def test_saving_lowers_the_limit_to_what_the_chat_model_quotes(
    fastgpt: FastGpt, app: str, dataset: str, asked: int, kept: int
) -> None:
    publish(fastgpt, app, graph(dataset, limit=asked))
    (search,) = [node for node in detail(fastgpt, app)["modules"] if node["nodeId"] == SEARCH]
    (limit,) = [item["value"] for item in search["inputs"] if item["key"] == "limit"]
    assert limit == kept


def test_a_chat_id_remembers_as_many_rounds_as_the_graph_says(
    fastgpt: FastGpt, lab: Lab, app: str, dataset: str
) -> None:
    publish(fastgpt, app, graph(dataset, history=1))
    somebody = visitor(fastgpt, app)
    for question in ("first?", "second?", "third?"):
        assert ask(fastgpt, somebody, question, chatId="rounds").status_code == 200
    messages = asked_of_the_model(lab)["messages"]
    said = [item["content"] for item in messages if item["role"] == "user"]
    assert (said[0], len(said)) == ("second?", 2)
    ask(fastgpt, somebody, "fourth?")
    assert "third?" not in json.dumps(asked_of_the_model(lab))


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_error_arrives_as_text(
    fastgpt: FastGpt, lab: Lab, app: str, stream: bool
) -> None:
    message = f"当前分组 default 下对于模型 {LLM} 无可用渠道 (request id: 20261122)"
    lab.upstream.refuse(LLM, message=message, type="one_api_error")
    answer = ask(fastgpt, visitor(fastgpt, app), stream=stream)
    if stream:
        assert answer.status_code == 200
        *_, last = answer.text.strip().split("\n\n")
        assert last.startswith("event: error\n")
        assert message in last
    else:
        assert error(answer) == (500, 500, message)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"model": "qwen2.5-instrukt"}, 200),
        ({"quoteQA": ["kbSearchNode02", "quoteQA"]}, 200),
        ({"userChatInput": ["workflowStartNodeId", "userInput"]}, 500),
        ({"datasets": []}, 500),
    ],
    ids=["another model", "no quotes", "no question", "no base"],
)
def test_a_mistake_in_the_graph_shows_when_it_runs(
    fastgpt: FastGpt, lab: Lab, app: str, dataset: str, changes: dict[str, Any], status: int
) -> None:
    publish(fastgpt, app, graph(dataset, **changes))
    assert ask(fastgpt, visitor(fastgpt, app)).status_code == status
    if status == 200:
        asked = asked_of_the_model(lab)
        assert asked["model"] == LLM
        assert (asked["messages"][-1]["content"] == QUESTION) == ("quoteQA" in changes)


def test_a_node_without_an_edge_does_not_run(fastgpt: FastGpt, app: str, dataset: str) -> None:
    shape = graph(dataset)
    publish(fastgpt, app, {**shape, "edges": shape["edges"][:1]})
    answer = ask(fastgpt, visitor(fastgpt, app)).json()
    assert answer["choices"][0]["message"]["content"] == ""


def test_an_app_without_bases_chats(fastgpt: FastGpt, lab: Lab, app: str) -> None:
    publish(fastgpt, app, graph())
    assert ask(fastgpt, visitor(fastgpt, app), "Say: The sky is blue.").status_code == 200
    assert lab.upstream.bodies("/v1/embeddings") == []


def test_the_query_is_embedded_by_the_datasets_own_model(fastgpt: FastGpt, lab: Lab) -> None:
    """F8: what the graph says of it is not looked at."""
    wide = fastgpt.dataset(WIDE)
    ask(fastgpt, visitor(fastgpt, create(fastgpt, graph(wide))))
    assert lab.upstream.bodies("/v1/embeddings")[-1]["model"] == WIDE


def test_without_its_visitors_id_a_link_opens_nothing(fastgpt: FastGpt, app: str) -> None:
    answer = ask(fastgpt, {**visitor(fastgpt, app), "outLinkUid": ""})
    assert error(answer)[:2] == (200, 403)
