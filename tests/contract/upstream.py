"""A small model server with an OpenAI face: it remembers what it was asked.

The model's name says how it behaves: `status-<n>` answers that status in its own words,
`openai-<n>` with an error in OpenAI's form, `flow-json` answers a stream with plain JSON. What ends
in `-embedding` embeds only, and refuses to chat as a model server does.
"""

import json
import re
import threading
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.contract.processes import free_port, wait_for

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


class Upstream:
    """The server, on a thread of its own. `asked` holds what came since `forget`."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        routes = [Route("/{path:path}", self._answer, methods=["GET", "POST"])]
        settings = uvicorn.Config(
            Starlette(routes=routes), port=self.port, log_level="error", lifespan="off"
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_for(lambda: self._server.started, "the contract suite's upstream to listen")

    def forget(self) -> None:
        """Forget what was asked so far."""
        self.asked.clear()

    def stop(self) -> None:
        """End the server."""
        self._server.should_exit = True
        self._thread.join(10)

    async def _answer(self, request: Request) -> Response:
        asked = Asked(request.method, request.url.path, dict(request.headers), await request.body())
        self.asked.append(asked)
        if asked.path == "/v1/audio/transcriptions":
            return JSONResponse({"text": "hello"})
        if asked.path == "/v1/audio/speech":
            return Response(b"RIFF", media_type="audio/wav")
        if asked.path == "/v1/chat/completions":
            return _chat(asked.json)
        if asked.path in ("/v1/embeddings", "/v1/completions", "/v1/moderations"):
            return _plain(asked)
        return JSONResponse({"detail": "Not Found"}, 404)


def _chat(body: dict[str, Any]) -> Response:
    model = body["model"]
    failing = re.fullmatch(r"(status|openai)-(\d+)", model)
    if failing:
        return _failure(failing[1], int(failing[2]))
    if model.endswith("-embedding"):
        return JSONResponse({"detail": "Model not found in the model list, uid: " + model}, 400)
    if body.get("stream") and model != "flow-json":
        return StreamingResponse(_events(model), media_type="text/event-stream")
    message = {"role": "assistant", "content": f"I am {model}"}
    return JSONResponse(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": USAGE,
        }
    )


def _plain(asked: Asked) -> Response:
    model = asked.json.get("model")
    if asked.path == "/v1/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}]
        return JSONResponse({"object": "list", "model": model, "data": data, "usage": USAGE})
    return JSONResponse({"id": "1", "model": model, "results": [], "choices": [], "usage": USAGE})


def _failure(kind: str, status: int) -> Response:
    if kind == "status":
        return JSONResponse({"detail": "out of order"}, status)
    error = {"message": "No such key.", "type": "invalid_request_error", "code": "bad_key"}
    return JSONResponse({"error": {**error, "param": None}}, status)


async def _events(model: str) -> Any:
    for text in ("I ", "am ", model):
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        yield f"data: {json.dumps({'id': 'c', 'model': model, 'choices': [choice]})}\n\n".encode()
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    event = {"id": "c", "model": model, "choices": [last], "usage": USAGE}
    yield f"data: {json.dumps(event)}\n\n".encode()
    yield b"data: [DONE]\n\n"
