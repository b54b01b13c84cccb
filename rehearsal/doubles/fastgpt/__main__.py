"""`python -m rehearsal.doubles.fastgpt`: FastGPT in a rehearsed container."""

import sys

import uvicorn

from rehearsal import inside
from rehearsal.doubles.fastgpt.app import build_app
from rehearsal.doubles.fastgpt.boot import Service
from rehearsal.doubles.fastgpt.config import Environment


def main() -> None:
    """Listen until told to stop."""
    inside.enter()
    environment = Environment.read()
    # A Next standalone server listens on HOSTNAME only, when there is one.
    try:
        host = inside.resolve(environment.hostname)
    except OSError:
        sys.exit(f"Error: getaddrinfo ENOTFOUND {environment.hostname}")
    uvicorn.run(
        build_app(Service(environment)),
        host=host,
        port=environment.port,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
