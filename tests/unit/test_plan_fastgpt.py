"""FastGPT's config.json and the graph of an app, as docs/facts/fastgpt.md §2 and §5 want them."""

import json
from typing import Any

import pytest

from provisioning.app_graph import CHAT_NODE, SEARCH_NODE, START_NODE, served_limit, simple_app
from provisioning.catalogue import Model
from provisioning.fastgpt_config import config_json, config_problems, quote_max_token
from provisioning.knowledge import App


def model(name: str, kind: str, **more: Any) -> Model:
    source = {} if "remote" in more else {"xinference": {}}
    return Model.model_validate({"name": name, "kind": kind, **source, **more})


CHAT = model("qwen2.5-instruct", "chat", context=16384, title="Qwen 2.5", tools=True)
GLM = model("glm-4v", "chat", vision=True, remote={"provider": "zhipu"})
M3E = model("m3e-base", "embedding")
WIDE = model("wide", "embedding", dimensions=1024, maxInput=8192)
RERANK = model("bge-reranker-v2-m3", "rerank")
URL = "http://xinference:9997/v1/rerank"


def config(*models: Model) -> dict[str, Any]:
    return dict(json.loads(config_json(models)))


def test_a_chat_model_has_every_field_of_4_8_8() -> None:
    entry = config(CHAT, M3E)["llmModels"][0]
    assert set(entry) == {
        "model", "name", "avatar", "maxContext", "maxResponse", "quoteMaxToken", "maxTemperature",
        "charsPointsPrice", "censor", "vision", "datasetProcess", "usedInClassify",
        "usedInExtractFields", "usedInToolCall", "usedInQueryExtension", "toolChoice",
        "functionCall", "customCQPrompt", "customExtractPrompt", "defaultSystemChatPrompt",
        "defaultConfig",
    }  # fmt: skip
    assert (entry["model"], entry["name"]) == ("qwen2.5-instruct", "Qwen 2.5")
    assert (entry["maxContext"], entry["maxResponse"]) == (16384, 4096)
    assert entry["toolChoice"]
    assert entry["datasetProcess"]


@pytest.mark.parametrize("entry", [CHAT, GLM, model("tiny", "chat", context=512)])
def test_quotes_and_answer_fit_the_context(entry: Model) -> None:
    assert quote_max_token(entry) > 0
    assert quote_max_token(entry) + entry.answer_tokens <= entry.context


def test_the_catalogue_s_order_and_capabilities_are_kept() -> None:
    told = config(RERANK, GLM, WIDE, CHAT, M3E)
    glm, qwen = told["llmModels"]
    assert (glm["model"], glm["vision"], glm["toolChoice"]) == ("glm-4v", True, False)
    assert (qwen["model"], qwen["vision"], qwen["toolChoice"]) == ("qwen2.5-instruct", False, True)
    # Zhipu refuses temperatures over 1.
    assert glm["maxTemperature"] == 1
    wide, m3e = told["vectorModels"]
    # An upload by hand is proposed a size that the model reads; only a width that is set is asked.
    assert (wide["model"], wide["defaultToken"]) == ("wide", 512)
    assert (m3e["model"], m3e["defaultToken"]) == ("m3e-base", 256)
    assert (wide["defaultConfig"], m3e["defaultConfig"]) == ({"dimensions": 1024}, {})
    (reranker,) = told["reRankModels"]
    assert reranker["requestUrl"] == URL
    assert reranker["requestAuth"]
    assert "null" not in json.dumps(told)


@pytest.mark.parametrize("read", [64, 512, 8192])
def test_no_chunk_is_thrown_away_whatever_the_model_reads(read: int) -> None:
    # The longest that its splitter was seen to leave whole, and a spreadsheet's longest cell.
    longest = max(4 * 3000, 32_767)
    entry = config(CHAT, model("e", "embedding", maxInput=read))["vectorModels"][0]
    assert entry["maxToken"] * 1.3 > longest


def test_nothing_is_listed_that_is_not_served() -> None:
    told = config(CHAT, M3E)
    assert (told["reRankModels"], told["audioSpeechModels"]) == ([], [])
    assert "whisperModel" not in told
    # The parser of keys splits them at dashes.
    assert "-" not in told["systemEnv"]["openapiPrefix"]


def test_speech_and_transcription() -> None:
    told = config(
        CHAT, M3E, model("tts-1", "speech", voices=["alloy"]), model("whisper-1", "transcription")
    )
    voice = {"label": "alloy", "value": "alloy", "bufferId": "tts-1-alloy"}
    assert told["audioSpeechModels"][0]["voices"] == [voice]
    whisper = {"model": "whisper-1", "name": "whisper-1", "charsPointsPrice": 0}
    assert told["whisperModel"] == whisper


def test_the_same_catalogue_gives_the_same_file_and_graph() -> None:
    assert config_json([CHAT, M3E]) == config_json([CHAT, M3E])
    assert config_json([CHAT, M3E]).endswith("}\n")
    assert simple_app(APP, CHAT, *BASES) == simple_app(APP, CHAT, *BASES)


