"""DashScope's own form of a chat and of embeddings.

OneAPI speaks it on channels of type 17 (docs/facts/oneapi.md §9).
"""

import json
import uuid
from collections.abc import Iterator, Sequence

from starlette.responses import JSONResponse, Response, StreamingResponse

from rehearsal.doubles.openai_form import Json, pieces

ROOT = "/api/v1/services/"
CHAT_PATH = f"{ROOT}aigc/text-generation/generation"
EMBEDDING_PATH = f"{ROOT}embeddings/text-embedding/text-embedding"


def as_openai(body: Json) -> Json:
    """A request in the OpenAI form. `incremental_output` is what OneAPI sends for a stream."""
    given, parameters = body.get("input") or {}, body.get("parameters") or {}
    return {
        "model": body.get("model"),
        "messages": given.get("messages"),
        "input": given.get("texts"),
        "stream": bool(parameters.get("incremental_output")),
    }


def answer_chat(_model: str, said: str, used: Json, stream: bool) -> Response:
    """The answer to a chat, whole or as a stream of events."""
    if stream:
        return StreamingResponse(_events(said, used), media_type="text/event-stream")
    return JSONResponse(_chat(said, "stop", used))


def _events(said: str, used: Json) -> Iterator[str]:
    for piece in pieces(said):
        yield f"data:{json.dumps(_chat(piece, 'null', used), ensure_ascii=False)}\n\n"
    yield f"data:{json.dumps(_chat('', 'stop', used))}\n\n"


def _chat(said: str, finish_reason: str, used: Json) -> Json:
    message = {"role": "assistant", "content": said}
    choice = {"message": message, "finish_reason": finish_reason}
    return _identified({"output": {"choices": [choice]}, "usage": _usage(used)})


def answer_embeddings(_model: str, vectors: Sequence[Sequence[float]], used: Json) -> Response:
    """The answer to a request for embeddings."""
    rows = [{"embedding": vector, "text_index": index} for index, vector in enumerate(vectors)]
    return JSONResponse(_identified({"output": {"embeddings": rows}, "usage": _usage(used)}))


def refusal(status: int, code: str, message: str) -> Response:
    """A refusal; a bad key has a name of its own."""
    name = "InvalidApiKey" if code == "invalid_api_key" else "InvalidParameter"
    return JSONResponse(_identified({"code": name, "message": message}), status)


def _usage(used: Json) -> Json:
    names = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
    return {names.get(name, name): count for name, count in used.items()}


def _identified(body: Json) -> Json:
    return {**body, "request_id": uuid.uuid4().hex}
