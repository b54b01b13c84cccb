"""fastgpt-sandbox: runs a code node's JavaScript.

    python -m rehearsal.doubles.sandbox [the container's own command ...]

`POST /sandbox/js` with `{"code": str, "variables": {}}`, where `code` has a `function main(){...}`;
it answers `{"success": true, "data": {"codeReturn": <what main returned>, "log": str}}` with status
201, as NestJS does for a POST. A script that fails answers 500 in Nest's envelope. Port 3000
(docs/facts/fastgpt.md §1, §9: a chat and a search do not need it, an app's code node does).

The language is the subset of `rehearsal/containers/tools/javascript.py`; a code node that goes
beyond it fails with words that say so. The container's `node -e SCRIPT` is run, too.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rehearsal import inside
from rehearsal.containers.tools import node
from rehearsal.containers.tools.common import NotUnderstood
from rehearsal.containers.tools.javascript import parse
from rehearsal.containers.tools.javascript_run import (
    UNDEFINED,
    Host,
    Js,
    Promise,
    Script,
    Thrown,
    inspected,
    shown,
)


def run(code: str, variables: dict[str, Any]) -> dict[str, Any]:
    """What `main(variables)` returns, and what it logged.

    Raises:
        Thrown: the script's own failure.
        NotUnderstood: outside of the subset.
    """
    logged: list[str] = []

    def log(*values: Js) -> Js:
        logged.append(" ".join(shown(value) for value in values))
        return UNDEFINED

    script = Script({"console": Host("console", {"log": log})})
    script.run(parse(code))
    main_ = script.scope.names.get("main")
    if not callable(main_):
        raise Thrown("main is not defined")
    returned = main_(variables)
    value = returned.settled() if isinstance(returned, Promise) else returned
    return {"codeReturn": None if value is UNDEFINED else value, "log": "\n".join(logged)}


async def _js(request: Request) -> JSONResponse:
    body = await request.json()
    if not isinstance(body.get("code"), str):
        return _failed("code must be a string", 400)
    try:
        data = await asyncio.to_thread(run, body["code"], body.get("variables") or {})
    except Thrown as thrown:
        return _failed(thrown.value if isinstance(thrown.value, str) else inspected(thrown.value))
    except NotUnderstood as unknown:
        return _failed(f"the rehearsed sandbox does not understand: {unknown}")
    return JSONResponse({"success": True, "data": data}, 201)


def _failed(message: str, status: int = 500) -> JSONResponse:
    return JSONResponse({"statusCode": status, "message": message}, status)


app = Starlette(routes=[Route("/sandbox/js", _js, methods=["POST"])])


def main(arguments: list[str]) -> int:
    """Serve, or run `-e SCRIPT` as the image's `node` would."""
    inside.enter()
    words = arguments[1:] if arguments[:1] == ["node"] else arguments
    if words[:1] in (["-e"], ["-p"], ["--eval"], ["--print"]):
        try:
            return node.main("node", words)
        except NotUnderstood as unknown:
            print(f"rehearsed node does not understand: {unknown}", file=sys.stderr)
            return 2
    port = int(os.environ.get("PORT", "3000"))
    uvicorn.run(app, host=inside.address(), port=port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
