"""A question on its way through an app's published graph (docs/facts/fastgpt.md §5 to §7).

An input whose value is `[node id, output id]` is a reference; one that points nowhere is
`undefined` (here None), and no error by itself.
"""

import json
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.responses import Response, StreamingResponse

from rehearsal.doubles.fastgpt.apps import chat_models, newest_version
from rehearsal.doubles.fastgpt.boot import Service
from rehearsal.doubles.fastgpt.envelope import SHAPES, Answer, Call, Document, crash, named, picked
from rehearsal.doubles.fastgpt.index import search, within
from rehearsal.doubles.fastgpt.store import object_id
from rehearsal.doubles.language import count_tokens

OBJ = {"system": "System", "user": "Human", "assistant": "AI"}
Events = Iterator[tuple[str, Any]]
"""What a streaming caller may be told: `answer` or `flowNode...`, and its data."""
Told = Generator[tuple[str, Any], None, Document | None]


@dataclass
class Run:
    """One question on its way through a graph; `histories` are earlier OpenAI messages."""

    service: Service
    nodes: list[Document]
    edges: list[Document]
    question: str
    histories: list[Document]
    stream: bool
    outputs: dict[tuple[str, str], Any] = field(default_factory=dict)
    responses: list[Document] = field(default_factory=list)
    answer: str = ""

    def execute(self) -> Events:
        """Run the graph; `responses` and `answer` hold what came of it."""
        finished: set[str] = set()
        while due := [node for node in self.nodes if self._is_due(node, finished)]:
            yield from self._node(due[0])
            finished.add(due[0]["nodeId"])

    def _is_due(self, node: Document, finished: set[str]) -> bool:
        is_entry = node.get("flowNodeType") in ("workflowStart", "userGuide")
        sources = {edge["source"] for edge in self.edges if edge["target"] == node["nodeId"]}
        is_fed = bool(sources) and sources <= finished
        return node["nodeId"] not in finished and (is_entry or is_fed)

    def _node(self, node: Document) -> Events:
        if node.get("showStatus"):
            yield "flowNodeStatus", {"status": "running", "name": node["name"]}
        began = time.monotonic()
        if (told := (yield from self._done(node))) is None:
            return
        about = {"nodeId": node["nodeId"], "moduleName": node["name"]}
        about |= {"moduleType": node["flowNodeType"]}
        took = round(time.monotonic() - began, 2)
        self.responses.append({**about, "runningTime": took, **told})
        yield "flowNodeResponse", self.responses[-1]

    def _done(self, node: Document) -> Told:
        """Do what the node is for. Its response; None of what does nothing of its own."""
        if node.get("flowNodeType") == "datasetSearchNode":
            return {"totalPoints": 0, **self._dataset_search(node, self._inputs(node))}
        if node.get("flowNodeType") == "chatNode":
            told = yield from self._chat(self._inputs(node))
            return {"totalPoints": 0, **told}
        self.outputs[node["nodeId"], "userChatInput"] = self.question
        return None

    def _inputs(self, node: Document) -> Document:
        given = {item["key"]: item["value"] for item in node["inputs"] if "value" in item}
        inputs = {**SHAPES["inputs"], **given}
        for key, value in inputs.items():
            if isinstance(value, list) and [type(part) for part in value] == [str, str]:
                inputs[key] = self.outputs.get((value[0], value[1]))
        return inputs

    def _dataset_search(self, node: Document, inputs: Document) -> Document:
        text = inputs["userChatInput"]
        ids = [item["datasetId"] for item in inputs["datasets"]]
        history = "\n".join(f"{OBJ[item['role']]}: {item['content']}" for item in self.histories)
        found = search(self.service, ids, text, inputs, history)
        self.outputs[node["nodeId"], "quoteQA"] = found.items
        told = picked(inputs, "limit", "searchMode", *(["similarity"] if found.filtered else []))
        told |= {"quoteList": found.items} if found.items else {}
        told |= {"query": text, "model": found.model.get("name"), "tokens": count_tokens(text)}
        return {**told, "searchUsingReRank": found.reranked}

    def _chat(self, inputs: Document) -> Generator[tuple[str, Any], None, Document]:
        model = self.service.config.llm(inputs["model"])
        messages = self._messages(inputs, model)
        tokens = sum(count_tokens(message["content"]) for message in messages)
        # The node's 0 to 10 on the model's scale.
        warm = model.get("maxTemperature", 1) * inputs["temperature"] / 10
        most = max(1, min(inputs["maxToken"], model.get("maxContext", 16000) - tokens))
        body = {**model.get("defaultConfig", {}), "model": model["model"], "messages": messages}
        body |= {"temperature": round(max(0.01, warm), 2), "max_tokens": most}
        upstream = self.service.upstream
        pieces = upstream.chat_stream(body) if self.stream else [upstream.chat(body)]
        for piece in filter(None, pieces):
            self.answer += piece
            yield "answer", piece
        if not self.answer:
            raise named("core.chat.Chat API is error or undefined")
        shown = [*messages, {"role": "assistant", "content": self.answer}]
        return {
            "model": model.get("name"),
            "tokens": tokens + count_tokens(self.answer),
            "query": inputs["userChatInput"],
            "maxToken": most,
            "historyPreview": [{"obj": OBJ[m["role"]], "value": m["content"]} for m in shown],
            "contextTotalLen": len(shown),
        }

    def _messages(self, inputs: Document, model: Document) -> list[Document]:
        asked = inputs["userChatInput"]
        quotes = within(inputs["quoteQA"] or [], model.get("quoteMaxToken", 3000))
        if text := "\n------\n".join(f"{quote['q']}\n{quote['a']}".strip() for quote in quotes):
            asked = SHAPES["quotes"].replace("{{question}}", asked).replace("{{quote}}", text)
        return self._framed(inputs["systemPrompt"], asked, inputs["history"])

    def _framed(self, prompt: str, asked: str, rounds: int) -> list[Document]:
        """The question behind the system's words and so many earlier rounds."""
        system = [{"role": "system", "content": prompt}] if prompt else []
        earlier = self.histories[-2 * rounds :] if rounds else []
        return [*system, *earlier, {"role": "user", "content": asked}]


