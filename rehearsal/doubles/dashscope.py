"""DashScope's own form of a chat and of embeddings, to and from the OpenAI form.

OneAPI speaks it on channels of type 17 (docs/facts/oneapi.md §9).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

ROOT = "/api/v1/services/"
CHAT_PATH = f"{ROOT}aigc/text-generation/generation"
EMBEDDING_PATH = f"{ROOT}embeddings/text-embedding/text-embedding"

Json = dict[str, Any]


def chat(body: Json) -> Json:
    """A chat request in the OpenAI form. `incremental_output` is what OneAPI sends for a stream."""
    parameters = body.get("parameters") or {}
    stream = bool(parameters.get("incremental_output"))
    return {
        "model": body["model"],
        "messages": (body.get("input") or {}).get("messages"),
        "stream": stream,
    }


def embeddings(body: Json) -> Json:
    """A request for embeddings in the OpenAI form."""
    return {"model": body["model"], "input": (body.get("input") or {}).get("texts")}


def answer_chat(answer: Response) -> Response:
    """The answer to a chat, whole or as a stream of events, in DashScope's form."""
    if isinstance(answer, StreamingResponse):
        return StreamingResponse(_events(answer), media_type="text/event-stream")
    body = json.loads(bytes(answer.body))
    return JSONResponse(_chat(body["choices"][0]["message"], "stop", body["usage"]))


def answer_embeddings(answer: Response) -> Response:
    """Vectors in DashScope's form."""
    body = json.loads(bytes(answer.body))
    rows = [{"embedding": row["embedding"], "text_index": row["index"]} for row in body["data"]]
    return _json({"output": {"embeddings": rows}, "usage": _usage(body["usage"])})


def refusal(status: int, code: str, message: str) -> Response:
    """A refusal in DashScope's form; it has names of its own for a bad key and a full queue."""
    names = {"invalid_api_key": "InvalidApiKey", "rate_limit_exceeded": "Throttling.RateQuota"}
    return _json({"code": names.get(code, "InvalidParameter"), "message": message}, status)


async def _events(answer: StreamingResponse) -> AsyncIterator[bytes]:
    async for event in answer.body_iterator:
        text = bytes(event).decode() if not isinstance(event, str) else event
        data = text.strip().removeprefix("data: ")
        if data == "[DONE]":
            return
        chunk = json.loads(data)
        (choice,) = chunk["choices"]
        message = {"role": "assistant", "content": choice["delta"].get("content", "")}
        body = _chat(message, choice["finish_reason"] or "null", chunk.get("usage"))
        yield f"data:{json.dumps(body, ensure_ascii=False)}\n\n".encode()


def _chat(message: Json, finish_reason: str, usage: Json | None) -> Json:
    return {
        "output": {"choices": [{"message": message, "finish_reason": finish_reason}]},
        "usage": _usage(usage or {}),
        "request_id": uuid.uuid4().hex,
    }


def _usage(usage: Json) -> Json:
    return {
        "input_tokens": usage.get("prompt_tokens", 0),
        "output_tokens": usage.get("completion_tokens", 0),
        "total_tokens": usage.get("total_tokens", 0),
    }


def _json(body: Json, status: int = 200) -> Response:
    return JSONResponse({**body, "request_id": uuid.uuid4().hex}, status)
