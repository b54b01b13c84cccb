"""Runs the double: `python -m rehearsal.doubles.xinference [xinference-local] -H 0.0.0.0 ...`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import uvicorn

from rehearsal import inside
from rehearsal.doubles.xinference.app import application
from rehearsal.doubles.xinference.release import release_of


def main(arguments: list[str]) -> int:
    """Serve until told to stop; the exit code."""
    inside.enter()
    # uvicorn brings its own; until it does, a stop must end this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if not arguments:
        # The image's command is bash, which ends at once without a terminal (facts §1).
        return 0
    words = arguments[1:] if Path(arguments[0]).name == "xinference-local" else arguments
    options = _options(words)
    if options.host in ("127.0.0.1", "localhost"):
        print(
            f"the rehearsed xinference-local was told to listen on {options.host}: nobody outside "
            "of the container could reach it; give it -H 0.0.0.0",
            file=sys.stderr,
        )
        return 1
    home = inside.path(os.environ.get("XINFERENCE_HOME") or "/root/.xinference")
    tag = os.environ.get("REHEARSAL_IMAGE_TAG") or "v2.12.0"
    server = application(release_of(tag), home)
    print(f"Xinference is running at: http://{options.host}:{options.port}", file=sys.stderr)
    uvicorn.run(
        server,
        host=inside.address(),
        port=options.port,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
    return 0


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="xinference-local")
    parser.add_argument("-H", "--host", default="localhost")
    parser.add_argument("-p", "--port", type=int, default=9997)
    parser.add_argument("-MH", "--metrics-exporter-host")
    parser.add_argument("-mp", "--metrics-exporter-port", type=int)
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--auth-config")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
