"""The model providers outside in the OpenAI form, DashScope in its own too (`dashscope.py`).

All hosts are one server without TLS: the Host header tells whose models it has.

`REHEARSAL_PAGES` (a JSON list) are hosts of plain web pages: each path of theirs is a page that
stands for the real one and says so. Fault `pages.gone` (key: the host) answers 404.

A key is refused where it is missing or contains `invalid`.
"""

import json
import os
from collections.abc import Collection
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
from rehearsal.doubles.openai_form import Json

PORT = 8080
HOSTS: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())
"""Whose models each host has, embeddings with their widths; `adjustable` ones can be shortened."""


class RefusedError(Exception):
    """The provider refuses: status, message, and OpenAI's code."""


def main() -> None:
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
            raise RefusedError(404, f"no provider is rehearsed at {host!r}", "invalid_request")
        key = request.headers.get("authorization", "").removeprefix("Bearer").strip()
        if not key or "invalid" in key.lower():
            raise RefusedError(401, "Incorrect API key provided.", "invalid_api_key")
        body = await request.json()
        body = dashscope.as_openai(body) if form is dashscope else body
        if path == dashscope.CHAT_PATH or path.endswith("/chat/completions"):
            said, used = _chat(HOSTS[host], body)
            reply: Response = form.answer_chat(body["model"], said, used, bool(body.get("stream")))
        elif path == dashscope.EMBEDDING_PATH or path.endswith("/embeddings"):
            vectors, used = _embeddings(HOSTS[host], body)
            reply = form.answer_embeddings(body["model"], vectors, used)
        else:
            raise RefusedError(404, f"Invalid URL ({request.method} {path})", "invalid_request")
    except RefusedError as refusal:
        reply = form.refusal(*refusal.args)
    return reply


def _page(host: str, path: str) -> Response:
    if faults.take("pages.gone", host):
        return HTMLResponse("<html><body></body></html>", 404)
    name = escape(host + path)
    return HTMLResponse(
        f"<html><head><title>{name} (rehearsed)</title></head><body><h1>{name}</h1>"
        f"<p>This page stands for {name}, which a rehearsal cannot reach.</p></body></html>"
    )


def _chat(provider: Json, body: Json) -> tuple[str, Json]:
    _check_known(body["model"], provider["chats"])
    messages = body["messages"]
    said = answer(messages)
    asked = sum(count_tokens(text_of(message.get("content"))) for message in messages)
    return said, openai_form.usage(asked, count_tokens(said))


def _embeddings(provider: Json, body: Json) -> tuple[list[list[float]], Json]:
    model, texts = body["model"], body["input"]
    widths = provider.get("embeddings", {})
    _check_known(model, widths)
    texts = [texts] if isinstance(texts, str) else texts
    most = width = widths[model]
    if model in provider.get("adjustable", ()):
        width = body.get("dimensions") or most
    if not 1 <= width <= most:
        raise RefusedError(400, f"'dimensions' must be from 1 to {most}", "invalid_request")
    used = openai_form.usage(sum(map(count_tokens, texts)), 0)
    return [embed(text, width) for text in texts], used


def _check_known(model: str, known: Collection[str]) -> None:
    if model not in known:
        text = f"The model `{model}` does not exist or you do not have access to it."
        raise RefusedError(404, text, "model_not_found")


if __name__ == "__main__":
    main()
