"""The graph of a FastGPT "simple" app (`docs/facts/fastgpt.md §5`).

`simple_app.json` is the graph as FastGPT's own page makes it; the settings fill it in. Its node ids
are constant, so that the same settings give the same graph and a diff means a change.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioning.catalogue import Model
from provisioning.editions import EditionName
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
class Form:
    """How an edition wants the graph.

    Attributes:
        without: nodes, and keys of the chat's configuration, that it refuses or drops.
        chat_config: what it wants there instead.
        lowers_limit: whether it keeps a search's limit to what the model takes.
    """

    without: frozenset[str] = frozenset()
    chat_config: Mapping[str, Any] = field(default_factory=dict)
    lowers_limit: bool = False


FORMS: dict[EditionName, Form] = {
    "seeds": Form(lowers_limit=True),
    # `docs/facts/fastgpt-current-measured.md §2, §4`
    "current": Form(
        without=frozenset({"userGuide", "scheduledTriggerConfig"}),
        chat_config={"questionGuide": {"open": False}},
    ),
}
SEEDS = FORMS["seeds"]


@dataclass(frozen=True)
class Graph:
    """What FastGPT publishes as one version of an app."""

    nodes: list[dict[str, Any]]
    edges: list[dict[str, str]]
    chat_config: dict[str, Any]


def simple_app(
    app: App, chat_model: Model, datasets: Sequence[str], embedding: str, form: Form = SEEDS
) -> Graph:
    """The graph of one app: start, search (only with knowledge bases), chat.

    Args:
        datasets: ids of the app's bases in the order of the settings; empty for none.
        embedding: the one embedding model of these bases; of no account without bases.
        form: the edition's.
    """
    search = _values(
        datasets=[{"datasetId": id_, "vectorModel": {"model": embedding}} for id_ in datasets],
        similarity=app.similarity,
        limit=served_limit(app, chat_model, form),
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
    without = form.without if datasets else form.without | {SEARCH_NODE}
    nodes = [node for node in shape["nodes"] if node["nodeId"] not in without]
    for node in nodes:
        told = {SEARCH_NODE: search, CHAT_NODE: chat}.get(node["nodeId"], {})
        node["inputs"] = [field | told.get(field["key"], {}) for field in node["inputs"]]
    edges = [_edge(source, target) for source, target in itertools.pairwise(way)]
    told = shape["chatConfig"] | form.chat_config | {"welcomeText": app.welcome}
    chat_config = {key: value for key, value in told.items() if key not in without}
    return Graph(nodes, edges, chat_config)


def served_limit(app: App, chat_model: Model, form: Form = SEEDS) -> int:
    """The search's token limit as FastGPT keeps it: 4.8.8 lowers a larger one when saving."""
    if not form.lowers_limit:
        return app.limit
    return min(app.limit, max(3000, quote_max_token(chat_model)))


def _values(**values: object) -> Fields:
    # An input without `value` means FastGPT's built-in one; null would mean an empty one.
    return {key: {"value": value} for key, value in values.items()}


def _edge(source: str, target: str) -> dict[str, str]:
    handles = {"sourceHandle": f"{source}-source-right", "targetHandle": f"{target}-target-left"}
    return {"source": source, "target": target, **handles}
