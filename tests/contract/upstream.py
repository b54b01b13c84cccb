"""What OneAPI and FastGPT take for the servers of models and pages: it notes what it is asked."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rehearsal.doubles import language

WIDE = "wide-2048"
PAGE = (
    b"<html><head><title>Opening hours</title></head><body><script>var x</script>"
    b"<h2>Hours</h2><p>Open from nine.</p></body>"
)


@dataclass(frozen=True)
class Asked:
    """One POST as it arrived; headers' names are small, and what is no JSON has no body."""

    path: str
    headers: dict[str, str]
    body: Any


class Upstream:
    """Servers at all `ports` of an address. `asked` holds what was posted since `forget`."""

    def __init__(self, address: str = "127.0.0.1", ports: tuple[int, ...] = (0,)) -> None:
        self.asked: list[Asked] = []
        self.refusals: dict[str, tuple[int, Any]] = {}
        self.chat_answer = ""
        self._servers = [ThreadingHTTPServer((address, port), _handler(self)) for port in ports]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.base_url = f"http://{address}:{self._servers[0].server_port}"

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [asked.body for asked in list(self.asked) if asked.path == path]

    def forget(self) -> None:
        """Forget what was asked; refuse nothing any more."""
        self.asked.clear()
        self.refusals.clear()
        self.chat_answer = ""

    def refuse(self, model: str, status: int = 503, **error: Any) -> None:
        """Answer this for a model from now on."""
        self.refusals[model] = (status, {"error": error})

    def answer(self, asked: Asked) -> tuple[int, Any]:
        """Status and JSON for one POST, or the bytes of a sound."""
        self.asked.append(asked)
        body = asked.body or {}
        model = str(body.get("model"))
        if model in self.refusals:
            return self.refusals[model]
        if asked.path == "/v1/rerank":
            return 200, _reranked(body)
        if asked.path == "/v1/embeddings":
            width = 2048 if model == WIDE else 768
            texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
            rows = [
                {"index": i, "embedding": language.embed(t, width)} for i, t in enumerate(texts)
            ]
            return 200, {"data": rows}
        if asked.path == "/v1/chat/completions":
            said = self.chat_answer or language.answer(body["messages"])
            return 200, {"choices": [{"message": {"role": "assistant", "content": said}}]}
        if asked.path == "/v1/audio/speech":
            return 200, b"RIFF"
        if asked.path == "/v1/audio/transcriptions":
            return 200, {"text": "hello"}
        return 404, {"error": {"message": f"Invalid URL (POST {asked.path})", "type": "invalid"}}


def _reranked(body: dict[str, Any]) -> dict[str, Any]:
    scores = [language.relevance(body["query"], text) for text in body["documents"]]
    rows = [{"index": i, "relevance_score": score} for i, score in enumerate(scores)]
    return {"results": sorted(rows, key=lambda row: -row["relevance_score"])}


def _handler(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, "text/html", PAGE)

        def do_POST(self) -> None:
            sent = self._sent()
            is_json = "json" in self.headers.get("content-type", "")
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.path, headers, json.loads(sent) if is_json else None)
            status, answer = upstream.answer(asked)
            if isinstance(answer, bytes):
                self._send(status, "audio/wav", answer)
            elif status == 200 and is_json and asked.body.get("stream"):
                self._send(status, "text/event-stream", _stream(answer))
            else:
                self._send(status, "application/json", json.dumps(answer).encode())

        def _sent(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            sent = b""
            while size := int(self.rfile.readline(), 16):
                sent += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return sent

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


def _stream(answer: dict[str, Any]) -> bytes:
    words = answer["choices"][0]["message"]["content"].split(" ")
    pieces = [word if place == 0 else " " + word for place, word in enumerate(words)]
    lines = [json.dumps({"choices": [{"delta": {"content": piece}}]}) for piece in pieces]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()
