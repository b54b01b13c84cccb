"""The model providers outside: DashScope, Zhipu, OpenAI and others, in the OpenAI form; DashScope
speaks its own form too (`dashscope.py`), which OneAPI uses for channels of its type.

`python -m rehearsal.doubles.providers` listens on `REHEARSAL_ADDRESS`, port
`REHEARSAL_OUTSIDE_PORT` (8080), for all hosts at once: the Host header tells whose models it has
(`providers.json`). TLS is left away, as for everything outside that is emulated.

`REHEARSAL_PAGES` (a JSON list) are hosts of plain web pages: each path of theirs is a page that
stands for the real one and says so. Fault `pages.gone` (key: the host) answers 404.

A call is refused as a provider refuses it: 401 for a missing key or one that contains `invalid`,
404 for a model that the host does not have, 400 for a body that is none.
"""

import json
import os
from html import escape
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from rehearsal import faults, inside
from rehearsal.doubles import dashscope, openai_form
from rehearsal.doubles.language import answer, count_tokens, embed, text_of

PORT = 8080
HOSTS: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())
"""Whose models each emulated host has, embeddings with their vectors' widths; `adjustable` ones
take `dimensions`. The rehearsal's outside world resolves these names."""


class RefusedError(Exception):
    """The provider refuses; `code` is OpenAI's."""

    def __init__(self, status: int, message: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def main() -> None:
    """Serve until the rehearsal ends."""
    inside.enter()
    server = Starlette(routes=[Route("/{path:path}", _serve, methods=["GET", "POST"])])
    port = int(os.environ.get("REHEARSAL_OUTSIDE_PORT") or PORT)
    uvicorn.run(server, host=inside.address(), port=port, log_level="warning", access_log=False)


async def _serve(request: Request) -> Response:
    host, path = request.headers.get("host", "").partition(":")[0], request.url.path
    if host in json.loads(os.environ.get("REHEARSAL_PAGES") or "[]"):
        return _page(host, path)
    form = dashscope if path.startswith(dashscope.ROOT) else openai_form
    try:
        if host not in HOSTS:
            raise RefusedError(404, f"no provider is rehearsed at {host!r}")
        key = request.headers.get("authorization", "").removeprefix("Bearer").strip()
        if not key or "invalid" in key.lower():
            raise RefusedError(401, "Incorrect API key provided.", "invalid_api_key")
        body = await _body(request)
        if form is dashscope:
            body = dashscope.as_openai(body)
        if path == dashscope.CHAT_PATH or path.endswith("/chat/completions"):
            said, used = _chat(HOSTS[host], body)
            reply: Response = form.answer_chat(body["model"], said, used, bool(body.get("stream")))
        elif path == dashscope.EMBEDDING_PATH or path.endswith("/embeddings"):
            vectors, used = _embeddings(HOSTS[host], body)
            reply = form.answer_embeddings(body["model"], vectors, used)
        else:
            raise RefusedError(404, f"Invalid URL ({request.method} {path})")
    except RefusedError as refusal:
        reply = form.refusal(refusal.status, refusal.code, str(refusal))
    return reply


def _page(host: str, path: str) -> Response:
    if faults.take("pages.gone", host):
        return HTMLResponse("<html><body></body></html>", 404)
    name = escape(host + path)
    return HTMLResponse(
        f"<html><head><title>{name} (rehearsed)</title></head><body><h1>{name}</h1>"
        f"<p>This page stands for {name}, which a rehearsal cannot reach.</p></body></html>"
    )


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise RefusedError(400, "The body is not JSON.") from error
    if not isinstance(body, dict):
        raise RefusedError(400, "The body is not an object.")
    return body


def _chat(provider: dict[str, Any], body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    _check_known(body.get("model"), provider["chats"])
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedError(400, "'messages' must be a list of messages, and not empty")
    said = answer(messages)
    asked = sum(count_tokens(text_of(message.get("content"))) for message in messages)
    return said, openai_form.usage(asked, count_tokens(said))


def _embeddings(
    provider: dict[str, Any], body: dict[str, Any]
) -> tuple[list[list[float]], dict[str, Any]]:
    model, texts = body.get("model"), body.get("input")
    widths = provider.get("embeddings", {})
    _check_known(model, widths)
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts:
        raise RefusedError(400, "'input' must be a text or a list of texts")
    width, wanted = widths[model], body.get("dimensions")
    if wanted is not None and model in provider.get("adjustable", ()):
        if not 1 <= wanted <= width:
            raise RefusedError(400, f"'dimensions' must be from 1 to {width}")
        width = wanted
    used = openai_form.usage(sum(map(count_tokens, texts)), 0)
    return [embed(text, width) for text in texts], used


def _check_known(model: object, known: object) -> None:
    assert isinstance(known, list | dict)
    if model not in known:
        text = f"The model `{model}` does not exist or you do not have access to it."
        raise RefusedError(404, text, "model_not_found")


if __name__ == "__main__":
    main()
