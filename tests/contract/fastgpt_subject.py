"""A FastGPT to put the contract to: its container and its upstream servers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from provisioning.catalogue import Model
from provisioning.fastgpt_config import config_json
from rehearsal.doubles import language

ROOT = Path(__file__).parents[2]
DEADLINE = 30.0
ROOT_PASSWORD = "root-password-1"
CHAT_KEY = "sk-chat-key-1"
LLM, EMBEDDING, WIDE, RERANKER = "qwen2.5-instruct", "m3e-base", "wide-2048", "bge-reranker-v2-m3"
WIDTHS = {EMBEDDING: 768, WIDE: 2048}
_KINDS = {LLM: "chat", EMBEDDING: "embedding", WIDE: "embedding", RERANKER: "rerank"}
MODELS = [
    Model.model_validate({"name": name, "kind": kind, "xinference": {}})
    for name, kind in _KINDS.items()
]
_addresses = iter(range(2, 60000))


def new_address() -> str:
    """An address of 127/8 that no other test of this run has."""
    number = next(_addresses)
    return f"127.{100 + os.getpid() % 100}.{number // 250}.{number % 250 + 1}"


def until(what: str, condition: Callable[[], Any]) -> Any:
    """The first true answer of `condition`; fails with what was waited for."""
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {DEADLINE:.0f} s for {what}; last: {found!r}"
        time.sleep(0.02)
    return found


def config(**more: Any) -> dict[str, Any]:
    """Our own config.json; `more` replaces top-level keys."""
    return {**json.loads(config_json(MODELS)), **more}


@dataclass
class Upstream:
    """OneAPI and the reranker as FastGPT sees them: what was asked, and what is refused."""

    address: str = field(default_factory=new_address)
    calls: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    refusals: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    chat_answer: str | None = None

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """The bodies posted to `path`, in order."""
        return [body for called, _, body in list(self.calls) if called == path]

    def reset(self) -> None:
        """Forget the calls; refuse nothing any more."""
        self.calls.clear()
        self.refusals.clear()
        self.chat_answer = None

    def refuse(self, model: str, status: int = 503, **error: Any) -> None:
        """Answer this for a model from now on."""
        self.refusals[model] = (status, {"error": error})

    def answer(
        self, path: str, headers: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON for one POST."""
        self.calls.append((path, headers, body))
        model = str(body.get("model"))
        if model in self.refusals:
            return self.refusals[model]
        if path == "/v1/rerank":
            return 200, _reranked(body)
        assert headers.get("authorization") == f"Bearer {CHAT_KEY}"
        if path == "/v1/embeddings":
            (text,) = body["input"]
            return 200, {"data": [{"index": 0, "embedding": language.embed(text, WIDTHS[model])}]}
        if path == "/v1/chat/completions":
            said = self.chat_answer or language.answer(body["messages"])
            return 200, {"choices": [{"message": {"role": "assistant", "content": said}}]}
        return 404, {"error": {"message": f"Invalid URL (POST {path})", "type": "invalid"}}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Listen on the ports of OneAPI and Xinference."""
        places = [(self.address, port) for port in (3000, 9997)]
        servers = [ThreadingHTTPServer(place, _handler(self)) for place in places]
        for server in servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield
        finally:
            for server in servers:
                server.shutdown()
                server.server_close()


def _reranked(body: dict[str, Any]) -> dict[str, Any]:
    scores = [language.relevance(body["query"], text) for text in body["documents"]]
    rows = [{"index": i, "relevance_score": score} for i, score in enumerate(scores)]
    return {"results": sorted(rows, key=lambda row: -row["relevance_score"])}


def _handler(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<html><head><title>Opening hours</title></head><body><script>var x</script>"
            self._send(200, "text/html", page + b"<h2>Hours</h2><p>Open from nine.</p></body>")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = upstream.answer(self.path, headers, body)
            if status == 200 and body.get("stream"):
                self._send(200, "text/event-stream", _stream(answer))
            else:
                self._send(status, "application/json", json.dumps(answer).encode())

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


class FastGpt:
    """A FastGPT in a rehearsed container, and a raw HTTP client for it."""

    def __init__(self, tree: Path, hosts: dict[str, str], **env: str) -> None:
        tree.mkdir(parents=True)
        self.address = new_address()
        self.log = tree / "log"
        self.config = tree / "root/app/data/config.json"
        self.config.parent.mkdir(parents=True)
        self._hosts = tree / "hosts.json"
        self.resolve(hosts)
        self._env = {
            "PATH": os.environ["PATH"],
            "REHEARSAL_ADDRESS": self.address,
            "REHEARSAL_ROOT": str(tree / "root"),
            "REHEARSAL_HOSTS": str(self._hosts),
            "REHEARSAL_RETRY_SECONDS": "0.3",
            "REHEARSAL_MEMORY": str(tree / "memory.db"),
            "DEFAULT_ROOT_PSW": ROOT_PASSWORD,
            "OPENAI_BASE_URL": "http://oneapi:3000/v1",
            "CHAT_API_KEY": CHAT_KEY,
            "TOKEN_KEY": "token-key-1",
            "MONGODB_URI": "mongodb://fastgpt:pw-1@mongo:27017/fastgpt?authSource=admin",
            "PG_URL": "postgresql://fastgpt:pw-1@pg:5432/postgres",
            **env,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.http = self.anonymous()

    def resolve(self, hosts: dict[str, str]) -> None:
        """Names that have an address from now on, and no others."""
        fresh = self._hosts.with_suffix(".new")
        fresh.write_text(json.dumps(hosts))
        fresh.replace(self._hosts)

    def start(self, **env: str) -> None:
        command = [sys.executable, "-m", "rehearsal.doubles.fastgpt"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env={**self._env, **env}, stdout=log, stderr=log
            )

    def listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex((self.address, 3000)) == 0

    def up(self, **env: str) -> FastGpt:
        """Started and listening; nothing has been asked yet."""
        self.start(**env)
        until("FastGPT to listen", self.listens)
        return self

    def ready(self) -> FastGpt:
        """Started up by a first request, and logged in for the requests to come."""
        data(self.http.get("/api/common/system/getInitData"))
        self.http.headers["token"] = data(self.try_login())["token"]
        return self

    def try_login(self, password: str = ROOT_PASSWORD) -> httpx.Response:
        body = {"username": "root", "password": sha256(password)}
        return self.http.post("/api/support/user/account/loginByPassword", json=body)

    def anonymous(self) -> httpx.Client:
        """A client without a session."""
        url = f"http://{self.address}:3000"
        return httpx.Client(base_url=url, timeout=DEADLINE, trust_env=False)

    def stop(self) -> None:
        """End the process and this client's connections; `up` starts it again."""
        self.http.close()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE)
        self.http = self.anonymous()

    def post(self, path: str, **body: Any) -> Any:
        """The data of a POST as root."""
        return data(self.http.post(path, json=body))

    def upload(self, name: str, content: bytes, **fields: Any) -> httpx.Response:
        return self.http.post(
            "/api/core/dataset/collection/create/localFile",
            files={"file": (name, content)},
            data={"data": json.dumps(fields)},
        )

    def dataset(self, vector_model: str = EMBEDDING) -> str:
        body = {"name": "base", "type": "dataset", "parentId": None, "agentModel": LLM}
        made: str = self.post("/api/core/dataset/create", **body, vectorModel=vector_model)
        return made

    def text(self, dataset: str, text: str, **fields: Any) -> Any:
        path = "/api/core/dataset/collection/create/text"
        return self.post(path, datasetId=dataset, text=text, **{"name": "note.txt", **fields})

    def waiting(self, dataset: str) -> int:
        """Chunks in the queue of the dataset."""
        path = "/api/core/dataset/training/getDatasetTrainingQueue"
        found = data(self.http.get(path, params={"datasetId": dataset}))
        assert found["rebuildingCount"] == 0
        return int(found["trainingCount"])

    def indexed(self, dataset: str) -> None:
        """Wait until the queue of the dataset is empty."""
        until("the dataset to be indexed", lambda: not self.waiting(dataset))

    def search(self, dataset: str, text: str, **more: Any) -> dict[str, Any]:
        """The data of a search test."""
        how = {"limit": 1500, "similarity": 0, "searchMode": "embedding", "usingReRank": False}
        path = "/api/core/dataset/searchTest"
        found: dict[str, Any] = self.post(path, datasetId=dataset, text=text, **{**how, **more})
        return found


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def data(answer: httpx.Response) -> Any:
    """The data of a success."""
    envelope = answer.json()
    assert (answer.status_code, envelope["code"]) == (200, 200), envelope
    return envelope["data"]


