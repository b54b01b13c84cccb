"""`python -m rehearsal.doubles.fastgpt`: FastGPT in a rehearsed container."""

from __future__ import annotations

import sys

import uvicorn

from rehearsal import inside
from rehearsal.doubles.fastgpt.app import build_app
from rehearsal.doubles.fastgpt.boot import Service
from rehearsal.doubles.fastgpt.environment import Environment


def main() -> None:
    """Listen until told to stop."""
    inside.enter()
    environment = Environment.read()
    uvicorn.run(
        build_app(Service(environment)),
        host=_host(environment.hostname),
        port=environment.port,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )


def _host(hostname: str) -> str:
    """A Next standalone server listens on HOSTNAME only, when there is one."""
    if hostname in ("", "0.0.0.0"):
        return inside.address()
    try:
        return inside.resolve(hostname)
    except OSError:
        sys.exit(f"Error: getaddrinfo ENOTFOUND {hostname}")


if __name__ == "__main__":
    main()
