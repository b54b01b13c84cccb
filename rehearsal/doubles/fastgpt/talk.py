"""A question to the current edition (docs/facts/fastgpt-current-measured.md §2, §5): what fails on
the way is HTTP 200 with an `error`, and in a stream only in its last event."""

import json
import re
import secrets
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from rehearsal.doubles.fastgpt import chat
from rehearsal.doubles.fastgpt.accounts import key_of
from rehearsal.doubles.fastgpt.apps import newest_version
from rehearsal.doubles.fastgpt.envelope import CURRENT, Answer, Call, Document, crash, named, picked
from rehearsal.doubles.fastgpt.index import search, within
from rehearsal.doubles.fastgpt.refusals import Invalid, refusal
from rehearsal.doubles.fastgpt.store import object_id
from rehearsal.doubles.language import count_tokens

_MARK = re.compile(r"\[[0-9a-f]{24}\]\(CITE\)")
_SLIM = "id chunkIndex datasetId collectionId sourceId sourceName score"
_HALF = "outLinkAuthData.shareId and outLinkAuthData.outLinkUid must be provided together"


def _quoted(item: Document) -> Document:
    return picked(item, *(key for key in item if key != "a" or item["a"]))


@dataclass
class CurrentRun(chat.Run):
    """`failure` is what ended it; every node it came to has a response."""

    failure: str = ""
    with_marks: bool = True

    def _is_due(self, node: Document, finished: set[str]) -> bool:
        return not self.failure and super()._is_due(node, finished)

    def _done(self, node: Document) -> chat.Told:
        about = {"id": secrets.token_hex(8), "moduleLogo": node.get("avatar", "")}
        try:
            told = yield from super()._done(node)
        except Exception as error:
            problem = crash(error)
            self.failure = f"{problem.upstream_status or ''} {problem.message}".strip()
            told = {"errorText": self.failure, "error": self.failure}
        return {**about, **(told or {})}

    def _dataset_search(self, node: Document, inputs: Document) -> Document:
        asked = inputs.get("datasetSearchInput") or []
        found = (self.outputs.get((place, key)) for place, key in asked)
        text = next(filter(None, found), None) or inputs.get("userChatInput") or ""
        ids = [each["datasetId"] for each in inputs["datasets"]]
        ids = [id_ for id_ in ids if self.service.mongo.get("datasets", id_)]
        told: Document = {"datasetQueries": [text], "quoteList": []}
        told |= picked(inputs, "similarity", "limit", "searchMode")
        told |= {"embeddingModel": self.service.config.vector(None)["name"]}
        told |= {"embeddingTokens": count_tokens(text), "searchUsingReRank": False}
        self.outputs[node["nodeId"], "quoteQA"] = []
        if ids:
            result = search(self.service, ids, text, inputs)
            self.outputs[node["nodeId"], "quoteQA"] = result.items
            told |= {"quoteList": [_quoted(item) for item in result.items]}
            told |= {"embeddingModel": result.model["name"], "searchUsingReRank": result.reranked}
            if result.reranked:
                model = self.service.config.reranker(inputs.get("rerankModel"))
                tokens = count_tokens("".join(item["q"] for item in result.items))
                told |= {"rerankModel": model["name"], "reRankInputTokens": tokens}
                told |= picked(inputs, "rerankWeight")
        return told

    def _chat(self, inputs: Document) -> Generator[tuple[str, Any], None, Document]:
        told = yield from super()._chat(inputs)
        tokens = {"outputTokens": count_tokens(self.answer), "inputTokens": told.pop("tokens")}
        told["historyPreview"][-1]["value"] = self.shown(self.answer).strip()
        more = {"reasoningText": "", "finishReason": "stop"}
        return {**told, **tokens, **more, "llmRequestIds": [secrets.token_hex(6)]}

    def shown(self, text: str) -> str:
        return text if self.with_marks else _MARK.sub("", text)

    def _messages(self, inputs: Document, model: Document) -> list[Document]:
        prompt = inputs["systemPrompt"]
        if "datasetSearchNode" in (node["flowNodeType"] for node in self.nodes):
            quotes = within(inputs["quoteQA"] or [], model.get("quoteMaxToken", 3000))
            texts = "\n------\n".join(map(self._quote, quotes))
            prompt += CURRENT["cites"].replace("{{quotes}}", texts)
        return self._framed(prompt, inputs["userChatInput"], inputs["history"])

    def _quote(self, item: Document) -> str:
        moment = item.get("updateTime", "")[:16].replace("T", " ")
        told = picked(item, "id", "sourceName") | {"updateTime": moment}
        told["content"] = f"{item['q']}\n{item['a']}"
        return "{\n" + ",\n".join(f'  "{key}": "{each}"' for key, each in told.items()) + "\n}"


