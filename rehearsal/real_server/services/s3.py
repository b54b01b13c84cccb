"""MinIO's place: moto's S3 server, and MinIO's word for its own health."""

import os
import signal
from collections.abc import Callable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

_s3 = DomainDispatcherApplication(create_backend_app)


def answer(told: dict[str, Any], start: Callable[..., Any]) -> Any:  # noqa: ANN401 - WSGI's
    """One request, as WSGI has it."""
    if not told["PATH_INFO"].startswith("/minio/health/"):
        return _s3(told, start)
    start("200 OK", [("Content-Length", "0")])
    return []


# The first process of a container ends by no signal that it does not take.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
run_simple("0.0.0.0", 9000, answer, threaded=True)
