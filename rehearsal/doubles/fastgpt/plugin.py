"""`python -m rehearsal.doubles.fastgpt.plugin`: the plugin of the current FastGPT, which knows its
models, in a rehearsed container (docs/facts/fastgpt-current-measured.md §1)."""

import hmac
import os
import sys
import time

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rehearsal import inside
from rehearsal.doubles.fastgpt.boot import TRIES, resolves, until_done
from rehearsal.doubles.fastgpt.envelope import CURRENT, Problem


def build_plugin(token: str) -> Starlette:
    """The plugin as an ASGI application, once its services are there."""

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"data": {"status": "ok", "timestamp": int(time.time() * 1000)}})

    async def models(request: Request) -> JSONResponse:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            return JSONResponse({"error": "Unauthorized"}, 401)
        return JSONResponse({"data": list(CURRENT["builtin"].values())})

    return Starlette(routes=[Route("/health", health), Route("/api/models", models)])


def main() -> None:
    inside.enter()
    given = os.environ
    if len(given.get("AUTH_TOKEN", "")) < 32:
        sys.exit("Invalid environment variables: AUTH_TOKEN must have 32 characters or more")
    try:
        until_done("redis", lambda: resolves(given.get("REDIS_URL", "")), TRIES)
        until_done("s3", lambda: resolves(given.get("STORAGE_S3_ENDPOINT", "")), TRIES)
    except Problem:
        # It ends well, of which a restart on failure alone would take no notice.
        sys.exit(0)
    until_done("mongo", lambda: resolves(given.get("MONGODB_URI", "")))
    host, port = inside.address(), int(given.get("PORT") or 3000)
    uvicorn.run(build_plugin(given["AUTH_TOKEN"]), host=host, port=port, log_level="warning")


if __name__ == "__main__":
    main()
