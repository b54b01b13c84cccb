"""`python -m rehearsal.doubles.fastgpt [current]`: FastGPT in a rehearsed container."""

import sys

import uvicorn

from rehearsal import inside
from rehearsal.doubles.fastgpt.app import build_app
from rehearsal.doubles.fastgpt.boot import Service
from rehearsal.doubles.fastgpt.config import Environment

if __name__ == "__main__":
    inside.enter()
    env = Environment.read()
    is_current = "current" in sys.argv[1:]
    service = Service(env, "current" if is_current else "seeds")
    if is_current:
        service.waits_for()
    # A Next standalone server listens on HOSTNAME only, when there is one.
    host = inside.resolve(env.hostname)
    app = build_app(service)
    uvicorn.run(app, host=host, port=env.port, log_level="warning", timeout_graceful_shutdown=1)
