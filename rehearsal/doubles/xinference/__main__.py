"""Runs the double: `python -m rehearsal.doubles.xinference [xinference-local] -H 0.0.0.0 ...`."""

import argparse
import os
import signal
import sys
from pathlib import Path

import uvicorn

from rehearsal import inside
from rehearsal.doubles.xinference.app import application
from rehearsal.doubles.xinference.books import release_of


def main(arguments: list[str]) -> int:
    """Serve until told to stop; the exit code."""
    inside.enter()
    # uvicorn hands a stop on to this once it has shut down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if not arguments:
        # The image's command is bash, which ends at once without a terminal (facts §1).
        return 0
    parser = argparse.ArgumentParser(prog="xinference-local")
    parser.add_argument("-H", "--host", default="localhost")
    parser.add_argument("-p", "--port", type=int, default=9997)
    named = Path(arguments[0]).name == parser.prog
    options = parser.parse_args(arguments[1:] if named else arguments)
    if options.host in ("127.0.0.1", "localhost"):
        parser.error(f"nobody outside of the container reaches {options.host}: give -H 0.0.0.0")
    release = release_of(os.environ.get("REHEARSAL_IMAGE_TAG") or "v2.12.0")
    home = inside.path(os.environ.get("XINFERENCE_HOME") or "/root/.xinference")
    uvicorn.run(
        application(release, home),
        host=inside.address(),
        port=options.port,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
