"""The HTTP face: routes, limits, redirects, and what is answered for everything else."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from rehearsal.doubles.oneapi import management, relay
from rehearsal.doubles.oneapi.gateway import REQUEST_ID, Call, Gateway, JsonAnswer, log
from rehearsal.doubles.oneapi.limits import API_SECONDS, CRITICAL_LIMIT, CRITICAL_SECONDS
from rehearsal.doubles.oneapi.management import CRITICAL, Handler

_RELAYED = (
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/edits",
    "/v1/images/generations",
    "/v1/embeddings",
    "/v1/engines/:model/embeddings",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/audio/speech",
    "/v1/moderations",
)
_NOT_IMPLEMENTED = (
    ("POST", "/v1/images/edits"),
    ("POST", "/v1/images/variations"),
    ("GET", "/v1/files"),
    ("POST", "/v1/files"),
    ("DELETE", "/v1/files/:id"),
    ("GET", "/v1/files/:id"),
    ("GET", "/v1/files/:id/content"),
    ("GET", "/v1/fine_tuning/jobs"),
    ("POST", "/v1/fine_tuning/jobs"),
    ("GET", "/v1/fine_tuning/jobs/:id"),
    ("DELETE", "/v1/models/:model"),
    ("GET", "/v1/assistants"),
    ("POST", "/v1/assistants"),
    ("GET", "/v1/assistants/:id"),
    ("POST", "/v1/assistants/:id"),
    ("DELETE", "/v1/assistants/:id"),
    ("POST", "/v1/threads"),
    ("GET", "/v1/threads/:id"),
    ("POST", "/v1/threads/:id"),
    ("DELETE", "/v1/threads/:id"),
    ("POST", "/v1/threads/:id/messages"),
    ("GET", "/v1/threads/:id/messages"),
    ("POST", "/v1/threads/:id/runs"),
    ("GET", "/v1/threads/:id/runs"),
)
_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    *management.ROUTES,
    ("GET", "/v1/models", relay.list_models),
    ("GET", "/v1/models/:model", relay.get_model),
    *(("POST", path, relay.relay) for path in _RELAYED),
    *((method, path, relay.not_implemented) for method, path in _NOT_IMPLEMENTED),
)
_COMPILED = [
    (method, re.compile(re.sub(r":(\w+)", r"(?P<\1>[^/]+)", path)), handler)
    for method, path, handler in _ROUTES
]
_PAGE = "<!doctype html><title>One API</title><p>The rehearsed OneAPI has no web pages.</p>"


def application(gateway: Gateway) -> Starlette:
    """OneAPI as an ASGI application."""
    app = Starlette()

    async def answer(request: Request) -> Response:
        call = _call(request, await request.body())
        response = await run_in_threadpool(_answer, gateway, call)
        response.headers[REQUEST_ID] = call.request_id
        log(f"{call.request_id} | {response.status_code} | {call.method} {call.path}", "GIN")
        return response

    methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]
    app.add_route("/{path:path}", answer, methods=methods)
    return app


def _answer(gateway: Gateway, call: Call) -> Response:
    handler, parts = _find(call.method, call.path)
    if handler is None:
        return _unrouted(gateway, call)
    limited = _limited(gateway, call)
    return limited or handler(gateway, replace(call, parts=parts))


def _find(method: str, path: str) -> tuple[Handler | None, dict[str, str]]:
    for wanted, pattern, handler in _COMPILED:
        match = pattern.fullmatch(path) if wanted == method else None
        if match:
            return handler, match.groupdict()
    return None, {}


def _limited(gateway: Gateway, call: Call) -> Response | None:
    """Management only: the relay has no limit."""
    if not call.path.startswith("/api/"):
        return None
    limit = gateway.environment.api_limit
    if not gateway.limiter.allows(f"GA{call.client}", limit, API_SECONDS):
        return Response(status_code=429)
    if call.path in CRITICAL:
        key = f"CT{call.client}"
        if not gateway.limiter.allows(key, CRITICAL_LIMIT, CRITICAL_SECONDS):
            return Response(status_code=429)
    return None


def _unrouted(gateway: Gateway, call: Call) -> Response:
    other = call.path.rstrip("/") if call.path.endswith("/") else call.path + "/"
    if _find(call.method, other)[0]:
        return _redirect(call, other + call.target[len(call.path) :])
    web = gateway.environment.web_limit
    if not gateway.limiter.allows(f"GW{call.client}", web, API_SECONDS):
        return Response(status_code=429)
    if call.target.startswith(("/v1", "/api")):
        error = {
            "message": f"Invalid URL ({call.method} {call.path})",
            "type": "invalid_request_error",
            "param": "",
            "code": "",
        }
        return JsonAnswer({"error": error}, 404)
    return HTMLResponse(_PAGE)


def _redirect(call: Call, target: str) -> Response:
    """As gin does it: 301 and a page for GET, 307 for everything else."""
    if call.method != "GET":
        return Response(status_code=307, headers={"Location": target})
    page = f'<a href="{target}">Moved Permanently</a>.\n\n'
    return HTMLResponse(page, 301, {"Location": target})


def _call(request: Request, body: bytes) -> Call:
    query = request.url.query
    return Call(
        method=request.method,
        path=request.url.path,
        target=request.url.path + (f"?{query}" if query else ""),
        query=dict(reversed(parse_qsl(query, keep_blank_values=True))),
        headers=dict(request.headers),
        cookies=request.cookies,
        body=body,
        client=_client(request),
    )


def _client(request: Request) -> str:
    """The first address in X-Forwarded-For, from whomever it comes."""
    for header in ("x-forwarded-for", "x-real-ip"):
        given = request.headers.get(header, "").split(",")[0].strip()
        if given:
            return given
    return request.client.host if request.client else ""
