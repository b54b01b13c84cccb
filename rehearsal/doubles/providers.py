"""The model providers outside: DashScope, Zhipu, OpenAI and others, in the OpenAI form; DashScope
speaks its own form too (`dashscope.py`), which OneAPI uses for channels of its type.

`python -m rehearsal.doubles.providers` listens on `REHEARSAL_ADDRESS`, port
`REHEARSAL_OUTSIDE_PORT` (8080), for all hosts at once: the Host header tells whose models it has.
TLS is left away, as for everything outside that is emulated.

`REHEARSAL_PAGES` (a JSON list) are hosts of plain web pages: each path of theirs is a page that
stands for the real one and says so. Fault `pages.gone` (key: the host) answers 404.

A call is refused as a provider refuses it: 401 for a missing key or one that contains `invalid`,
404 for a model that the host does not have, 400 for a body that is none. Faults:
`providers.chat`, `providers.embeddings` (key: the model) answer 500; `providers.limit` 429;
`providers.key` (key: the host) 401, as for a key that was revoked.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from rehearsal import faults, inside
from rehearsal.doubles import dashscope
from rehearsal.doubles.language import answer, count_tokens, embed, text_of

PORT = 8080
_MOST_INPUTS = 25


@dataclass(frozen=True)
class Provider:
    """Whose models a host has. Embedding models come with their vectors' widths."""

    chats: frozenset[str]
    embeddings: Mapping[str, int] = field(default_factory=dict)
    adjustable: frozenset[str] = frozenset()
    """Embedding models that take `dimensions`."""


def _chats(names: str) -> frozenset[str]:
    return frozenset(names.split())


_DASHSCOPE = Provider(
    _chats(
        "qwen-turbo qwen-turbo-latest qwen-plus qwen-plus-latest qwen-max qwen-max-latest "
        "qwen-max-longcontext qwen-long qwen2-7b-instruct qwen2-72b-instruct "
        "qwen2.5-7b-instruct qwen2.5-14b-instruct qwen2.5-32b-instruct qwen2.5-72b-instruct "
        "qwen3-8b qwen3-32b"
    ),
    {"text-embedding-v1": 1536, "text-embedding-v2": 1536, "text-embedding-v3": 1024},
    frozenset({"text-embedding-v3"}),
)
HOSTS: dict[str, Provider] = {
    "dashscope.aliyuncs.com": _DASHSCOPE,
    "dashscope-intl.aliyuncs.com": _DASHSCOPE,
    "open.bigmodel.cn": Provider(
        _chats(
            "glm-4 glm-4-plus glm-4-air glm-4-airx glm-4-long glm-4-flash glm-4v glm-3-turbo "
            "chatglm_turbo chatglm_pro chatglm_std chatglm_lite"
        ),
        {"embedding-2": 1024, "embedding-3": 2048},
        frozenset({"embedding-3"}),
    ),
    "api.openai.com": Provider(
        _chats("gpt-3.5-turbo gpt-4 gpt-4-turbo gpt-4o gpt-4o-mini gpt-4.1 gpt-4.1-mini"),
        {
            "text-embedding-ada-002": 1536,
            "text-embedding-3-small": 1536,
            "text-embedding-3-large": 3072,
        },
        frozenset({"text-embedding-3-small", "text-embedding-3-large"}),
    ),
    "api.moonshot.cn": Provider(_chats("moonshot-v1-8k moonshot-v1-32k moonshot-v1-128k")),
    "api.deepseek.com": Provider(_chats("deepseek-chat deepseek-coder deepseek-reasoner")),
    "api.siliconflow.cn": Provider(
        _chats("Qwen/Qwen2.5-7B-Instruct Qwen/Qwen2.5-72B-Instruct deepseek-ai/DeepSeek-V3"),
        {"BAAI/bge-m3": 1024, "BAAI/bge-large-zh-v1.5": 1024},
    ),
    "ark.cn-beijing.volces.com": Provider(_chats("doubao-pro-32k doubao-lite-32k")),
}
"""The emulated hosts: names that the rehearsal's outside world resolves."""