@dataclass(frozen=True)
class Chatter:
    """Who asks which app: whoever has a `link`, as the visitor `uid`, or a key."""

    app: Document
    link: Document | None = None
    uid: str = ""

    def keeps_marks(self, body: Mapping[str, Any]) -> bool:
        """A stream of a link always does."""
        if self.link and body.get("stream"):
            return True
        return bool(body.get("retainDatasetCite") and (not self.link or self.link["showCite"]))

    def shown(self, responses: list[Document]) -> list[Document]:
        """All of it, or what a visitor may see: the searches, with quotes if the link has them."""
        if not self.link:
            return responses
        names = ["id", "nodeId", "moduleName", "moduleType", "totalPoints", "runningTime"]
        names += ["quoteList"] if self.link["showCite"] else []
        searches = (each for each in responses if each["moduleType"] == "datasetSearchNode")
        return [picked(each, *names) for each in searches]


def completions(call: Call) -> Response:
    """An OpenAI-like answer, or an event stream."""
    if call.body.get("stream"):
        return chat.streamed(_told(call))
    chatter, run = _prepare(call)
    for _ in run.execute():
        pass
    _finish(call, chatter, run)
    answer = chat.spoken(call, "" if run.failure else run.shown(run.answer))
    answer |= {"title": run.question[:20], "id": answer["id"] or object_id()}
    answer |= {"error": run.failure} if run.failure else {}
    if call.body.get("detail"):
        answer |= {"responseData": chatter.shown(run.responses), "newVariables": {}}
    return Answer(answer)


def _told(call: Call) -> Iterator[str]:
    try:
        chatter, run = _prepare(call)
    except Exception as error:
        told = json.loads(bytes(refusal(crash(error)).body))
        yield chat.event("error", told)
        return
    is_detailed, began = bool(call.body.get("detail")), time.monotonic()
    for name, data in _events(call, chatter, run):
        if name == "answer":
            text = json.dumps(data, ensure_ascii=False) if data != "[DONE]" else data
            yield f"event: answer\ndata: {text}\n\n" if is_detailed else f"data: {text}\n\n"
        elif is_detailed:
            took = {"durationSeconds": round(time.monotonic() - began, 2)}
            yield chat.event(name, took if name == "workflowDuration" else data)


def _events(call: Call, chatter: Chatter, run: CurrentRun) -> chat.Events:
    is_v2 = "/v2/" in call.path
    tells_status = not chatter.link or chatter.link["showRunningStatus"]
    yield "chatTitle", {"title": run.question[:20]}
    try:
        for name, data in run.execute():
            if name == "answer" and (piece := run.shown(data)):
                yield name, chat.chunk(piece, None)
            elif name == "flowNodeStatus" and tells_status:
                yield name, data
            elif name == "flowNodeResponse" and is_v2 and (seen := chatter.shown([data])):
                yield name, seen[0]
    finally:
        _finish(call, chatter, run)
    yield "workflowDuration", None
    last = chat.chunk(None, "stop")
    last["choices"][0]["delta"] = {"role": "assistant", "content": None}
    yield "answer", last
    if not is_v2:
        yield "flowResponses", chatter.shown(run.responses)
    yield "answer", "[DONE]"