_Run = TypeVar("_Run", bound=Run)


@dataclass(frozen=True)
class Chatter:
    app: Document
    is_visitor: bool
    response_detail: bool = True

    def shown(self, responses: list[Document]) -> list[Document]:
        """All of it, or what a visitor may see: the quotes of the dataset searches."""
        if not self.is_visitor:
            return responses
        searches = [each for each in responses if each["moduleType"] == "datasetSearchNode"]
        return [picked(each, "moduleType", "quoteList") for each in searches]


def out_link_init(call: Call) -> Document:
    chatter = _visitor(call, call.query)
    app, chat_id = chatter.app, call.query.get("chatId", "")
    version = newest_version(call, app["_id"])
    # Not for visitors.
    version["chatConfig"].pop("scheduledTriggerConfig", None)
    items = call.mongo.find("chatitems", appId=app["_id"], chatId=chat_id)
    models = chat_models(call.service.config, version["nodes"])
    told = {"chatModels": [model["name"] for model in models], **picked(version, "chatConfig")}
    page = opened(app, chat_id, items, SHAPES["user"]["avatar"], told)
    page |= {"variables": {}, "history": [_shown(chatter, item) for item in items]}
    return {**page, "title": page["title"] or "新对话"}


def opened(
    app: Document, chat_id: str, items: list[Document], avatar: str, told: Document
) -> Document:
    """What a visitor's page begins with; `told` is what the app says besides."""
    title = items[0]["content"][:20] if items else ""
    page = {"chatId": chat_id, "appId": app["_id"], "title": title, "userAvatar": avatar}
    shown = picked(app, "name", "avatar", "intro", "type")
    return {**page, "app": {**shown, "pluginInputs": [], **told}}


def _shown(chatter: Chatter, item: Document) -> Document:
    shown = picked(item, "_id", "dataId", "obj")
    shown["value"] = [{"type": "text", "text": {"content": item["content"]}}]
    if chatter.response_detail:
        shown["responseData"] = chatter.shown(item["responseData"])
    return shown


def completions(call: Call) -> Response:
    """An OpenAI-like answer, or an event stream that tells all."""
    if call.body.get("stream"):
        return streamed(_told(call))
    chatter, run = _prepare(call)
    for _ in run.execute():
        pass
    save(call, chatter.app["_id"], run)
    answer = spoken(call, run.answer)
    if call.body.get("detail"):
        answer |= {"responseData": chatter.shown(run.responses), "newVariables": {}}
    return Answer(answer)