class RefusedError(Exception):
    """The provider refuses; the answer is in OpenAI's error form."""

    def __init__(self, status: int, message: str, kind: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.code = code

    def answer(self) -> Response:
        """The refusal as HTTP."""
        error = {"message": str(self), "type": self.kind, "param": None, "code": self.code}
        return JSONResponse({"error": error}, self.status)


def main() -> None:
    """Serve until the rehearsal ends."""
    inside.enter()
    port = int(os.environ.get("REHEARSAL_OUTSIDE_PORT") or PORT)
    uvicorn.run(
        application(), host=inside.address(), port=port, log_level="warning", access_log=False
    )


def application() -> Starlette:
    """All providers as one ASGI application."""
    return Starlette(routes=[Route("/{path:path}", _serve, methods=["GET", "POST"])])


async def _serve(request: Request) -> Response:
    try:
        host = request.headers.get("host", "").partition(":")[0]
        if host in json.loads(os.environ.get("REHEARSAL_PAGES") or "[]"):
            return _page(host, request.url.path)
        provider = _provider(host)
        _check_key(request.headers.get("authorization", ""), host)
        path = request.url.path.rstrip("/")
        if request.method == "GET" and path.endswith("/models"):
            return JSONResponse({"object": "list", "data": _models(provider)})
        if request.method == "POST" and path == dashscope.CHAT_PATH:
            return dashscope.answer_chat(_chat(provider, dashscope.chat(await _body(request))))
        if request.method == "POST" and path == dashscope.EMBEDDING_PATH:
            body = dashscope.embeddings(await _body(request))
            return dashscope.answer_embeddings(_embeddings(provider, body))
        if request.method == "POST" and path.endswith("/chat/completions"):
            return _chat(provider, await _body(request))
        if request.method == "POST" and path.endswith("/embeddings"):
            return _embeddings(provider, await _body(request))
        raise RefusedError(404, f"Invalid URL ({request.method} {path})", *_INVALID)
    except RefusedError as refusal:
        if request.url.path.startswith(dashscope.ROOT):
            return dashscope.refusal(refusal.status, refusal.code, str(refusal))
        return refusal.answer()


def _page(host: str, path: str) -> Response:
    if faults.take("pages.gone", host):
        return HTMLResponse("<html><body></body></html>", 404)
    name = escape(host + path)
    return HTMLResponse(
        f"<html><head><title>{name} (rehearsed)</title></head><body><h1>{name}</h1>"
        f"<p>This page stands for {name}, which a rehearsal cannot reach.</p></body></html>"
    )


_INVALID = ("invalid_request_error", "invalid_request")


def _provider(host: str) -> Provider:
    if host not in HOSTS:
        raise RefusedError(404, f"no provider is rehearsed at {host!r}", *_INVALID)
    return HOSTS[host]


def _check_key(authorization: str, host: str) -> None:
    key = authorization.removeprefix("Bearer").strip()
    if not key or "invalid" in key.lower() or faults.take("providers.key", host):
        raise RefusedError(
            401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"
        )


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise RefusedError(400, "The body is not JSON.", *_INVALID) from error
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise RefusedError(400, "you must provide a model parameter", *_INVALID)
    if faults.take("providers.limit", body["model"]):
        message = f"Rate limit reached for {body['model']}"
        raise RefusedError(429, message, "requests", "rate_limit_exceeded")
    return body


def _models(provider: Provider) -> list[dict[str, str]]:
    names = sorted({*provider.chats, *provider.embeddings})
    return [{"id": name, "object": "model", "owned_by": "system"} for name in names]


def _chat(provider: Provider, body: dict[str, Any]) -> Response:
    model, messages = body["model"], body.get("messages")
    _known(model, model in provider.chats)
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise RefusedError(400, "'messages' must be a list of messages", *_INVALID)
    if not messages:
        raise RefusedError(400, "'messages' must not be empty", *_INVALID)
    if faults.take("providers.chat", model):
        raise RefusedError(500, "The server had an error.", "server_error", "internal_error")
    said = answer(messages)
    asked = sum(count_tokens(text_of(message.get("content"))) for message in messages)
    usage = _usage(asked, count_tokens(said))
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
    if body.get("stream"):
        return StreamingResponse(_chunks(head, said, usage), media_type="text/event-stream")
    message = {"role": "assistant", "content": said}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


async def _chunks(head: dict[str, Any], said: str, usage: dict[str, int]) -> AsyncIterator[bytes]:
    pieces = [said[start : start + 8] for start in range(0, len(said), 8)]
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in pieces]
    for delta in deltas:
        yield _event(head, {"index": 0, "delta": delta, "finish_reason": None})
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield _event({**head, "usage": usage}, last)
    yield b"data: [DONE]\n\n"


def _event(head: dict[str, Any], choice: dict[str, Any]) -> bytes:
    chunk = {**head, "object": "chat.completion.chunk", "choices": [choice]}
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


def _embeddings(provider: Provider, body: dict[str, Any]) -> Response:
    model = body["model"]
    _known(model, model in provider.embeddings)
    texts = body.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise RefusedError(400, "'input' must be a text or a list of texts", *_INVALID)
    if model.startswith("text-embedding-v") and len(texts) > _MOST_INPUTS:
        message = f"batch size is invalid, it should not be larger than {_MOST_INPUTS}."
        raise RefusedError(400, message, *_INVALID)
    if faults.take("providers.embeddings", model):
        raise RefusedError(500, "The server had an error.", "server_error", "internal_error")
    width = _width(provider, model, body.get("dimensions"))
    rows = [
        {"object": "embedding", "index": index, "embedding": embed(text, width)}
        for index, text in enumerate(texts)
    ]
    usage = _usage(sum(map(count_tokens, texts)), 0)
    return JSONResponse({"object": "list", "data": rows, "model": model, "usage": usage})


def _width(provider: Provider, model: str, wanted: object) -> int:
    usual = provider.embeddings[model]
    if wanted is None or model not in provider.adjustable:
        return usual
    if not isinstance(wanted, int) or not 1 <= wanted <= usual:
        raise RefusedError(400, f"'dimensions' must be from 1 to {usual}", *_INVALID)
    return wanted


def _known(model: str, known: bool) -> None:
    if not known:
        raise RefusedError(
            404,
            f"The model `{model}` does not exist or you do not have access to it.",
            "invalid_request_error",
            "model_not_found",
        )


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


if __name__ == "__main__":
    main()
