"""A container's program for tests of the engine: a small web server on port 8080.

`GET /env`, `/file?PATH`, `/resolve?NAME`, `/health` (503 while the file /sick exists) and
`/exit?CODE`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rehearsal import inside


class Handler(BaseHTTPRequestHandler):
    """Answers about the inside of the container."""

    def do_GET(self) -> None:
        what, _, argument = self.path.partition("?")
        if what == "/env":
            self._answer(200, json.dumps({**os.environ, "argv": sys.argv[1:]}))
        elif what == "/file":
            self._answer(200, inside.path(argument).read_text())
        elif what == "/resolve":
            try:
                self._answer(200, inside.resolve(argument))
            except socket.gaierror:
                self._answer(404, "no such name")
        elif what == "/health":
            self._answer(503 if inside.path("/sick").exists() else 200, "")
        elif what == "/exit":
            self._answer(200, "bye")
            threading.Timer(0.05, os._exit, [int(argument)]).start()

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, form: str, *values: object) -> None:
        print(form % values, flush=True)


if __name__ == "__main__":
    inside.enter()
    print("ready", flush=True)
    ThreadingHTTPServer((inside.address(), 8080), Handler).serve_forever()
