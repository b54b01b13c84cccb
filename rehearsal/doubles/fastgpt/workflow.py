"""Runs a published graph (docs/facts/fastgpt.md §5, §7).

A node runs when all that lead to it have run. An input whose value is `[node id, output id]` is a
reference; one that points nowhere is `undefined` (here None), and no error by itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rehearsal.doubles.fastgpt.config import Model
from rehearsal.doubles.fastgpt.envelope import Json, Problem
from rehearsal.doubles.fastgpt.search import EMBEDDING, Query, as_number, search, within
from rehearsal.doubles.fastgpt.store import Document
from rehearsal.doubles.language import count_tokens

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

QUOTE_TEMPLATE = "{{q}}\n{{a}}"
QUOTE_PROMPT = (
    "使用 <Data></Data> 标记中的内容作为你的知识:\n\n<Data>\n{{quote}}\n</Data>\n\n"
    "回答要求：\n- 如果你不清楚答案，你需要澄清。\n- 避免提及你是从 <Data></Data> 获取的知识。\n"
    "- 保持答案与 <Data></Data> 中描述的一致。\n- 使用 Markdown 语法优化回答格式。\n"
    '- 使用与问题相同的语言回答。\n\n问题:"""{{question}}"""'
)
PREVIEWED = 20
BETWEEN_QUOTES = "\n------\n"
BETWEEN_SYSTEM_PROMPTS = "\n\n===---===---===\n\n"
ENTRIES = ("workflowStart", "userGuide")


Events = Iterator[tuple[str, Any]]
"""What a streaming caller is told: `flowNodeStatus` or `answer`, and its data."""


@dataclass
class Run:
    """One question on its way through a graph; `histories` are earlier OpenAI messages."""

    service: Service
    nodes: dict[str, Document]
    edges: list[Document]
    question: str
    histories: list[Document]
    variables: Document
    stream: bool
    outputs: dict[tuple[str, str], Any] = field(default_factory=dict)
    responses: list[Document] = field(default_factory=list)
    answer: str = ""


def execute(run: Run) -> Events:
    """Run the graph; `run.responses` and `run.answer` hold what came of it.

    Raises:
        Problem, UpstreamError: a node failed, and with it the whole run.
    """
    waiting = [node for node in run.nodes.values() if node.get("flowNodeType") in ENTRIES]
    finished: set[str] = set()
    while waiting:
        node = waiting.pop(0)
        yield from _node(run, node)
        finished.add(node["nodeId"])
        waiting += [
            target
            for id_, target in run.nodes.items()
            if id_ not in finished and target not in waiting and _is_due(run, id_, finished)
        ]


def _is_due(run: Run, id_: str, finished: set[str]) -> bool:
    sources = {edge["source"] for edge in run.edges if edge.get("target") == id_} & set(run.nodes)
    return bool(sources) and sources <= finished


def _node(run: Run, node: Document) -> Events:
    kind = node.get("flowNodeType")
    if node.get("showStatus"):
        yield "flowNodeStatus", {"status": "running", "name": node.get("name") or ""}
    began = time.monotonic()
    if kind == "datasetSearchNode":
        response = _dataset_search(run, node, _inputs(run, node))
    elif kind == "chatNode":
        response = yield from _chat(run, node, _inputs(run, node))
    else:
        if kind == "workflowStart":
            run.outputs[node["nodeId"], "userChatInput"] = run.question
        return
    run.responses.append(
        {
            "nodeId": node["nodeId"],
            "moduleName": node.get("name") or "",
            "moduleType": kind,
            "runningTime": round(time.monotonic() - began, 2),
            **response,
        }
    )


def _inputs(run: Run, node: Document) -> Document:
    """References are followed; texts name the chat's variables as `{{name}}`."""
    inputs = {}
    for item in node.get("inputs") or []:
        value = item.get("value")
        if isinstance(value, list) and [type(part) for part in value] == [str, str]:
            value = run.outputs.get((value[0], value[1]))
        if isinstance(value, str):
            for name, filling in run.variables.items():
                value = value.replace("{{" + name + "}}", str(filling))
        inputs[item["key"]] = value
    return inputs


def _dataset_search(run: Run, node: Document, inputs: Document) -> Document:
    datasets, asked = inputs.get("datasets"), inputs.get("userChatInput")
    if not datasets:
        raise Problem("core.chat.error.Select dataset empty")
    if not asked:
        raise Problem("core.chat.error.User input empty")
    query = Query(
        text=str(asked),
        dataset_ids=tuple(str(item.get("datasetId")) for item in datasets),
        similarity=as_number(inputs.get("similarity"), 0),
        limit=as_number(inputs.get("limit"), 1500),
        mode=inputs.get("searchMode") or EMBEDDING,
        rerank=bool(inputs.get("usingReRank")),
        history="\n".join(f"{_OBJ[item['role']]}: {item['content']}" for item in run.histories),
    )
    result = search(run.service, query)
    run.outputs[node["nodeId"], "quoteQA"] = result.items
    return {
        "totalPoints": 0,
        "query": str(asked),
        "model": result.model.get("name"),
        "tokens": count_tokens(str(asked)),
        **({"similarity": query.similarity} if result.filtered else {}),
        "limit": query.limit,
        "searchMode": result.mode,
        "searchUsingReRank": result.reranked,
        **({"quoteList": result.items} if result.items else {}),
    }


