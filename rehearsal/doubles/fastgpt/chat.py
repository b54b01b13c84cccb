"""The conversation with an app: by key, by session, or as the visitor of a share link (§6, §7)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.responses import Response, StreamingResponse

from rehearsal.doubles.fastgpt.apps import chat_models, newest_version
from rehearsal.doubles.fastgpt.auth import api_key, session
from rehearsal.doubles.fastgpt.call import Call
from rehearsal.doubles.fastgpt.envelope import FAILURES, Answer, Json, Problem, crash, known
from rehearsal.doubles.fastgpt.store import Document, object_id
from rehearsal.doubles.fastgpt.upstream import UpstreamError
from rehearsal.doubles.fastgpt.workflow import Run, execute

NO_APP_KEY = "Key is error. You need to use the app key rather than the account key."
DUMMY_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 1}
HISTORY_ROUNDS = 30
NEW_CHAT = "新对话"
NOT_FOR_VISITORS = "scheduledTriggerConfig"


@dataclass(frozen=True)
class Chatter:
    """Who chats with which app, and how much of the run they may see."""

    app: Document
    response_detail: bool
    share_id: str | None = None
    out_link_uid: str | None = None


def init(call: Call) -> Document:
    """GET /api/core/chat/outLink/init?chatId=&shareId=&outLinkUid=."""
    share_id, uid = call.query.get("shareId"), call.query.get("outLinkUid")
    chatter = _visitor(call, share_id, uid)
    chat_id = call.query.get("chatId") or None
    chat = _chat_of(call, chatter, chat_id)
    items = call.mongo.find("chatitems", appId=chatter.app["_id"], chatId=chat_id)
    version = newest_version(call, chatter.app)
    chat_config = version["chatConfig"].items()
    return {
        "chatId": chat_id,
        "appId": chatter.app["_id"],
        "title": chat["title"] if chat else NEW_CHAT,
        "userAvatar": "/icon/human.svg",
        "variables": {},
        "history": [_history_item(chatter, item) for item in items] if chat_id else [],
        "app": {
            "chatConfig": {key: value for key, value in chat_config if key != NOT_FOR_VISITORS},
            "chatModels": chat_models(call.service.config, version),
            "name": chatter.app["name"],
            "avatar": chatter.app["avatar"],
            "intro": chatter.app["intro"],
            "type": chatter.app["type"],
            "pluginInputs": [],
        },
    }


def _history_item(chatter: Chatter, item: Document) -> Document:
    shown = {name: item[name] for name in ("_id", "dataId", "obj")}
    shown["value"] = [{"type": "text", "text": {"content": item["content"]}}]
    if chatter.response_detail:
        shown["responseData"] = _for_visitors(item["responseData"])
    return shown


def completions(call: Call) -> Response:
    """POST /api/v1/chat/completions: an OpenAI-like answer, or an event stream.

    Raises:
        Problem, UpstreamError: only without `stream`; a stream tells it as an `error` event.
    """
    if call.body.get("stream"):
        return _streamed(call)
    chatter, run = _prepare(call)
    for _ in execute(run):
        pass
    _save(call, chatter, run)
    answer: Document = {"id": call.body.get("chatId") or "", "model": "", "usage": DUMMY_USAGE}
    message = {"role": "assistant", "content": run.answer}
    answer["choices"] = [{"message": message, "finish_reason": "stop", "index": 0}]
    if call.body.get("detail"):
        answer |= {"responseData": _shown(chatter, run.responses), "newVariables": run.variables}
    return Answer(answer)


def _streamed(call: Call) -> Response:
    try:
        chatter, run = _prepare(call)
    except FAILURES as error:
        # The run has not begun, so nothing has named the content's type.
        return StreamingResponse([_failed(error)])
    kind = {"content-type": "text/event-stream;charset=utf-8"}
    return StreamingResponse(_told(call, chatter, run), headers=kind)


def _told(call: Call, chatter: Chatter, run: Run) -> Iterator[str]:
    detail = bool(call.body.get("detail"))
    try:
        for name, data in execute(run):
            if name == "answer":
                yield _line(detail, name, _chunk(data, None))
            elif detail:
                yield _line(detail, name, data)
        _save(call, chatter, run)
        yield _line(detail, "answer", _chunk(None, "stop"))
        yield _line(detail, "answer", "[DONE]")
        if detail and chatter.response_detail:
            yield _line(detail, "flowResponses", _shown(chatter, run.responses))
    except FAILURES as error:
        yield _failed(error)


def _failed(error: Exception) -> str:
    """The event that tells an error: a known one whole, of any other the message."""
    problem = crash(error)
    if problem.status_text:
        return _line(True, "error", problem.body())
    streamed = problem.streamed() if isinstance(problem, UpstreamError) else problem.message
    return _line(True, "error", {"message": streamed})


def _line(detail: bool, event: str, data: Json) -> str:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {event}\n" if detail else "") + f"data: {text}\n\n"


def _chunk(content: str | None, finish: str | None) -> Document:
    delta = {} if content is None else {"role": "assistant", "content": content}
    choice = {"delta": delta, "index": 0, "finish_reason": finish}
    return {"id": "", "object": "", "created": 0, "model": "", "choices": [choice]}


def _prepare(call: Call) -> tuple[Chatter, Run]:
    messages = call.body.get("messages")
    if not isinstance(messages, list):
        raise Problem("messages is not array")
    if not messages:
        raise Problem("messages is empty")
    chatter = _chatter(call)
    chat_id = call.body.get("chatId")
    _chat_of(call, chatter, chat_id)
    *earlier, last = messages
    question = _text(last.get("content"))
    version = newest_version(call, chatter.app)
    kept = call.mongo.find("chatitems", appId=chatter.app["_id"], chatId=chat_id) if chat_id else []
    roles = {"Human": "user", "AI": "assistant"}
    remembered = [{"role": roles[item["obj"]], "content": item["content"]} for item in kept]
    said = [{"role": item.get("role"), "content": _text(item.get("content"))} for item in earlier]
    return chatter, Run(
        service=call.service,
        nodes={node["nodeId"]: node for node in version["nodes"]},
        edges=version["edges"],
        question=question,
        histories=[*remembered[-2 * HISTORY_ROUNDS :], *said],
        variables=dict(call.body.get("variables") or {}),
        stream=bool(call.body.get("stream")),
    )


def _text(content: Json) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")
    return content if isinstance(content, str) else ""


def _chatter(call: Call) -> Chatter:
    body = call.body
    if body.get("shareId") and body.get("outLinkUid"):
        return _visitor(call, body["shareId"], body["outLinkUid"])
    if call.headers.get("authorization"):
        app_id = api_key(call).app_id
        if app_id is None:
            raise Problem(NO_APP_KEY)
        app = call.mongo.existing("apps", app_id, "app is empty")
    else:
        session(call)
        if not body.get("appId"):
            raise Problem("appId is empty")
        app = call.mongo.existing("apps", body["appId"], "appUnExist")
    return Chatter(app, response_detail=True)


def _visitor(call: Call, share_id: str | None, uid: str | None) -> Chatter:
    links = call.mongo.find("outlinks", shareId=share_id) if share_id and uid else []
    if not links:
        raise known("linkUnInvalid")
    # The limits of the link (expiry, QPM, points, hook) bind only with the commercial back end.
    link = links[0]
    app = call.mongo.existing("apps", link["appId"], "app is empty")
    return Chatter(app, link["responseDetail"], share_id, uid)


def _chat_of(call: Call, chatter: Chatter, chat_id: str | None) -> Document | None:
    """The conversation `chat_id`; a visitor may only go on with an own one."""
    chats = call.mongo.find("chats", appId=chatter.app["_id"], chatId=chat_id)
    if not chat_id or not chats:
        return None
    theirs = (chats[0]["shareId"], chats[0]["outLinkUid"])
    if chatter.share_id and theirs != (chatter.share_id, chatter.out_link_uid):
        raise known("unAuthChat")
    return chats[0]


def _save(call: Call, chatter: Chatter, run: Run) -> None:
    """Keep the round; without a chatId nothing is kept."""
    chat_id = call.body.get("chatId")
    if not chat_id:
        return
    common = {"appId": chatter.app["_id"], "chatId": chat_id}
    if _chat_of(call, chatter, chat_id) is None:
        whose = {"shareId": chatter.share_id, "outLinkUid": chatter.out_link_uid}
        call.mongo.put("chats", {**common, **whose, "title": run.question[:20]})
    for obj, content, responses in (
        ("Human", run.question, []),
        ("AI", run.answer, run.responses),
    ):
        item = {**common, "obj": obj, "content": content, "dataId": object_id()}
        call.mongo.put("chatitems", {**item, "responseData": responses})


def _shown(chatter: Chatter, responses: list[Document]) -> list[Document]:
    return _for_visitors(responses) if chatter.share_id else responses


def _for_visitors(responses: list[Document]) -> list[Document]:
    """All that a visitor may see: the quotes of the dataset searches."""
    names = ("moduleType", "quoteList")
    return [
        {name: response[name] for name in names if name in response}
        for response in responses
        if response["moduleType"] == "datasetSearchNode"
    ]
