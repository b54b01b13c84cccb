"""A question on its way through an app's published graph (docs/facts/fastgpt.md §5 to §7).

By the app's key, or as the visitor of a share link. A node runs when all that lead to it have run.
An input whose value is `[node id, output id]` is a reference; one that points nowhere is
`undefined` (here None), and no error by itself.
"""

import json
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse

from rehearsal.doubles.fastgpt.apps import chat_models, newest_version
from rehearsal.doubles.fastgpt.envelope import SHAPES, Answer, Call, Document, crash, known, picked
from rehearsal.doubles.fastgpt.index import search, within
from rehearsal.doubles.fastgpt.store import object_id
from rehearsal.doubles.language import count_tokens

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

_OBJ = {"system": "System", "user": "Human", "assistant": "AI"}
# What a streaming caller is told: `flowNodeStatus` or `answer`, and its data.
Events = Iterator[tuple[str, Any]]


@dataclass
class Run:
    """One question on its way through a graph; `histories` are earlier OpenAI messages."""

    service: "Service"
    nodes: list[Document]
    edges: list[Document]
    question: str
    histories: list[Document]
    stream: bool
    outputs: dict[tuple[str, str], Any] = field(default_factory=dict)
    responses: list[Document] = field(default_factory=list)
    answer: str = ""


def execute(run: Run) -> Events:
    """Run the graph; `run.responses` and `run.answer` hold what came of it."""
    finished: set[str] = set()
    while due := [node for node in run.nodes if _is_due(run, node, finished)]:
        yield from _node(run, due[0])
        finished.add(due[0]["nodeId"])


def _is_due(run: Run, node: Document, finished: set[str]) -> bool:
    is_entry = node.get("flowNodeType") in ("workflowStart", "userGuide")
    sources = {edge["source"] for edge in run.edges if edge["target"] == node["nodeId"]}
    is_fed = bool(sources) and sources <= finished
    return node["nodeId"] not in finished and (is_entry or is_fed)


def _node(run: Run, node: Document) -> Events:
    kind = node.get("flowNodeType")
    if node.get("showStatus"):
        yield "flowNodeStatus", {"status": "running", "name": node["name"]}
    began = time.monotonic()
    if kind == "datasetSearchNode":
        response = _dataset_search(run, node, _inputs(run, node))
    elif kind == "chatNode":
        response = yield from _chat(run, _inputs(run, node))
    else:
        run.outputs[node["nodeId"], "userChatInput"] = run.question
        return
    about = {"nodeId": node["nodeId"], "moduleName": node["name"], "moduleType": kind}
    took = round(time.monotonic() - began, 2)
    run.responses.append({**about, "runningTime": took, "totalPoints": 0, **response})


def _inputs(run: Run, node: Document) -> Document:
    given = {item["key"]: item["value"] for item in node["inputs"] if "value" in item}
    inputs = {**SHAPES["inputs"], **given}
    for key, value in inputs.items():
        if isinstance(value, list) and [type(part) for part in value] == [str, str]:
            inputs[key] = run.outputs.get((value[0], value[1]))
    return inputs


def _dataset_search(run: Run, node: Document, inputs: Document) -> Document:
    text = inputs["userChatInput"]
    ids = [item["datasetId"] for item in inputs["datasets"]]
    history = "\n".join(f"{_OBJ[item['role']]}: {item['content']}" for item in run.histories)
    found = search(run.service, ids, text, inputs, history)
    run.outputs[node["nodeId"], "quoteQA"] = found.items
    return {
        "query": text,
        "model": found.model.get("name"),
        "tokens": count_tokens(text),
        "limit": inputs["limit"],
        "searchMode": inputs["searchMode"],
        "searchUsingReRank": found.reranked,
        **({"similarity": inputs["similarity"]} if found.filtered else {}),
        **({"quoteList": found.items} if found.items else {}),
    }