def error(answer: httpx.Response) -> tuple[int, int, str]:
    """HTTP status, code and message of a failure."""
    envelope = answer.json()
    assert set(envelope) == {"code", "statusText", "message", "data"}
    return answer.status_code, envelope["code"], envelope["message"]


@dataclass
class Lab:
    """Upstream servers, and any number of FastGPT containers beside them."""

    tree: Path
    upstream: Upstream
    hosts: dict[str, str]
    started: list[FastGpt] = field(default_factory=list)

    def fastgpt(
        self, name: str, content: dict[str, Any] | str | None = None, **env: str
    ) -> FastGpt:
        """A container with its config.json ("" for none), not started."""
        made = FastGpt(self.tree / name, self.hosts, **env)
        content = config() if content is None else content
        if content:
            made.config.write_text(content if isinstance(content, str) else json.dumps(content))
        self.started.append(made)
        return made


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """OneAPI and a reranker, for FastGPTs with their own memory."""
    upstream = Upstream()
    hosts = dict.fromkeys(("oneapi", "xinference", "mongo", "pg"), upstream.address)
    made = Lab(tmp_path_factory.mktemp("lab"), upstream, hosts)
    with upstream.running():
        try:
            yield made
        finally:
            for process in made.started:
                process.stop()


@pytest.fixture(scope="module")
def running(lab: Lab) -> FastGpt:
    """One FastGPT for all tests of a module, logged in."""
    return lab.fastgpt("fastgpt").up().ready()


@pytest.fixture
def fastgpt(lab: Lab, running: FastGpt) -> FastGpt:
    """The module's FastGPT, with an upstream that remembers and refuses nothing yet."""
    lab.upstream.reset()
    return running