@pytest.mark.parametrize(
    ("models", "path", "said"),
    [
        ([M3E], "models", "a chat model"),
        ([CHAT], "models", "an embedding model"),
        ([model("x", "chat", maxResponse=8000), M3E], "models[0].maxResponse", "4096 or less"),
    ],
)
def test_what_fastgpt_would_get_wrong(models: list[Model], path: str, said: str) -> None:
    problems = list(config_problems(models))
    assert [problem.path for problem in problems] == [path]
    assert said in str(problems[0])


def test_a_right_catalogue_has_no_problem() -> None:
    assert list(config_problems([CHAT, GLM, M3E, RERANK])) == []


APP = App(
    name="manual",
    bases=("lab",),
    prompt="Answer briefly.",
    welcome="Hello",
    rerank=True,
    search_mode="mixedRecall",
    similarity=0.5,
    limit=2000,
    temperature=2,
    history=4,
)
BASES = (["d1", "d2"], "m3e-base")


def inputs(graph_nodes: list[dict[str, Any]], node_id: str) -> dict[str, Any]:
    node = next(node for node in graph_nodes if node["nodeId"] == node_id)
    return {entry["key"]: entry for entry in node["inputs"]}


def values(graph_nodes: list[dict[str, Any]], node_id: str) -> dict[str, Any]:
    return {key: entry.get("value") for key, entry in inputs(graph_nodes, node_id).items()}


def test_an_app_with_bases_searches_and_then_answers() -> None:
    graph = simple_app(APP, CHAT, *BASES)
    kinds = ["userGuide", "workflowStart", "datasetSearchNode", "chatNode"]
    assert [node["flowNodeType"] for node in graph.nodes] == kinds
    ways = [(START_NODE, SEARCH_NODE), (SEARCH_NODE, CHAT_NODE)]
    assert [(edge["source"], edge["target"]) for edge in graph.edges] == ways
    assert graph.edges[0]["sourceHandle"] == f"{START_NODE}-source-right"
    assert graph.edges[0]["targetHandle"] == f"{SEARCH_NODE}-target-left"
    assert graph.chat_config["welcomeText"] == "Hello"
    assert graph.chat_config["questionGuide"] is False


def test_search_and_answer_are_as_the_settings_say() -> None:
    nodes = simple_app(APP, CHAT, *BASES).nodes
    search = {
        "datasets": [
            {"datasetId": "d1", "vectorModel": {"model": "m3e-base"}},
            {"datasetId": "d2", "vectorModel": {"model": "m3e-base"}},
        ],
        "similarity": 0.5,
        "limit": 2000,
        "searchMode": "mixedRecall",
        "usingReRank": True,
        # Its default would call one more chat model for each question.
        "datasetSearchUsingExtensionQuery": False,
        "datasetSearchExtensionModel": "qwen2.5-instruct",
        "userChatInput": [START_NODE, "userChatInput"],
    }
    answer = {
        "model": "qwen2.5-instruct",
        "quoteQA": [SEARCH_NODE, "quoteQA"],
        "systemPrompt": "Answer briefly.",
        "temperature": 2,
        "history": 4,
        "maxToken": 4096,
        "isResponseAnswerText": True,
    }
    assert values(nodes, SEARCH_NODE).items() >= search.items()
    assert values(nodes, CHAT_NODE).items() >= answer.items()
    # An input without a value means the built-in one.
    fields = inputs(nodes, CHAT_NODE)
    assert "value" not in fields["quoteTemplate"] | fields["quotePrompt"]


def test_a_reference_names_an_output_that_exists() -> None:
    nodes = simple_app(APP, CHAT, *BASES).nodes
    outputs = {(node["nodeId"], out["id"]) for node in nodes for out in node["outputs"]}
    ids = {node["nodeId"] for node in nodes}
    references = [
        tuple(entry["value"])
        for node in nodes
        for entry in node["inputs"]
        if isinstance(entry.get("value"), list) and entry["value"][0] in list(ids)
    ]
    assert len(references) == 3
    assert set(references) <= outputs


def test_an_app_without_bases_answers_at_once() -> None:
    graph = simple_app(App(name="plain"), CHAT, [], "")
    assert [(edge["source"], edge["target"]) for edge in graph.edges] == [(START_NODE, CHAT_NODE)]
    assert "value" not in inputs(graph.nodes, CHAT_NODE)["quoteQA"]
    assert SEARCH_NODE not in {node["nodeId"] for node in graph.nodes}


def test_every_node_has_what_the_canvas_needs() -> None:
    nodes = simple_app(APP, CHAT, *BASES).nodes
    for node in nodes:
        assert {"nodeId", "name", "intro", "avatar", "flowNodeType", "showStatus", "position",
                "version", "inputs", "outputs"} == set(node)  # fmt: skip
    assert len({str(node["position"]) for node in nodes}) == len(nodes)


def test_the_limit_is_what_fastgpt_keeps() -> None:
    tiny = model("tiny", "chat", context=2048)
    assert served_limit(APP, tiny) == 2000
    assert served_limit(App(name="a", limit=20000), tiny) == 3000
    assert served_limit(App(name="a", limit=20000), CHAT) == quote_max_token(CHAT)
    told = values(simple_app(App(name="a", limit=20000), tiny, *BASES).nodes, SEARCH_NODE)
    assert told["limit"] == 3000