def _chat(run: Run, inputs: Document) -> Generator[tuple[str, Any], None, Document]:
    model = run.service.config.llm(inputs["model"])
    messages = _messages(run, inputs, model)
    tokens = sum(count_tokens(message["content"]) for message in messages)
    # The node's 0 to 10 on the model's scale.
    warm = model.get("maxTemperature", 1) * inputs["temperature"] / 10
    body = {
        **model.get("defaultConfig", {}),
        "model": model["model"],
        "temperature": round(max(0.01, warm), 2),
        "max_tokens": max(1, min(inputs["maxToken"], model.get("maxContext", 16000) - tokens)),
        "messages": messages,
    }
    upstream = run.service.upstream
    for piece in filter(None, upstream.chat_stream(body) if run.stream else [upstream.chat(body)]):
        run.answer += piece
        yield "answer", piece
    if not run.answer:
        raise known("core.chat.Chat API is error or undefined")
    shown = [*messages, {"role": "assistant", "content": run.answer}]
    return {
        "model": model.get("name"),
        "tokens": tokens + count_tokens(run.answer),
        "query": inputs["userChatInput"],
        "maxToken": body["max_tokens"],
        "historyPreview": [{"obj": _OBJ[m["role"]], "value": m["content"]} for m in shown],
        "contextTotalLen": len(shown),
    }


def _messages(run: Run, inputs: Document, model: Document) -> list[Document]:
    asked = inputs["userChatInput"]
    quotes = within(inputs["quoteQA"] or [], model.get("quoteMaxToken", 3000))
    if text := "\n------\n".join(f"{quote['q']}\n{quote['a']}".strip() for quote in quotes):
        asked = SHAPES["quotes"].replace("{{question}}", asked).replace("{{quote}}", text)
    prompt, rounds = inputs["systemPrompt"], inputs["history"]
    system = [{"role": "system", "content": prompt}] if prompt else []
    earlier = run.histories[-2 * rounds :] if rounds else []
    return [*system, *earlier, {"role": "user", "content": asked}]


@dataclass(frozen=True)
class Chatter:
    """Who chats with which app, and how much of the run they may see."""

    app: Document
    is_visitor: bool
    response_detail: bool = True

    def shown(self, responses: list[Document]) -> list[Document]:
        """All of it, or what a visitor may see: the quotes of the dataset searches."""
        if not self.is_visitor:
            return responses
        searches = [each for each in responses if each["moduleType"] == "datasetSearchNode"]
        return [picked(each, "moduleType", "quoteList") for each in searches]


def init(call: Call) -> Document:
    """GET /api/core/chat/outLink/init?chatId=&shareId=&outLinkUid=."""
    chatter = _visitor(call, call.query)
    app, chat_id = chatter.app, call.query.get("chatId")
    version = newest_version(call, app["_id"])
    # Not for visitors.
    version["chatConfig"].pop("scheduledTriggerConfig", None)
    items = call.mongo.find("chatitems", appId=app["_id"], chatId=chat_id)
    models = chat_models(call.service.config, version["nodes"])
    return {
        "chatId": chat_id,
        "appId": app["_id"],
        "title": items[0]["content"][:20] if items else "新对话",
        "userAvatar": SHAPES["user"]["avatar"],
        "variables": {},
        "history": [_shown(chatter, item) for item in items],
        "app": {
            **picked(app, "name", "avatar", "intro", "type"),
            "chatConfig": version["chatConfig"],
            "chatModels": [model["name"] for model in models],
            "pluginInputs": [],
        },
    }


def _shown(chatter: Chatter, item: Document) -> Document:
    shown = picked(item, "_id", "dataId", "obj")
    shown["value"] = [{"type": "text", "text": {"content": item["content"]}}]
    if chatter.response_detail:
        shown["responseData"] = chatter.shown(item["responseData"])
    return shown