def _prepare(call: Call) -> tuple[Chatter, CurrentRun]:
    """Who asks, and the run of the newest published version. Raises a Problem: the chat is another
    visitor's, or an answer of it is still being made."""
    body, chatter = call.body, _chatter(call)
    app, chat_id = chatter.app, body.get("chatId") or ""
    kept = call.mongo.find("chatitems", appId=app["_id"], chatId=chat_id) if chat_id else []
    if any(item["uid"] != chatter.uid for item in kept):
        raise named("unAuthChat")
    busy = (app["_id"], chat_id or object_id())
    if busy in call.service.generating:
        raise named("chatIsGenerating")
    call.service.generating.add(busy)
    run = chat.run_of(call, app["_id"], kept, CurrentRun)
    run.with_marks = chatter.keeps_marks(body)
    return chatter, run


def _finish(call: Call, chatter: Chatter, run: CurrentRun) -> None:
    call.service.generating.discard((chatter.app["_id"], call.body.get("chatId") or ""))
    chat.save(call, chatter.app["_id"], run, uid=chatter.uid)


def _chatter(call: Call) -> Chatter:
    if auth := call.body.get("outLinkAuthData"):
        return _visitor(call, auth)
    found = key_of(call)
    if found is None:
        raise named("unAuthorization")
    app_id = call.body.get("appId") or found[1]
    if not app_id:
        raise named("appId is empty")
    return Chatter(call.mongo.existing("apps", app_id, "appUnExist"))


def _visitor(call: Call, auth: Mapping[str, str]) -> Chatter:
    """Whoever has the link: its limits bind nobody."""
    if not (auth.get("shareId") and auth.get("outLinkUid")):
        raise Invalid([{"code": "custom", "message": _HALF, "path": []}])
    app, link = chat.shared(call, auth["shareId"], "appUnExist")
    return Chatter(app, link, auth["outLinkUid"])


def out_link_init(call: Call) -> Document:
    chatter = _visitor(call, json.loads(call.query.get("outLinkAuthData") or "{}"))
    app, chat_id = chatter.app, call.query.get("chatId", "")
    items = call.mongo.find("chatitems", appId=app["_id"], chatId=chat_id)
    config = {**CURRENT["chatConfig"], **newest_version(call, app["_id"])["chatConfig"]}
    if "welcomeConfig" in config:
        config["welcomeConfig"] = {**config["welcomeConfig"], "welcomeQuestions": []}
    return chat.opened(app, chat_id, items, CURRENT["user"]["avatar"], {"chatConfig": config})


def get_quote(call: Call) -> list[Document]:
    """Of an answer the quotes that are asked for, with what they say."""
    chatter = _visitor(call, call.body["outLinkAuthData"])
    searches = _told_of(call, chatter, call.body["chatId"], call.body["chatItemDataId"])
    quoted = {quote["id"] for each in searches for quote in each.get("quoteList", ())}
    asked = quoted & {*call.body["datasetDataIdList"]}
    rows = [row for row in call.mongo.find("dataset_datas") if row["_id"] in asked]
    shown = ({**row, "history": [], "index": row["chunkIndex"]} for row in rows)
    return [picked(row, "_id", "q", "history", "updateTime", "index") for row in shown]


def get_res_data(call: Call) -> list[Document]:
    """The searches of an answer, their quotes without what they say."""
    chatter = _visitor(call, json.loads(call.query["outLinkAuthData"]))
    searches = _told_of(call, chatter, call.query["chatId"], call.query["dataId"])
    for each in searches:
        each["quoteList"] = [picked(quote, *_SLIM.split()) for quote in each.get("quoteList", ())]
    return [picked(each, "moduleType", "quoteList", "runningTime") for each in searches]


def _told_of(call: Call, chatter: Chatter, chat_id: str, data_id: str) -> list[Document]:
    """The searches of an answer that a visitor got. A Problem: the link shows no quotes."""
    if not chatter.link or not chatter.link["showCite"]:
        raise named("unAuthChat")
    of_it = {"chatId": chat_id, "dataId": data_id, "uid": chatter.uid}
    items = call.mongo.find("chatitems", appId=chatter.app["_id"], **of_it)
    return chatter.shown([each for item in items for each in item["responseData"]])
