"""FastGPT's config.json and the graph of an app, as docs/facts/fastgpt.md §2 and §5 want them."""

import json
from typing import Any

import pytest

from provisioning.app_graph import CHAT_NODE, SEARCH_NODE, START_NODE, served_limit, simple_app
from provisioning.catalogue import Model
from provisioning.fastgpt_config import config_json, quote_max_token
from provisioning.knowledge import App
from tests.unit.plans import model

CHAT = model(context=16384, title="Qwen 2.5", tools=True)
GLM = model("glm-4v", vision=True, remote={"provider": "zhipu"})
TINY = model("tiny", context=2048)
M3E = model("m3e-base", "embedding")
WIDE = model("wide", "embedding", dimensions=1024, maxInput=8192)
RERANK = model("bge-reranker-v2-m3", "rerank")
CHAT_FIELDS = """
    model name avatar maxContext maxResponse quoteMaxToken maxTemperature charsPointsPrice censor
    vision datasetProcess usedInClassify usedInExtractFields usedInToolCall usedInQueryExtension
    toolChoice functionCall customCQPrompt customExtractPrompt defaultSystemChatPrompt defaultConfig
"""
NODE_FIELDS = "nodeId name intro avatar flowNodeType showStatus position version inputs outputs"


def config(*models: Model) -> dict[str, Any]:
    return dict(json.loads(config_json(models)))


def test_the_catalogue_s_order_and_capabilities_are_kept() -> None:
    told = config(RERANK, GLM, WIDE, CHAT, M3E)
    glm, qwen = told["llmModels"]
    assert set(qwen) == set(CHAT_FIELDS.split()), "every field of 4.8.8"
    assert qwen.items() >= {
        "model": "qwen2.5-instruct", "name": "Qwen 2.5", "maxContext": 16384, "maxResponse": 4096,
        "vision": False, "toolChoice": True, "datasetProcess": True,
    }.items()  # fmt: skip
    # Zhipu refuses temperatures over 1.
    own = {"model": "glm-4v", "vision": True, "toolChoice": False, "maxTemperature": 1}
    assert glm.items() >= own.items()
    # An upload by hand is proposed a size that the model reads; only a width that is set is asked.
    vectors = [(e["model"], e["defaultToken"], e["defaultConfig"]) for e in told["vectorModels"]]
    assert vectors == [("wide", 512, {"dimensions": 1024}), ("m3e-base", 256, {})]
    (reranker,) = told["reRankModels"]
    assert reranker["requestUrl"] == "http://xinference:9997/v1/rerank"
    assert reranker["requestAuth"]
    assert "null" not in json.dumps(told)


@pytest.mark.parametrize("entry", [CHAT, GLM, model("tiny", context=512)])
def test_quotes_and_answer_fit_the_context(entry: Model) -> None:
    assert quote_max_token(entry) > 0
    assert quote_max_token(entry) + entry.answer_tokens <= entry.context


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
    speaks, hears = model("tts-1", "speech", voices=["alloy"]), model("whisper-1", "transcription")
    told = config(CHAT, M3E, speaks, hears)
    voice = {"label": "alloy", "value": "alloy", "bufferId": "tts-1-alloy"}
    assert told["audioSpeechModels"][0]["voices"] == [voice]
    whisper = {"model": "whisper-1", "name": "whisper-1", "charsPointsPrice": 0}
    assert told["whisperModel"] == whisper


APP = App(
    name="manual", bases=("lab",), prompt="Answer briefly.", welcome="Hello", rerank=True,
    search_mode="mixedRecall", similarity=0.5, limit=2000, temperature=2, history=4,
)  # fmt: skip
BASES = (["d1", "d2"], "m3e-base")


def test_the_same_catalogue_gives_the_same_file_and_graph() -> None:
    assert config_json([CHAT, M3E]) == config_json([CHAT, M3E])
    assert config_json([CHAT, M3E]).endswith("}\n")
    assert simple_app(APP, CHAT, *BASES) == simple_app(APP, CHAT, *BASES)


def inputs(nodes: list[dict[str, Any]], node_id: str) -> dict[str, Any]:
    """By key, the values of those that have one: without one FastGPT takes its own."""
    (node,) = [node for node in nodes if node["nodeId"] == node_id]
    return {entry["key"]: entry["value"] for entry in node["inputs"] if "value" in entry}


def test_an_app_with_bases_searches_and_then_answers() -> None:
    graph = simple_app(APP, CHAT, *BASES)
    kinds = ["userGuide", "workflowStart", "datasetSearchNode", "chatNode"]
    assert [node["flowNodeType"] for node in graph.nodes] == kinds
    ways = [(START_NODE, SEARCH_NODE), (SEARCH_NODE, CHAT_NODE)]
    assert graph.edges == [
        {"source": source, "sourceHandle": f"{source}-source-right"}
        | {"target": target, "targetHandle": f"{target}-target-left"}
        for source, target in ways
    ]
    assert graph.chat_config["welcomeText"] == "Hello"
    assert graph.chat_config["questionGuide"] is False
    # What its canvas needs.
    assert all(set(node) == set(NODE_FIELDS.split()) for node in graph.nodes)
    assert len({str(node["position"]) for node in graph.nodes}) == len(graph.nodes)


def test_search_and_answer_are_as_the_settings_say() -> None:
    nodes = simple_app(APP, CHAT, *BASES).nodes
    embedding = {"model": "m3e-base"}
    search = {
        "datasets": [{"datasetId": id_, "vectorModel": embedding} for id_ in ("d1", "d2")],
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
    assert inputs(nodes, SEARCH_NODE).items() >= search.items()
    assert inputs(nodes, CHAT_NODE).items() >= answer.items()
    assert not {"quoteTemplate", "quotePrompt"} & set(inputs(nodes, CHAT_NODE))


def test_a_reference_names_an_output_that_exists() -> None:
    nodes = simple_app(APP, CHAT, *BASES).nodes
    outputs = {(node["nodeId"], out["id"]) for node in nodes for out in node["outputs"]}
    ids = {node["nodeId"] for node in nodes}
    values = [value for id_ in ids for value in inputs(nodes, id_).values()]
    references = [tuple(v) for v in values if isinstance(v, list) and v[0] in list(ids)]
    assert len(references) == 3
    assert set(references) <= outputs


def test_an_app_without_bases_answers_at_once() -> None:
    graph = simple_app(App(name="plain"), CHAT, [], "")
    assert [(edge["source"], edge["target"]) for edge in graph.edges] == [(START_NODE, CHAT_NODE)]
    assert "quoteQA" not in inputs(graph.nodes, CHAT_NODE)
    assert SEARCH_NODE not in {node["nodeId"] for node in graph.nodes}


def test_the_limit_is_what_fastgpt_keeps() -> None:
    greedy = App(name="a", limit=20000)
    limits = [served_limit(APP, TINY), served_limit(greedy, TINY), served_limit(greedy, CHAT)]
    assert limits == [2000, 3000, quote_max_token(CHAT)]
    assert inputs(simple_app(greedy, TINY, *BASES).nodes, SEARCH_NODE)["limit"] == 3000
