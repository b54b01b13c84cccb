"""What Caddy takes for FastGPT, its plugin and where its files are: it notes what reaches it, and
answers as it is told."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

QUESTION = "/api/v2/chat/completions"
PIECES = (b'data: {"a":1}\n\n', b"data: [DONE]\n\n")

_FASTGPT, _MINIO = 3000, 9000


class Behind:
    """All at one address. `asked`: each whole request that arrived, with its headers, the port
    among them, and its size. A question's answer begins at once, and ends when `end` is set;
    `answers`: path to what is answered to it.
    """

    def __init__(self, address: str) -> None:
        self.asked: list[tuple[str, str, dict[str, str], int]] = []
        self.answers: dict[str, bytes] = {}
        self.end = threading.Event()
        self.end.set()
        handler = _handler(self)
        self._servers = [ThreadingHTTPServer((address, p), handler) for p in (_FASTGPT, _MINIO)]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def calls(self) -> list[str]:
        return [f"{method} {path}" for method, path, _, _ in list(self.asked)]

    def stop(self) -> None:
        self.end.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()


def _handler(behind: Behind) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_any(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if "Transfer-Encoding" in self.headers:
                while (line := self.rfile.readline()) and line.strip() != b"0":
                    size += len(self.rfile.read(int(line, 16) + 2))
                if not line:
                    return
            elif len(self.rfile.read(size)) < size:
                return
            told = {name.lower(): value for name, value in self.headers.items()}
            told["port"] = str(self.connection.getsockname()[1])
            behind.asked.append((self.command, self.path, told, size))
            self.send_response(200)
            self.send_header("Server", "FastGPT")
            self.send_header("Content-Security-Policy", "default-src *")
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(behind.answers.get(self.path, b""))
            if self.path == QUESTION:
                self.wfile.write(PIECES[0])
                behind.end.wait(60)
                self.wfile.write(PIECES[1])

        do_GET = do_POST = do_PUT = do_DELETE = do_any
        do_HEAD = do_OPTIONS = do_PATCH = do_any

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler
