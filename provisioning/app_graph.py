"""The graph of a FastGPT "simple" app (`docs/facts/fastgpt.md §5`).

`simple_app.json` is the graph as FastGPT's own page makes it; the settings fill it in. Its node ids
are constant, so that the same settings give the same graph and a diff means a change.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioning.catalogue import Model
from provisioning.fastgpt_config import quote_max_token
from provisioning.knowledge import App

START_NODE = "workflowStartNodeId"
SEARCH_NODE = "kbSearchNode01"
CHAT_NODE = "aiChatNode0001"

# What no setting of ours changes. The web page's default for a query's extension is true: one more
# call of a chat model for each question.
_SHAPE = Path(__file__).with_name("simple_app.json").read_text(encoding="utf-8")

Fields = dict[str, dict[str, Any]]
"""By an input's key: what is said of it beside what `simple_app.json` says."""


@dataclass(frozen=True)
class Graph:
    """What FastGPT publishes as one version of an app."""

    nodes: list[dict[str, Any]]
    edges: list[dict[str, str]]
    chat_config: dict[str, Any]


def simple_app(app: App, chat_model: Model, datasets: Sequence[str], embedding: str) -> Graph:
    """The graph of one app: start, search (only with knowledge bases), chat.

    Args:
        datasets: ids of the app's bases in the order of the settings; empty for none.
        embedding: the one embedding model of these bases; of no account without bases.
    """
    search = _values(
        datasets=[{"datasetId": id_, "vectorModel": {"model": embedding}} for id_ in datasets],
        similarity=app.similarity,
        limit=served_limit(app, chat_model),
        searchMode=app.search_mode,
        usingReRank=app.rerank,
        datasetSearchExtensionModel=chat_model.name,
    )
    chat = _values(
        model=chat_model.name,
        temperature=app.temperature,
        maxToken=chat_model.answer_tokens,
        systemPrompt=app.prompt,
        history=app.history,
    )
    chat["maxToken"]["max"] = max(4000, chat_model.answer_tokens)
    if datasets:
        chat |= _values(quoteQA=[SEARCH_NODE, "quoteQA"])
    way = [START_NODE, SEARCH_NODE, CHAT_NODE] if datasets else [START_NODE, CHAT_NODE]
    shape: dict[str, Any] = json.loads(_SHAPE)
    nodes = [node for node in shape["nodes"] if datasets or node["nodeId"] != SEARCH_NODE]
    for node in nodes:
        told = {SEARCH_NODE: search, CHAT_NODE: chat}.get(node["nodeId"], {})
        node["inputs"] = [field | told.get(field["key"], {}) for field in node["inputs"]]
    edges = [_edge(source, target) for source, target in itertools.pairwise(way)]
    return Graph(nodes, edges, shape["chatConfig"] | {"welcomeText": app.welcome})


def served_limit(app: App, chat_model: Model) -> int:
    """The search's token limit as FastGPT keeps it: it lowers a larger one when saving."""
    return min(app.limit, max(3000, quote_max_token(chat_model)))


def _values(**values: object) -> Fields:
    # An input without `value` means FastGPT's built-in one; null would mean an empty one.
    return {key: {"value": value} for key, value in values.items()}


def _edge(source: str, target: str) -> dict[str, str]:
    handles = {"sourceHandle": f"{source}-source-right", "targetHandle": f"{target}-target-left"}
    return {"source": source, "target": target, **handles}