def completions(call: Call) -> Response:
    """POST /api/v1/chat/completions: an OpenAI-like answer, or an event stream that tells all."""
    if call.body.get("stream"):
        kind = {"content-type": "text/event-stream;charset=utf-8"}
        return StreamingResponse(_told(call), headers=kind)
    chatter, run = _prepare(call)
    for _ in execute(run):
        pass
    _save(call, chatter, run)
    answer: Document = {"id": call.body.get("chatId") or "", "model": "", "usage": SHAPES["usage"]}
    message = {"role": "assistant", "content": run.answer}
    answer["choices"] = [{"message": message, "finish_reason": "stop", "index": 0}]
    if call.body.get("detail"):
        answer |= {"responseData": chatter.shown(run.responses), "newVariables": {}}
    return Answer(answer)


def _told(call: Call) -> Iterator[str]:
    try:
        chatter, run = _prepare(call)
        for name, data in execute(run):
            yield _event(name, _chunk(data, None) if name == "answer" else data)
        _save(call, chatter, run)
        yield _event("answer", _chunk(None, "stop"))
        yield "event: answer\ndata: [DONE]\n\n"
        if chatter.response_detail:
            yield _event("flowResponses", chatter.shown(run.responses))
    except Exception as error:
        problem = crash(error)
        # A known one whole, of any other the message.
        told = problem.body() if problem.status_text else {"message": problem.message}
        yield _event("error", told)


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _chunk(content: str | None, finish: str | None) -> Document:
    delta = {} if content is None else {"role": "assistant", "content": content}
    choice = {"delta": delta, "index": 0, "finish_reason": finish}
    return {"id": "", "object": "", "created": 0, "model": "", "choices": [choice]}


def _prepare(call: Call) -> tuple[Chatter, Run]:
    chatter = _chatter(call)
    app_id, chat_id = chatter.app["_id"], call.body.get("chatId")
    version = newest_version(call, app_id)
    kept = call.mongo.find("chatitems", appId=app_id, chatId=chat_id) if chat_id else []
    roles = {"Human": "user", "AI": "assistant"}
    remembered = [{"role": roles[item["obj"]], "content": item["content"]} for item in kept]
    return chatter, Run(
        service=call.service,
        nodes=version["nodes"],
        edges=version["edges"],
        question=call.body["messages"][-1]["content"],
        histories=remembered,
        stream=bool(call.body.get("stream")),
    )


def _chatter(call: Call) -> Chatter:
    if call.body.get("shareId") and call.body.get("outLinkUid"):
        return _visitor(call, call.body)
    app_id = _api_key(call)["appId"]
    return Chatter(call.mongo.existing("apps", app_id, "app is empty"), is_visitor=False)


def _api_key(call: Call) -> Document:
    """The app key that is the bearer: FastGPT splits it at dashes, and takes two parts."""
    bearer = call.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if bearer.count("-") != 1:
        raise known("unAuthorization")
    found = call.mongo.find("openapis", apiKey=bearer)
    if not found:
        raise known("unAuthApiKey")
    return found[0]


def _visitor(call: Call, given: Mapping[str, Any]) -> Chatter:
    """Whoever has the link: its limits bind only with the commercial back end."""
    links = call.mongo.find("outlinks", shareId=given.get("shareId"))
    if not links:
        raise known("linkUnInvalid")
    app = call.mongo.existing("apps", links[0]["appId"], "app is empty")
    return Chatter(app, is_visitor=True, response_detail=links[0]["responseDetail"])


def _save(call: Call, chatter: Chatter, run: Run) -> None:
    """Keep the round; without a chatId nothing is kept."""
    chat_id = call.body.get("chatId")
    rounds = [("Human", run.question, []), ("AI", run.answer, run.responses)] if chat_id else []
    for obj, content, responses in rounds:
        of_it = {"appId": chatter.app["_id"], "chatId": chat_id, "obj": obj, "content": content}
        call.mongo.put("chatitems", {**of_it, "dataId": object_id(), "responseData": responses})
