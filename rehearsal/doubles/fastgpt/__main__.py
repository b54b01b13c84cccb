"""`python -m rehearsal.doubles.fastgpt`: FastGPT in a rehearsed container."""

import uvicorn

from rehearsal import inside
from rehearsal.doubles.fastgpt.app import build_app
from rehearsal.doubles.fastgpt.boot import Service
from rehearsal.doubles.fastgpt.config import Environment

if __name__ == "__main__":
    inside.enter()
    environment = Environment.read()
    uvicorn.run(
        build_app(Service(environment)),
        # A Next standalone server listens on HOSTNAME only, when there is one.
        host=inside.resolve(environment.hostname),
        port=environment.port,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
