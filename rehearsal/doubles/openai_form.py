"""OpenAI's form of answers to a chat and to embeddings, and of refusals."""

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

Json = dict[str, Any]


def usage(prompt: int, completion: int) -> Json:
    """Tokens of a call."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def pieces(text: str) -> list[str]:
    """What the events of a stream say one after the other."""
    return [text[start : start + 8] for start in range(0, len(text), 8)]


def answer_chat(model: str, said: str, used: Json, stream: bool, reason: str = "stop") -> Response:
    """The answer to a chat, whole or as a stream of events; `used` may be empty in a stream."""
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
    if stream:
        return StreamingResponse(_events(head, said, used, reason), media_type="text/event-stream")
    message = {"role": "assistant", "content": said}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": used})


def _events(head: Json, said: str, used: Json, reason: str) -> Iterator[str]:
    deltas = [{"role": "assistant", "content": ""}, *({"content": each} for each in pieces(said))]
    for delta in deltas:
        yield _event(head, {"index": 0, "delta": delta, "finish_reason": None})
    last = {**head, "usage": used} if used else head
    yield _event(last, {"index": 0, "delta": {}, "finish_reason": reason})
    yield "data: [DONE]\n\n"


def _event(head: Json, choice: Json) -> str:
    chunk = {**head, "object": "chat.completion.chunk", "choices": [choice]}
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"


def answer_embeddings(model: str, vectors: Sequence[Sequence[float]], used: Json) -> Response:
    """The answer to a request for embeddings."""
    rows = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    return JSONResponse({"object": "list", "data": rows, "model": model, "usage": used})


def refusal(status: int, code: str, message: str) -> Response:
    """A refusal."""
    kind = "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status)
