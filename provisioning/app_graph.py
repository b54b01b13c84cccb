"""The graph of a FastGPT "simple" app (`docs/facts/fastgpt.md §5`).

Node ids are constants, so that the same settings give the same graph and a diff means a change.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from provisioning.catalogue import Model
from provisioning.fastgpt_config import quote_max_token
from provisioning.knowledge import App

CONFIG_NODE = "userGuide"
START_NODE = "workflowStartNodeId"
SEARCH_NODE = "kbSearchNode01"
CHAT_NODE = "aiChatNode0001"

_NODE_VERSION = "481"
_REFERENCE = ["reference", "textarea"]
_HIDDEN = ["hidden"]


@dataclass(frozen=True)
class Dataset:
    """A knowledge base as the graph names it: its id and its embedding model."""

    id: str
    embedding: str


@dataclass(frozen=True)
class Graph:
    """What FastGPT publishes as one version of an app."""

    nodes: list[dict[str, Any]]
    edges: list[dict[str, str]]
    chat_config: dict[str, Any]


def simple_app(app: App, chat_model: Model, datasets: Sequence[Dataset]) -> Graph:
    """The graph of one app: start, search (only with knowledge bases), chat.

    Args:
        app: the settings of the app.
        chat_model: the catalogue's entry of the model that answers.
        datasets: the app's bases in the order of the settings; empty for none.

    Raises:
        ValueError: the bases have different embedding models, which one search cannot hold.
    """
    if len({dataset.embedding for dataset in datasets}) > 1:
        models = ", ".join(f"{dataset.id}: {dataset.embedding}" for dataset in datasets)
        raise ValueError(f"the bases of {app.name} must share one embedding model ({models})")
    nodes = [_config_node(), _start_node()]
    if datasets:
        nodes.append(_search_node(app, chat_model, datasets))
    nodes.append(_chat_node(app, chat_model, with_quotes=bool(datasets)))
    way = [START_NODE, *([SEARCH_NODE] if datasets else []), CHAT_NODE]
    edges = [_edge(source, target) for source, target in itertools.pairwise(way)]
    return Graph(nodes, edges, _chat_config(app))


def served_limit(app: App, chat_model: Model) -> int:
    """The search's token limit as FastGPT keeps it: it lowers a larger one when saving."""
    return min(app.limit, max(3000, quote_max_token(chat_model)))


def _node(
    node_id: str,
    name: str,
    kind: str,
    place: tuple[int, int],
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "nodeId": node_id,
        "name": name,
        "intro": "",
        "avatar": f"/imgs/workflow/{kind}.svg",
        "flowNodeType": kind,
        "showStatus": kind in ("datasetSearchNode", "chatNode"),
        "position": {"x": place[0], "y": place[1]},
        "version": _NODE_VERSION,
        "inputs": inputs,
        "outputs": outputs,
    }


def _input(
    key: str, value_type: str, render: Sequence[str], value: object = None, **more: object
) -> dict[str, Any]:
    # An input without `value` means FastGPT's built-in one; null would mean an empty one.
    field: dict[str, Any] = {
        "key": key,
        "valueType": value_type,
        "renderTypeList": list(render),
        "label": "",
        **more,
    }
    return field if value is None else {**field, "value": value}


def _output(name: str, value_type: str) -> dict[str, Any]:
    return {"id": name, "key": name, "label": name, "type": "static", "valueType": value_type}


def _question() -> dict[str, Any]:
    return _input(
        "userChatInput", "string", _REFERENCE, [START_NODE, "userChatInput"], required=True
    )


def _config_node() -> dict[str, Any]:
    return _node(CONFIG_NODE, "System configuration", "userGuide", (530, -490), [], [])


def _start_node() -> dict[str, Any]:
    asked = _input("userChatInput", "string", _REFERENCE, required=True)
    outputs = [_output("userChatInput", "string")]
    return _node(START_NODE, "Question", "workflowStart", (560, -100), [asked], outputs)


def _search_node(app: App, chat_model: Model, datasets: Sequence[Dataset]) -> dict[str, Any]:
    selected = [
        {"datasetId": dataset.id, "vectorModel": {"model": dataset.embedding}}
        for dataset in datasets
    ]
    inputs = [
        _input(
            "datasets",
            "selectDataset",
            ["selectDataset", "reference"],
            selected,
            list=[],
            required=True,
        ),
        _input("similarity", "number", ["selectDatasetParamsModal"], app.similarity),
        _input("limit", "number", _HIDDEN, served_limit(app, chat_model)),
        _input("searchMode", "string", _HIDDEN, app.search_mode),
        _input("usingReRank", "boolean", _HIDDEN, app.rerank),
        # The web page's default is true: one more call of a chat model for each question.
        _input("datasetSearchUsingExtensionQuery", "boolean", _HIDDEN, False),
        _input("datasetSearchExtensionModel", "string", _HIDDEN, chat_model.name),
        _input("datasetSearchExtensionBg", "string", _HIDDEN, ""),
        _question(),
    ]
    outputs = [_output("quoteQA", "datasetQuote")]
    return _node(SEARCH_NODE, "Knowledge", "datasetSearchNode", (920, -230), inputs, outputs)


def _chat_node(app: App, chat_model: Model, *, with_quotes: bool) -> dict[str, Any]:
    answer = chat_model.answer_tokens
    quotes = [SEARCH_NODE, "quoteQA"] if with_quotes else None
    inputs = [
        _input("model", "string", ["settingLLMModel", "reference"], chat_model.name),
        _input("temperature", "number", _HIDDEN, app.temperature, min=0, max=10, step=1),
        _input("maxToken", "number", _HIDDEN, answer, min=100, max=max(4000, answer), step=50),
        _input("isResponseAnswerText", "boolean", _HIDDEN, True),
        _input("quoteTemplate", "string", _HIDDEN),
        _input("quotePrompt", "string", _HIDDEN),
        _input("systemPrompt", "string", ["textarea", "reference"], app.prompt, max=3000),
        _input(
            "history",
            "chatHistory",
            ["numberInput", "reference"],
            app.history,
            min=0,
            max=30,
            required=True,
        ),
        _question(),
        _input("quoteQA", "datasetQuote", ["settingDatasetQuotePrompt"], quotes),
    ]
    outputs = [_output("history", "chatHistory"), _output("answerText", "string")]
    return _node(CHAT_NODE, "Answer", "chatNode", (1480, -250), inputs, outputs)


def _edge(source: str, target: str) -> dict[str, str]:
    return {
        "source": source,
        "target": target,
        "sourceHandle": f"{source}-source-right",
        "targetHandle": f"{target}-target-left",
    }


def _chat_config(app: App) -> dict[str, Any]:
    return {
        "welcomeText": app.welcome,
        "variables": [],
        "questionGuide": False,
        "ttsConfig": {"type": "web"},
        "whisperConfig": {"open": False, "autoSend": False, "autoTTSResponse": False},
        "scheduledTriggerConfig": None,
        "chatInputGuide": {"open": False, "textList": [], "customUrl": ""},
    }
