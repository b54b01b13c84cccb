"""`node -e SCRIPT`: `fetch`, hashes of `crypto`, `process` and `console`, nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from rehearsal import inside
from rehearsal.containers.tools.common import NotUnderstood, complain, say
from rehearsal.containers.tools.javascript import parse
from rehearsal.containers.tools.javascript_run import (
    UNDEFINED,
    Host,
    Js,
    Promise,
    Script,
    Thrown,
    error,
    inspected,
    number,
    shown,
)


class Exit(Exception):
    """The script ends its process."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def main(name: str, arguments: list[str]) -> int:
    """Run the script of `-e` or `-p`; the exit code."""
    if len(arguments) < 2 or arguments[0] not in ("-e", "-p", "--eval", "--print"):
        raise NotUnderstood("node " + " ".join(arguments[:1]))
    outside = {"fetch": fetch, "console": console(), "process": process(), "require": require}
    script = Script(outside)
    try:
        last = script.run(parse(arguments[1]))
    except Exit as exit_:
        return exit_.code
    except Thrown as thrown:
        complain(f"Uncaught {inspected(thrown.value)}")
        return 1
    if arguments[0] in ("-p", "--print"):
        say(inspected(last))
    if isinstance(last, Promise) and last.failure:
        complain(f"Uncaught {inspected(last.failure.value)}")
        return 1
    return 0


def process() -> Host:
    """`process`: the container's environment, and the way out."""
    return Host("process", {"env": dict(os.environ), "exit": leave, "argv": []})


def leave(code: Js = 0) -> None:
    """`process.exit(code)`, `quit(code)`."""
    raise Exit(int(number(code)) if code is not UNDEFINED else 0)


def console() -> Host:
    """`console`: lines on stdout and stderr."""

    def printer(to: Callable[[str], None]) -> Callable[..., Any]:
        def line(*values: Js) -> Js:
            to(" ".join(each if isinstance(each, str) else inspected(each) for each in values))
            return UNDEFINED

        return line

    return Host(
        "console", {"log": printer(say), "error": printer(complain), "warn": printer(complain)}
    )


def require(module: str) -> Host:
    """`require('crypto')`."""
    if module != "crypto":
        raise NotUnderstood(f"require('{module}')")
    return Host("crypto", {"createHash": _hash})


def _hash(algorithm: str) -> Host:
    made = hashlib.new(algorithm)

    def update(text: str) -> Host:
        made.update(text.encode())
        return found

    def digest(form: str) -> str:
        if form != "hex":
            raise NotUnderstood(f"digest('{form}')")
        return made.hexdigest()

    found = Host("Hash", {"update": update, "digest": digest})
    return found


def fetch(url: str, options: dict[str, Any] | None = None) -> Promise:
    """An HTTP request from inside the container."""
    return Promise.of(lambda: _response(url, options or {}))


def _response(url: str, options: dict[str, Any]) -> Host:
    # Half of a start's time; mongosh, which shares this module, never fetches.
    import http.client

    unknown = set(options) - {"method", "headers", "body", "redirect"}
    if unknown:
        raise NotUnderstood(f"fetch with {', '.join(sorted(unknown))}")
    parts = urlsplit(url)
    if parts.scheme != "http":
        raise NotUnderstood(f"fetch of {url}: the rehearsal has no TLS")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    body = options.get("body")
    try:
        address = inside.resolve(parts.hostname or "")
        connection = http.client.HTTPConnection(address, parts.port or 80, timeout=300)
        headers = {"Host": parts.netloc, **options.get("headers", {})}
        sent = shown(body).encode() if body is not None else None
        connection.request(options.get("method", "GET"), path, sent, headers)
        answer = connection.getresponse()
        content = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as failed:
        reason = "ENOTFOUND" if isinstance(failed, socket.gaierror) else "ECONNREFUSED"
        raise error("fetch failed", "TypeError", cause={"code": reason}) from failed
    members: dict[str, Any] = {
        "ok": 200 <= answer.status < 300,
        "status": answer.status,
        "statusText": answer.reason,
        "text": lambda: Promise(content),
        "json": lambda: Promise.of(lambda: _json(content)),
    }
    return Host("Response", members)


def _json(content: str) -> Js:
    try:
        return json.loads(content)
    except ValueError as broken:
        raise error(f"Unexpected token in JSON: {broken}", "SyntaxError") from broken