def streamed(events: Iterator[str]) -> Response:
    return StreamingResponse(events, headers={"content-type": "text/event-stream;charset=utf-8"})


def spoken(call: Call, content: str) -> Document:
    """An answer as OpenAI has it."""
    message = {"role": "assistant", "content": content}
    told = {"id": call.body.get("chatId") or "", "model": "", "usage": SHAPES["usage"]}
    return {**told, "choices": [{"message": message, "finish_reason": "stop", "index": 0}]}


def _told(call: Call) -> Iterator[str]:
    try:
        chatter, run = _prepare(call)
        for name, data in run.execute():
            if name != "flowNodeResponse":
                yield event(name, chunk(data, None) if name == "answer" else data)
        save(call, chatter.app["_id"], run)
        yield event("answer", chunk(None, "stop"))
        yield "event: answer\ndata: [DONE]\n\n"
        if chatter.response_detail:
            yield event("flowResponses", chatter.shown(run.responses))
    except Exception as error:
        problem = crash(error)
        # A known one whole, of any other the message.
        told = problem.body if problem.status_text else {"message": problem.message}
        yield event("error", told)


def event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def chunk(content: str | None, finish: str | None) -> Document:
    delta = {} if content is None else {"role": "assistant", "content": content}
    choice = {"delta": delta, "index": 0, "finish_reason": finish}
    return {"id": "", "object": "", "created": 0, "model": "", "choices": [choice]}


def _prepare(call: Call) -> tuple[Chatter, Run]:
    chatter = _chatter(call)
    app_id, chat_id = chatter.app["_id"], call.body.get("chatId")
    kept = call.mongo.find("chatitems", appId=app_id, chatId=chat_id) if chat_id else []
    return chatter, run_of(call, app_id, kept, Run)


def run_of(call: Call, app_id: str, kept: list[Document], kind: type[_Run]) -> _Run:
    """The question of a call on its way, after the rounds that were `kept`."""
    version = newest_version(call, app_id)
    roles = {"Human": "user", "AI": "assistant"}
    histories = [{"role": roles[item["obj"]], "content": item["content"]} for item in kept]
    question, stream = call.body["messages"][-1]["content"], bool(call.body.get("stream"))
    return kind(call.service, version["nodes"], version["edges"], question, histories, stream)


def _chatter(call: Call) -> Chatter:
    if call.body.get("shareId") and call.body.get("outLinkUid"):
        return _visitor(call, call.body)
    bearer = call.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if bearer.count("-") != 1:
        # FastGPT splits a key at its dashes, and takes two parts.
        raise named("unAuthorization")
    keys = call.mongo.find("openapis", apiKey=bearer)
    if not keys:
        raise named("unAuthApiKey")
    app = call.mongo.existing("apps", keys[0]["appId"], "app is empty")
    return Chatter(app, is_visitor=False)


def _visitor(call: Call, given: Mapping[str, Any]) -> Chatter:
    """Whoever has the link: its limits bind only with the commercial back end."""
    app, link = shared(call, given.get("shareId"), "app is empty")
    return Chatter(app, is_visitor=True, response_detail=link["responseDetail"])


def shared(call: Call, share_id: str | None, missing: str) -> tuple[Document, Document]:
    """The app of a link, and the link."""
    links = call.mongo.find("outlinks", shareId=share_id)
    if not links:
        raise named("linkUnInvalid")
    return call.mongo.existing("apps", links[0]["appId"], missing), links[0]


def save(call: Call, app_id: str, run: Run, **more: str) -> None:
    """Keep the round; without a chatId nothing is kept."""
    chat_id = call.body.get("chatId")
    rounds = [("Human", run.question, []), ("AI", run.answer, run.responses)] if chat_id else []
    for obj, content, responses in rounds:
        of_it = {"appId": app_id, "chatId": chat_id, "obj": obj, "content": content, **more}
        id_ = (obj == "AI" and call.body.get("responseChatItemId")) or object_id()
        call.mongo.put("chatitems", {**of_it, "dataId": id_, "responseData": responses})