def _chat(run: Run, node: Document, inputs: Document) -> Generator[tuple[str, Any], None, Document]:
    asked = inputs.get("userChatInput")
    if not asked:
        raise Problem("Question is empty")
    model = run.service.config.llm(inputs.get("model"))
    # Undefined compares as no limit.
    quotes = within(inputs.get("quoteQA") or [], model.get("quoteMaxToken", math.inf))
    messages = _messages(run, inputs, model, str(asked), quotes)
    tokens = sum(count_tokens(str(message["content"])) for message in messages)
    body = {
        **(model.get("defaultConfig") or {}),
        "model": model.get("model"),
        **_sampling(model, inputs, tokens),
        "messages": messages,
    }
    answer = ""
    if run.stream:
        for piece in filter(None, run.service.upstream.chat_stream(body)):
            answer += piece
            yield "answer", piece
    else:
        answer = run.service.upstream.chat(body)
    if not answer:
        raise Problem("core.chat.Chat API is error or undefined")
    run.outputs[node["nodeId"], "answerText"] = answer
    run.answer += answer
    said = {"role": "assistant", "content": answer}
    return {
        "totalPoints": 0,
        "model": model.get("name"),
        "tokens": tokens + count_tokens(answer),
        "query": str(asked),
        "maxToken": body["max_tokens"],
        "historyPreview": _previewed([*messages, said]),
        "contextTotalLen": len(messages) + 1,
    }


def _previewed(messages: list[Document]) -> list[Document]:
    """The conversation as it is shown: what came before the last round is cut short."""
    shown = []
    for place, item in enumerate(messages):
        text = item["content"]
        is_earlier = place < len(messages) - 2 and item["role"] != "system"
        if is_earlier and len(text) > PREVIEWED:
            text = text[:PREVIEWED] + "..."
        shown.append({"obj": _OBJ[item["role"]], "value": text})
    return shown


_OBJ = {"system": "System", "user": "Human", "assistant": "AI"}


def _messages(
    run: Run, inputs: Document, model: Model, asked: str, quotes: list[Document]
) -> list[Document]:
    system = [model.get("defaultSystemChatPrompt"), inputs.get("systemPrompt")]
    prompts = [str(prompt) for prompt in system if prompt]
    messages: list[Document] = []
    if prompts:
        messages.append({"role": "system", "content": BETWEEN_SYSTEM_PROMPTS.join(prompts)})
    rounds = int(inputs.get("history") or 0)
    messages += run.histories[-2 * rounds :] if rounds else []
    return [*messages, {"role": "user", "content": _quoted(inputs, asked, quotes)}]


def _quoted(inputs: Document, asked: str, quotes: list[Document]) -> str:
    template = inputs.get("quoteTemplate") or QUOTE_TEMPLATE
    texts = [_quote_text(template, quote, place) for place, quote in enumerate(quotes, start=1)]
    text = BETWEEN_QUOTES.join(texts).strip()
    if not text:
        return asked
    prompt = str(inputs.get("quotePrompt") or QUOTE_PROMPT)
    return prompt.replace("{{question}}", asked).replace("{{quote}}", text)


def _quote_text(template: str, quote: Document, place: int) -> str:
    names = {"q": quote["q"], "a": quote["a"], "source": quote["sourceName"]}
    names |= {"sourceId": quote.get("sourceId") or "UnKnow", "index": str(place)}
    for name, value in names.items():
        template = template.replace("{{" + name + "}}", value)
    return template.strip()


def _sampling(model: Model, inputs: Document, used: int) -> Document:
    """Without a number there is NaN, which JSON writes as null."""

    def numbers(*values: Json) -> bool:
        return all(isinstance(value, int | float) for value in values)

    # The node's 0 to 10 on the model's scale.
    highest: Json = model.get("maxTemperature")
    asked: Json = inputs.get("temperature")
    context: Json = model.get("maxContext")
    most: Json = inputs.get("maxToken")
    warm = round(max(0.01, highest * asked / 10), 2) if numbers(highest, asked) else None
    tokens = max(1, min(most, context - used)) if numbers(most, context) else None
    return {"temperature": warm, "max_tokens": tokens}
