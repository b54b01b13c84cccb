"""The conversation with an app: by key, by session, or as the visitor of a share link (§6, §7)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rehearsal.doubles.database_client import DatabaseError
from rehearsal.doubles.fastgpt.apps import newest_version
from rehearsal.doubles.fastgpt.auth import api_key, now, owned, session
from rehearsal.doubles.fastgpt.call import Call
from rehearsal.doubles.fastgpt.envelope import UNCHECKED, Json, Problem, crash, known
from rehearsal.doubles.fastgpt.store import Document, checked_id, find, insert, object_id
from rehearsal.doubles.fastgpt.upstream import UpstreamError
from rehearsal.doubles.fastgpt.workflow import Run, execute, graph

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

NO_APP_KEY = "Key is error. You need to use the app key rather than the account key."
DUMMY_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 1}
HISTORY_ROUNDS = 30


@dataclass(frozen=True)
class Chatter:
    """Who chats with which app, and how much of the run they may see."""

    app: Document
    tmb_id: str
    visitor: bool
    response_detail: bool
    share_id: str | None = None
    out_link_uid: str | None = None


def init(service: Service, call: Call) -> Document:
    """GET /api/core/chat/outLink/init?chatId=&shareId=&outLinkUid=."""
    share_id, uid = call.query.get("shareId"), call.query.get("outLinkUid")
    chatter = _visitor(service, share_id, uid)
    chat_id = call.query.get("chatId") or None
    chat = _chat_of(service, chatter, chat_id)
    items = find(service.mongo, "chatitems", appId=chatter.app["_id"], chatId=chat_id)
    chat_config = newest_version(service, chatter.app)["chatConfig"]
    return {
        "chatId": chat_id,
        "appId": chatter.app["_id"],
        "title": chat["title"] if chat else None,
        "userAvatar": "/icon/human.svg",
        "variables": {},
        "history": [_history_item(item) for item in items] if chat_id else [],
        "app": {
            "chatConfig": chat_config,
            "name": chatter.app["name"],
            "avatar": chatter.app["avatar"],
            "intro": chatter.app["intro"],
            "type": chatter.app["type"],
            "pluginInputs": [],
        },
    }


def _history_item(item: Document) -> Document:
    shown = {"dataId": item["dataId"], "obj": item["obj"]}
    shown["value"] = [{"type": "text", "text": {"content": item["content"]}}]
    if item["obj"] == "AI":
        shown["responseData"] = _for_visitors(item["responseData"])
    return shown


def completions(service: Service, call: Call) -> Document | Iterator[str]:
    """POST /api/v1/chat/completions: an OpenAI-like answer, or the lines of an event stream.

    Raises:
        Problem, UpstreamError: only without `stream`; a stream tells it as an `error` event.
    """
    if call.body.get("stream"):
        return _streamed(service, call)
    chatter, run = _prepare(service, call)
    for _ in execute(run):
        pass
    _save(service, call, chatter, run)
    answer: Document = {"id": call.body.get("chatId") or "", "model": "", "usage": DUMMY_USAGE}
    message = {"role": "assistant", "content": run.answer}
    answer["choices"] = [{"message": message, "finish_reason": "stop", "index": 0}]
    if call.body.get("detail"):
        answer |= {"responseData": _shown(chatter, run.responses), "newVariables": run.variables}
    return answer


def _streamed(service: Service, call: Call) -> Iterator[str]:
    detail = bool(call.body.get("detail"))
    try:
        chatter, run = _prepare(service, call)
        for event in execute(run):
            if event.name == "answer":
                yield _line(detail, "answer", _chunk(event.data, None))
            elif detail:
                yield _line(detail, event.name, event.data)
        yield _line(detail, "answer", _chunk(None, "stop"))
        yield _line(detail, "answer", "[DONE]")
        if detail and chatter.response_detail:
            yield _line(detail, "flowResponses", _shown(chatter, run.responses))
        _save(service, call, chatter, run)
    except Problem as problem:
        yield _line(True, "error", problem.body())
    except (UpstreamError, DatabaseError) as error:
        yield _line(True, "error", Problem(str(error)).body())
    except UNCHECKED as error:
        yield _line(True, "error", crash(error).body())


def _line(detail: bool, event: str, data: Json) -> str:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {event}\n" if detail else "") + f"data: {text}\n\n"


def _chunk(content: str | None, finish: str | None) -> Document:
    delta = {} if content is None else {"role": "assistant", "content": content}
    choice = {"delta": delta, "index": 0, "finish_reason": finish}
    return {"id": "", "object": "", "created": 0, "model": "", "choices": [choice]}


def _prepare(service: Service, call: Call) -> tuple[Chatter, Run]:
    messages = call.body.get("messages")
    if not isinstance(messages, list):
        raise Problem("messages is not array")
    if not messages:
        raise Problem("messages is empty")
    chatter = _chatter(service, call)
    chat_id = call.body.get("chatId")
    _chat_of(service, chatter, chat_id)
    *earlier, last = messages
    question = _text(last.get("content")) if last.get("role") == "user" else ""
    if not question:
        raise Problem("Question is empty")
    nodes, edges = graph(newest_version(service, chatter.app))
    remembered = _remembered(service, chatter, chat_id) if chat_id else []
    said = [{"role": item.get("role"), "content": _text(item.get("content"))} for item in earlier]
    return chatter, Run(
        service=service,
        nodes=nodes,
        edges=edges,
        question=question,
        histories=[*remembered, *said],
        variables=dict(call.body.get("variables") or {}),
        stream=bool(call.body.get("stream")),
    )


def _text(content: Json) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")
    return content if isinstance(content, str) else ""


def _chatter(service: Service, call: Call) -> Chatter:
    body = call.body
    if body.get("shareId") and body.get("outLinkUid"):
        return _visitor(service, body["shareId"], body["outLinkUid"])
    if call.headers.get("authorization"):
        identity = api_key(service, call)
        if identity.app_id is None:
            raise Problem(NO_APP_KEY)
        app = service.mongo.get("apps", identity.app_id)
    else:
        identity = session(service, call)
        app = service.mongo.get("apps", checked_id(body.get("appId"), "apps"))
    app = owned(app, identity, "appUnExist" if app is None else "unAuthApp")
    return Chatter(app, identity.tmb_id, visitor=False, response_detail=True)


def _visitor(service: Service, share_id: str | None, uid: str | None) -> Chatter:
    links = find(service.mongo, "outlinks", shareId=share_id) if share_id and uid else []
    app = service.mongo.get("apps", links[0]["appId"]) if links else None
    if app is None:
        raise known("linkUnInvalid")
    # The limits of the link (expiry, QPM, points, hook) bind only with the commercial back end.
    link = links[0]
    return Chatter(app, link["tmbId"], True, link["responseDetail"], share_id, uid)


def _chat_of(service: Service, chatter: Chatter, chat_id: str | None) -> Document | None:
    """The conversation `chat_id`; a visitor may only go on with an own one."""
    chats = find(service.mongo, "chats", appId=chatter.app["_id"], chatId=chat_id)
    if not chat_id or not chats:
        return None
    theirs = (chats[0]["shareId"], chats[0]["outLinkUid"])
    if chatter.visitor and theirs != (chatter.share_id, chatter.out_link_uid):
        raise known("unAuthChat")
    return chats[0]


def _remembered(service: Service, chatter: Chatter, chat_id: str) -> list[Document]:
    items = find(service.mongo, "chatitems", appId=chatter.app["_id"], chatId=chat_id)
    roles = {"Human": "user", "AI": "assistant"}
    said = [{"role": roles[item["obj"]], "content": item["content"]} for item in items]
    return said[-2 * HISTORY_ROUNDS :]


def _save(service: Service, call: Call, chatter: Chatter, run: Run) -> None:
    """Keep the round; without a chatId nothing is kept."""
    chat_id = call.body.get("chatId")
    if not chat_id:
        return
    common = {"appId": chatter.app["_id"], "chatId": chat_id, "time": now()}
    if _chat_of(service, chatter, chat_id) is None:
        chat = {"title": run.question[:20], "shareId": chatter.share_id, "tmbId": chatter.tmb_id}
        chat |= {
            "outLinkUid": chatter.out_link_uid,
            "source": "share" if chatter.visitor else "api",
        }
        insert(service.mongo, "chats", {**common, **chat})
    for obj, content in (("Human", run.question), ("AI", run.answer)):
        item = {**common, "obj": obj, "content": content, "dataId": object_id()}
        insert(service.mongo, "chatitems", {**item, "responseData": run.responses})


def _shown(chatter: Chatter, responses: list[Document]) -> list[Document]:
    return _for_visitors(responses) if chatter.visitor else responses


def _for_visitors(responses: list[Document]) -> list[Document]:
    """All that a visitor may see: the quotes of the dataset searches."""
    return [
        {"moduleType": response["moduleType"], "quoteList": response["quoteList"]}
        for response in responses
        if response["moduleType"] == "datasetSearchNode"
    ]
