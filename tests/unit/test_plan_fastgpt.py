"""FastGPT's config.json and the graph of an app, as docs/facts/fastgpt.md §2 and §5 want them."""

import json
from typing import Any

import pytest

from provisioning.app_graph import CHAT_NODE, SEARCH_NODE, START_NODE, served_limit, simple_app
from provisioning.catalogue import Model
from provisioning.fastgpt_config import config_json, quote_max_token
from provisioning.knowledge import App
from tests.unit.plans import cases, model

CHAT = model(context=16384, title="Qwen 2.5", tools=True)
GLM = model("glm-4v", vision=True, remote={"provider": "zhipu"})
TINY = model("tiny", context=2048)
M3E = model("m3e-base", "embedding")
WIDE = model("wide", "embedding", dimensions=1024, maxInput=8192)
RERANK = model("bge-reranker-v2-m3", "rerank")
TABLE = cases("plans.yaml")
APP = App.model_validate(TABLE["app"])
BASES = (["d1", "d2"], "m3e-base")


def config(*models: Model) -> dict[str, Any]:
    return dict(json.loads(config_json(models)))


def test_the_catalogue_s_order_and_capabilities_are_kept() -> None:
    told = config(RERANK, GLM, WIDE, CHAT, M3E)
    glm, qwen = told["llmModels"]
    assert set(qwen) == set(TABLE["chat_fields"])
    assert qwen.items() >= TABLE["chat"].items()
    # Zhipu refuses temperatures over 1.
    own = {"model": "glm-4v", "vision": True, "toolChoice": False, "maxTemperature": 1}
    assert glm.items() >= own.items()
    # An upload by hand is proposed a size that the model reads; only a width that is set is asked.
    vectors = [(e["model"], e["defaultToken"], e["defaultConfig"]) for e in told["vectorModels"]]
    assert vectors == [("wide", 512, {"dimensions": 1024}), ("m3e-base", 256, {})]
    # Not even the longest cell of a spreadsheet is thrown away, whatever the model reads.
    assert all(entry["maxToken"] * 1.3 > 32_767 for entry in told["vectorModels"])
    (reranker,) = told["reRankModels"]
    assert reranker["requestUrl"] == "http://caddy:9997/v1/rerank"
    assert reranker["requestAuth"]
    assert "null" not in json.dumps(told)
    assert config_json([CHAT, M3E]).endswith("}\n")


@pytest.mark.parametrize("entry", [CHAT, GLM, model("tiny", context=512)])
def test_quotes_and_answer_fit_the_context(entry: Model) -> None:
    assert quote_max_token(entry) > 0
    assert quote_max_token(entry) + entry.answer_tokens <= entry.context


def test_nothing_is_listed_that_is_not_served() -> None:
    told = config(CHAT, M3E)
    assert (told["reRankModels"], told["audioSpeechModels"]) == ([], [])
    assert "whisperModel" not in told
    # The parser of keys splits them at dashes.
    assert "-" not in told["systemEnv"]["openapiPrefix"]
    speaks, hears = model("tts-1", "speech", voices=["alloy"]), model("whisper-1", "transcription")
    told = config(CHAT, M3E, speaks, hears)
    voice = {"label": "alloy", "value": "alloy", "bufferId": "tts-1-alloy"}
    assert told["audioSpeechModels"][0]["voices"] == [voice]
    whisper = {"model": "whisper-1", "name": "whisper-1", "charsPointsPrice": 0}
    assert told["whisperModel"] == whisper


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
    assert all(set(node) == set(TABLE["node_fields"]) for node in graph.nodes)
    assert len({str(node["position"]) for node in graph.nodes}) == len(graph.nodes)


def test_search_and_answer_are_as_the_settings_say() -> None:
    nodes = simple_app(APP, CHAT, *BASES).nodes
    assert inputs(nodes, SEARCH_NODE).items() >= TABLE["search"].items()
    assert inputs(nodes, CHAT_NODE).items() >= TABLE["answer"].items()
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
