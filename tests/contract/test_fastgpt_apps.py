"""Apps, share links, chats (docs/facts/fastgpt.md §5, §6, §7, §10.5 to §10.8, §10.10)."""

import copy
import json
from typing import Any

import httpx
import pytest

from tests.contract.fastgpt_subject import (
    EMBEDDING,
    LLM,
    SECOND_LLM,
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
START, SEARCH, ANSWER = "workflowStartNodeId", "kbSearchNode01", "aiChatNode0001"
LIBRARY = (
    "# Library\n\n## Hours\nThe library opens at nine.\n\n## Fees\nA lost card costs five euros.\n"
)
QUESTION = "When does the library open?"


def field(key: str, value: Any = None) -> dict[str, Any]:
    found = {"key": key, "label": "", "renderTypeList": ["hidden"]}
    return found if value is None else {**found, "value": value}


def output(key: str) -> dict[str, str]:
    return {"id": key, "key": key, "type": "static"}


def graph(dataset: str, **changes: Any) -> dict[str, Any]:
    """The simple app of facts §5; `changes` replace inputs: `chat_model=`, `search_limit=`."""
    search: dict[str, Any] = {
        "datasets": [{"datasetId": dataset, "vectorModel": {"model": EMBEDDING}}],
        "similarity": 0,
        "limit": 1500,
        "searchMode": "embedding",
        "usingReRank": False,
        "datasetSearchUsingExtensionQuery": False,
        "userChatInput": [START, "userChatInput"],
    }
    chat: dict[str, Any] = {
        "model": LLM,
        "temperature": 3,
        "maxToken": 1950,
        "isResponseAnswerText": True,
        "quoteTemplate": None,
        "quotePrompt": None,
        "systemPrompt": "Be brief.",
        "history": 6,
        "userChatInput": [START, "userChatInput"],
        "quoteQA": [SEARCH, "quoteQA"],
    }
    for name, value in changes.items():
        node, _, key = name.partition("_")
        {"search": search, "chat": chat}[node][key] = value
    nodes = [
        {"nodeId": "userGuide", "flowNodeType": "userGuide", "inputs": [], "outputs": []},
        {
            "nodeId": START,
            "flowNodeType": "workflowStart",
            "name": "Start",
            "inputs": [field("userChatInput")],
            "outputs": [output("userChatInput")],
        },
        {
            "nodeId": SEARCH,
            "flowNodeType": "datasetSearchNode",
            "name": "Search",
            "showStatus": True,
            "inputs": [field(key, value) for key, value in search.items()],
            "outputs": [output("quoteQA")],
        },
        {
            "nodeId": ANSWER,
            "flowNodeType": "chatNode",
            "name": "Answer",
            "showStatus": True,
            "inputs": [field(key, value) for key, value in chat.items()],
            "outputs": [output("history"), output("answerText")],
        },
    ]
    return {"nodes": nodes, "edges": [edge(START, SEARCH), edge(SEARCH, ANSWER)]}


def edge(source: str, target: str) -> dict[str, str]:
    handles = {"sourceHandle": f"{source}-source-right", "targetHandle": f"{target}-target-left"}
    return {"source": source, "target": target, **handles}


def create(fastgpt: FastGpt, shape: dict[str, Any], **more: Any) -> str:
    body = {"name": "app", "type": "simple", "modules": shape["nodes"], "edges": shape["edges"]}
    made: str = fastgpt.post("/api/core/app/create", **body, **more)
    return made


def publish(fastgpt: FastGpt, app: str, shape: dict[str, Any], **chat_config: Any) -> None:
    body = {**shape, "chatConfig": chat_config, "type": "simple", "isPublish": True}
    answer = fastgpt.http.post("/api/core/app/version/publish", params={"appId": app}, json=body)
    data(answer)


def detail(fastgpt: FastGpt, app: str) -> dict[str, Any]:
    found: dict[str, Any] = fastgpt.get("/api/core/app/detail", appId=app)
    return found


def share(fastgpt: FastGpt, app: str, **fields: Any) -> str:
    body = {"appId": app, "type": "share", "name": "link", "responseDetail": True, **fields}
    made: str = fastgpt.post("/api/support/outLink/create", **body)
    return made


def links(fastgpt: FastGpt, app: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fastgpt.get("/api/support/outLink/list", appId=app, type="share")
    return found


def visit(fastgpt: FastGpt, share_id: str, question: str = QUESTION, **more: Any) -> httpx.Response:
    """What the page of a share link posts: no login."""
    body = {
        "shareId": share_id,
        "outLinkUid": "visitor-1",
        "stream": False,
        "detail": True,
        "messages": [{"role": "user", "content": question}],
        **more,
    }
    with fastgpt.anonymous() as http:
        return http.post(CHAT, json=body)


def key_of(fastgpt: FastGpt, app: str) -> str:
    made: str = fastgpt.post("/api/support/openapi/create", name="app key", appId=app)
    return made


def ask(fastgpt: FastGpt, key: str, question: str = QUESTION, **more: Any) -> httpx.Response:
    messages = [{"role": "user", "content": question}]
    body = {"stream": False, "detail": True, "messages": messages, **more}
    with fastgpt.anonymous() as http:
        return http.post(CHAT, json=body, headers={"Authorization": f"Bearer {key}"})


def events(answer: httpx.Response) -> list[tuple[str, Any]]:
    """A stream's events: name (empty where there is none) and data."""
    assert answer.headers.get("content-type", "text/event-stream").startswith("text/event-stream")
    found = []
    for block in answer.text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        text = lines["data"]
        found.append((lines.get("event", ""), text if text == "[DONE]" else json.loads(text)))
    return found


def said(found: list[tuple[str, Any]]) -> str:
    chunks = [item for name, item in found if name in ("answer", "") and item != "[DONE]"]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


@pytest.fixture(scope="module")
def dataset(running: FastGpt) -> str:
    """A dataset with one indexed document."""
    made = running.dataset()
    running.text(made, LIBRARY, "library.md")
    running.indexed(made)
    return made


@pytest.fixture
def app(fastgpt: FastGpt, dataset: str) -> str:
    """A published app on the dataset."""
    made = create(fastgpt, graph(dataset))
    publish(fastgpt, made, graph(dataset), welcomeText="Hello")
    return made


# Apps


@pytest.mark.parametrize("missing", ["name", "type", "modules"])
def test_what_is_missing_is_called_a_permission_error(fastgpt: FastGpt, missing: str) -> None:
    body = {"name": "a", "type": "simple", "modules": [], "nodes": []}
    del body[missing]
    answer = fastgpt.http.post("/api/core/app/create", json=body).json()
    assert answer["statusText"] == "inheritPermissionError"


def test_create_ignores_intro_and_chat_config(fastgpt: FastGpt, dataset: str) -> None:
    made = create(fastgpt, graph(dataset), intro="mine", chatConfig={"welcomeText": "Hi"})
    shown = detail(fastgpt, made)
    assert shown["intro"] == ""
    assert "chatConfig" not in shown


def test_update_changes_the_app_but_not_what_visitors_get(
    fastgpt: FastGpt, lab: Lab, app: str, dataset: str
) -> None:
    link = share(fastgpt, app)
    shape = graph(dataset, chat_model=SECOND_LLM)
    body = {**shape, "intro": "changed", "name": "other", "chatConfig": {"welcomeText": "New"}}
    data(fastgpt.http.put("/api/core/app/update", params={"appId": app}, json=body))
    shown = detail(fastgpt, app)
    assert (shown["name"], shown["intro"], shown["modules"]) == ("other", "changed", shape["nodes"])
    visit(fastgpt, link)
    assert lab.upstream.bodies("/v1/chat/completions")[-1]["model"] == LLM
    publish(fastgpt, app, shape)
    visit(fastgpt, link)
    assert lab.upstream.bodies("/v1/chat/completions")[-1]["model"] == SECOND_LLM
    assert detail(fastgpt, app)["modules"] == shape["nodes"]


@pytest.mark.parametrize("modules", [True, False], ids=["modules", "nodes"])
def test_the_graph_is_modules_in_create_and_nodes_after(
    fastgpt: FastGpt, dataset: str, modules: bool
) -> None:
    made = create(fastgpt, {"nodes": [], "edges": []})
    shape = graph(dataset)
    body = {"modules" if modules else "nodes": shape["nodes"], "edges": shape["edges"]}
    data(fastgpt.http.put("/api/core/app/update", params={"appId": made}, json=body))
    assert bool(detail(fastgpt, made)["modules"]) is not modules


@pytest.mark.parametrize(("asked", "kept"), [(20000, 8000), (5000, 5000)])
def test_saving_lowers_the_limit_to_what_the_chat_model_quotes(
    fastgpt: FastGpt, dataset: str, asked: int, kept: int
) -> None:
    made = create(fastgpt, graph(dataset))
    publish(fastgpt, made, graph(dataset, search_limit=asked))
    (search,) = [node for node in detail(fastgpt, made)["modules"] if node["nodeId"] == SEARCH]
    (limit,) = [item for item in search["inputs"] if item["key"] == "limit"]
    assert limit["value"] == kept


def test_apps_are_listed_by_folder(fastgpt: FastGpt) -> None:
    folder = fastgpt.post("/api/core/app/create", name="folder", type="folder", modules=[])
    inner = create(fastgpt, {"nodes": [], "edges": []}, parentId=folder)
    in_folder = fastgpt.post("/api/core/app/list", parentId=folder)
    assert [row["_id"] for row in in_folder] == [inner]
    at_top = [row["_id"] for row in fastgpt.post("/api/core/app/list", parentId=None)]
    assert folder in at_top
    assert inner not in at_top


def test_a_key_outlives_its_app_and_opens_nothing(fastgpt: FastGpt, app: str) -> None:
    key = key_of(fastgpt, app)
    data(fastgpt.http.delete("/api/core/app/del", params={"appId": app}))
    assert error(ask(fastgpt, key)) == (500, 500, "app is empty")


# Share links


def test_a_links_id_is_not_its_share_id(fastgpt: FastGpt, app: str) -> None:
    share_id = share(fastgpt, app)
    assert len(share_id) == 24
    assert share_id.isalnum()
    assert share_id.islower()
    (row,) = links(fastgpt, app)
    assert row["shareId"] == share_id
    assert row["_id"] != share_id
    delete = "/api/support/outLink/delete"
    wrong = fastgpt.http.delete(delete, params={"id": share_id}).json()
    assert wrong["code"] != 200
    data(fastgpt.http.delete(delete, params={"id": row["_id"]}))
    assert visit(fastgpt, share_id).json()["statusText"] == "linkUnInvalid"


def test_listing_links_needs_the_type(fastgpt: FastGpt, app: str) -> None:
    share(fastgpt, app)
    assert fastgpt.get("/api/support/outLink/list", appId=app) == []
    assert len(links(fastgpt, app)) == 1


def test_updating_a_link_replaces_its_limit(fastgpt: FastGpt, app: str) -> None:
    share_id = share(fastgpt, app, limit={"QPM": 5, "maxUsagePoints": 7})
    (row,) = links(fastgpt, app)
    body = {"_id": row["_id"], "name": "new", "responseDetail": False, "limit": {"QPM": 9}}
    fastgpt.post("/api/support/outLink/update", **body)
    (row,) = links(fastgpt, app)
    limit = {"QPM": 9, "maxUsagePoints": -1}
    assert (row["name"], row["responseDetail"], row["limit"]) == ("new", False, limit)
    assert row["shareId"] == share_id
    assert fastgpt.http.put("/api/support/outLink/update", json=body).status_code == 405


def test_a_links_limits_bind_nobody(fastgpt: FastGpt, app: str) -> None:
    limit = {"expiredTime": "2020-01-01T00:00:00.000Z", "QPM": 1, "maxUsagePoints": 0}
    share_id = share(fastgpt, app, limit=limit)
    answers = [visit(fastgpt, share_id).status_code for _ in range(3)]
    assert answers == [200, 200, 200]
    assert links(fastgpt, app)[0]["limit"] == limit


# Visitors


@pytest.mark.parametrize("response_detail", [True, False])
def test_a_visitors_stream_cites_only_with_response_detail(
    fastgpt: FastGpt, app: str, response_detail: bool
) -> None:
    share_id = share(fastgpt, app, responseDetail=response_detail)
    found = events(visit(fastgpt, share_id, stream=True))
    names = [name for name, _ in found]
    done = found.index(("answer", "[DONE]"))
    assert names.count("flowNodeStatus") == 2
    assert "opens at nine" in said(found)
    assert names[done + 1 :] == (["flowResponses"] if response_detail else [])
    if response_detail:
        assert [set(item) for item in found[-1][1]] == [{"moduleType", "quoteList"}]


@pytest.mark.parametrize("missing", ["shareId", "outLinkUid"])
def test_without_either_id_a_visitor_is_a_stranger(
    fastgpt: FastGpt, app: str, missing: str
) -> None:
    answer = visit(fastgpt, share(fastgpt, app), **{missing: ""})
    assert (answer.status_code, answer.json()["code"]) == (200, 403)


def test_a_conversation_belongs_to_one_visitor(fastgpt: FastGpt, app: str) -> None:
    link = share(fastgpt, app)
    assert visit(fastgpt, link, chatId="c1").status_code == 200
    stranger = visit(fastgpt, link, chatId="c1", outLinkUid="visitor-2")
    assert stranger.json()["statusText"] == "unAuthChat"
    other_link = visit(fastgpt, share(fastgpt, app), chatId="c1")
    assert other_link.json()["statusText"] == "unAuthChat"


# Conversations


def test_a_chat_id_remembers_as_many_rounds_as_the_graph_says(
    fastgpt: FastGpt, lab: Lab, app: str, dataset: str
) -> None:
    publish(fastgpt, app, graph(dataset, chat_history=1))
    key = key_of(fastgpt, app)
    for question in ("first?", "second?", "third?"):
        assert ask(fastgpt, key, question, chatId="rounds").status_code == 200
    *_, last = lab.upstream.bodies("/v1/chat/completions")
    said_by_user = [item["content"] for item in last["messages"] if item["role"] == "user"]
    assert said_by_user[0] == "second?"
    assert len(said_by_user) == 2
    ask(fastgpt, key, "fourth?")
    assert len(lab.upstream.bodies("/v1/chat/completions")[-1]["messages"]) == 2


def test_earlier_messages_are_the_history_without_a_chat_id(
    fastgpt: FastGpt, lab: Lab, app: str
) -> None:
    messages = [
        {"role": "user", "content": "before"},
        {"role": "assistant", "content": "answered"},
        {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
    ]
    ask(fastgpt, key_of(fastgpt, app), messages=messages)
    sent = lab.upstream.bodies("/v1/chat/completions")[-1]["messages"]
    assert [item["content"] for item in sent[1:3]] == ["before", "answered"]
    assert QUESTION in sent[3]["content"]


def test_what_a_caller_says_of_model_and_temperature_is_ignored(
    fastgpt: FastGpt, lab: Lab, app: str
) -> None:
    answer = ask(fastgpt, key_of(fastgpt, app), model="gpt-4", temperature=2, chatId="c9").json()
    assert answer["id"] == "c9"
    (body,) = lab.upstream.bodies("/v1/chat/completions")
    assert (body["model"], body["temperature"]) == (LLM, pytest.approx(0.36))


def test_without_detail_there_are_only_data_lines(fastgpt: FastGpt, app: str) -> None:
    key = key_of(fastgpt, app)
    assert set(ask(fastgpt, key, detail=False).json()) == {"id", "model", "usage", "choices"}
    found = events(ask(fastgpt, key, detail=False, stream=True))
    assert {name for name, _ in found} == {""}
    assert found[-1] == ("", "[DONE]")
    assert "opens at nine" in said(found)


def test_a_session_chats_with_the_app_it_names(fastgpt: FastGpt, app: str) -> None:
    body = {"appId": app, "messages": [{"role": "user", "content": QUESTION}]}
    answer = fastgpt.http.post(CHAT, json=body)
    assert "opens at nine" in answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("messages", [None, []])
def test_there_has_to_be_a_question(fastgpt: FastGpt, app: str, messages: Any) -> None:
    assert error(ask(fastgpt, key_of(fastgpt, app), messages=messages))[:2] == (500, 500)


def test_whoever_spoke_last_is_answered(fastgpt: FastGpt, app: str) -> None:
    messages = [{"role": "assistant", "content": QUESTION}]
    answer = ask(fastgpt, key_of(fastgpt, app), messages=messages).json()
    assert "opens at nine" in answer["choices"][0]["message"]["content"]


# What goes wrong in the graph and upstream


def test_an_upstream_error_arrives_as_text(fastgpt: FastGpt, lab: Lab, app: str) -> None:
    message = f"当前分组 default 下对于模型 {LLM} 无可用渠道 (request id: 20261122)"
    refusal = {"error": {"message": message, "type": "one_api_error"}}
    lab.upstream.refusals[LLM] = (503, refusal)
    link = share(fastgpt, app)
    assert error(visit(fastgpt, link)) == (500, 500, message)
    streamed = visit(fastgpt, link, stream=True)
    assert streamed.status_code == 200
    assert events(streamed)[-1] == ("error", {"message": f"undefined {message}"})


def test_an_error_before_the_stream_is_an_event_too(fastgpt: FastGpt) -> None:
    answer = visit(fastgpt, "no-such-link", stream=True)
    assert "content-type" not in answer.headers
    found = events(answer)
    assert [name for name, _ in found] == ["error"]
    assert found[0][1]["statusText"] == "linkUnInvalid"


def test_an_unknown_chat_model_is_silently_the_first(
    fastgpt: FastGpt, lab: Lab, app: str, dataset: str
) -> None:
    publish(fastgpt, app, graph(dataset, chat_model="qwen2.5-instrukt"))
    assert ask(fastgpt, key_of(fastgpt, app)).status_code == 200
    assert lab.upstream.bodies("/v1/chat/completions")[-1]["model"] == LLM


def test_a_reference_to_nowhere_is_undefined(
    fastgpt: FastGpt, lab: Lab, app: str, dataset: str
) -> None:
    key = key_of(fastgpt, app)
    publish(fastgpt, app, graph(dataset, chat_quoteQA=["kbSearchNode02", "quoteQA"]))
    ask(fastgpt, key)
    assert lab.upstream.bodies("/v1/chat/completions")[-1]["messages"][-1]["content"] == QUESTION
    publish(fastgpt, app, graph(dataset, chat_userChatInput=[START, "userInput"]))
    assert error(ask(fastgpt, key))[0] == 500


def test_anything_but_a_reference_is_literal(fastgpt: FastGpt, app: str, dataset: str) -> None:
    publish(fastgpt, app, graph(dataset, search_userChatInput="literal hours"))
    search = ask(fastgpt, key_of(fastgpt, app)).json()["responseData"][0]
    assert search["query"] == "literal hours"


def test_a_node_without_an_edge_does_not_run(fastgpt: FastGpt, app: str, dataset: str) -> None:
    shape = copy.deepcopy(graph(dataset))
    shape["edges"] = [edge(START, SEARCH)]
    publish(fastgpt, app, shape)
    answer = ask(fastgpt, key_of(fastgpt, app)).json()
    assert [step["moduleType"] for step in answer["responseData"]][-1] == "datasetSearchNode"
    assert answer["choices"][0]["message"]["content"] == ""


def test_a_node_waits_for_all_that_lead_to_it(fastgpt: FastGpt, app: str, dataset: str) -> None:
    shape = graph(dataset)
    shape["edges"] = [edge(START, ANSWER), *shape["edges"]]
    publish(fastgpt, app, shape)
    steps = ask(fastgpt, key_of(fastgpt, app)).json()["responseData"]
    assert [step["moduleType"] for step in steps] == ["datasetSearchNode", "chatNode"]
    assert "opens at nine" in steps[-1]["historyPreview"][-2]["value"]


def test_an_app_without_bases_chats(fastgpt: FastGpt, lab: Lab, app: str, dataset: str) -> None:
    shape = graph(dataset, chat_quoteQA=None)
    shape["nodes"] = [node for node in shape["nodes"] if node["nodeId"] != SEARCH]
    publish(fastgpt, app, {**shape, "edges": [edge(START, ANSWER)]})
    answer = ask(fastgpt, key_of(fastgpt, app), "Say: The sky is blue.")
    assert answer.status_code == 200
    assert lab.upstream.bodies("/v1/embeddings") == []


def test_no_dataset_chosen_fails_at_run_time(fastgpt: FastGpt, app: str, dataset: str) -> None:
    publish(fastgpt, app, graph(dataset, search_datasets=[]))
    message = error(ask(fastgpt, key_of(fastgpt, app)))[2]
    assert message == "core.chat.error.Select dataset empty"


@pytest.mark.parametrize("named", [{}, {"vectorModel": {"model": EMBEDDING}}])
def test_the_query_is_embedded_by_the_datasets_own_model(
    fastgpt: FastGpt, lab: Lab, named: dict[str, Any]
) -> None:
    """F8: what the graph says of it is not looked at."""
    wide = fastgpt.dataset(vectorModel=WIDE)
    made = create(fastgpt, graph(wide, search_datasets=[{"datasetId": wide, **named}]))
    ask(fastgpt, key_of(fastgpt, made))
    assert lab.upstream.bodies("/v1/embeddings")[-1]["model"] == WIDE


def test_own_prompts_replace_the_built_in_ones(
    fastgpt: FastGpt, lab: Lab, app: str, dataset: str
) -> None:
    shape = graph(
        dataset,
        chat_quoteTemplate="[{{source}}] {{q}}",
        chat_quotePrompt="Know {{quote}}. Asked: {{question}}",
        chat_systemPrompt="You serve {{who}}.",
    )
    publish(fastgpt, app, shape)
    ask(fastgpt, key_of(fastgpt, app), variables={"who": "readers"})
    system, prompt = lab.upstream.bodies("/v1/chat/completions")[-1]["messages"]
    assert system["content"] == "You serve readers."
    assert prompt["content"].startswith("Know [library.md] #")
    assert prompt["content"].endswith(f"Asked: {QUESTION}")


def test_a_similarity_that_filtered_nothing_is_not_told(
    fastgpt: FastGpt, app: str, dataset: str
) -> None:
    key = key_of(fastgpt, app)
    for mode, told in (("embedding", True), ("fullTextRecall", False)):
        publish(fastgpt, app, graph(dataset, search_searchMode=mode))
        search = ask(fastgpt, key).json()["responseData"][0]
        assert (search["searchMode"], "similarity" in search) == (mode, told)


def test_a_deleted_document_is_not_quoted_any_more(fastgpt: FastGpt, lab: Lab) -> None:
    made = fastgpt.dataset()
    collection = fastgpt.text(made, LIBRARY)["collectionId"]
    fastgpt.indexed(made)
    key = key_of(fastgpt, create(fastgpt, graph(made)))
    assert ask(fastgpt, key).json()["responseData"][0]["quoteList"]
    path = "/api/core/dataset/collection/delete"
    data(fastgpt.http.delete(path, params={"id": collection}))
    assert "quoteList" not in ask(fastgpt, key).json()["responseData"][0]
