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
RERANK_KEY = "rerank-key-1"
LLM, SECOND_LLM = "qwen2.5-instruct", "glm-4v"
EMBEDDING, WIDE, LOUD = "m3e-base", "wide-2048", "loud-256"
WIDTHS = {EMBEDDING: 768, WIDE: 2048, LOUD: 256}
_addresses = iter(range(2, 60000))


def new_address() -> str:
    """An address of 127/8 that no other test of this run has."""
    number = next(_addresses)
    return f"127.{100 + os.getpid() % 100}.{number // 250}.{number % 250 + 1}"


def until(what: str, condition: Callable[[], Any]) -> Any:
    """The first true answer of `condition`; fails with what was waited for."""
    end = time.monotonic() + DEADLINE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"waited {DEADLINE:.0f} s for {what}; last: {found!r}"
        time.sleep(0.02)


def _max_token() -> int:
    """What our own config.json says of an embedding model: the suite hides no limit of it."""
    ours = Model.model_validate({"name": EMBEDDING, "kind": "embedding", "xinference": {}})
    entries: list[dict[str, Any]] = json.loads(config_json([ours]))["vectorModels"]
    return int(entries[0]["maxToken"])


MAX_TOKEN = _max_token()


def llm(model: str, **more: Any) -> dict[str, Any]:
    """One entry of `llmModels`, complete."""
    return {
        "model": model,
        "name": model,
        "maxContext": 16000,
        "maxResponse": 4000,
        "quoteMaxToken": 8000,
        "maxTemperature": 1.2,
        "charsPointsPrice": 0,
        "datasetProcess": True,
        "toolChoice": False,
        "functionCall": False,
        "customCQPrompt": "",
        "customExtractPrompt": "",
        **more,
    }


def vector(model: str, **more: Any) -> dict[str, Any]:
    """One entry of `vectorModels`, complete."""
    common = {"model": model, "name": model, "charsPointsPrice": 0, "weight": 100}
    return {**common, "defaultToken": 512, "maxToken": MAX_TOKEN, **more}


def config(**more: Any) -> dict[str, Any]:
    """A config.json; `more` replaces top-level keys."""
    return {
        "feConfigs": {"show_register": False, "systemTitle": "mine", "lafEnv": "x"},
        "systemEnv": {"vectorMaxProcess": 4, "qaMaxProcess": 2, "openapiPrefix": "fastgpt"},
        "llmModels": [llm(LLM), llm(SECOND_LLM, datasetProcess=False)],
        "vectorModels": [vector(EMBEDDING), vector(WIDE), vector(LOUD)],
        "reRankModels": [
            {
                "model": "bge-reranker-v2-m3",
                "name": "bge-reranker-v2-m3",
                "charsPointsPrice": 0,
                "requestUrl": "http://xinference:9997/v1/rerank",
                "requestAuth": RERANK_KEY,
            }
        ],
        "audioSpeechModels": [],
        **more,
    }


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

    def answer(
        self, path: str, headers: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON for one POST."""
        self.calls.append((path, headers, body))
        model = body.get("model")
        if model in self.refusals:
            return self.refusals[model]
        if path == "/v1/rerank":
            return 200, self._rerank(body)
        if headers.get("authorization") != f"Bearer {CHAT_KEY}":
            return 401, {"error": {"message": "无效的令牌", "type": "one_api_error"}}
        if path == "/v1/embeddings" and model in WIDTHS:
            return 200, self._embedding(body)
        if path == "/v1/chat/completions" and model in (LLM, SECOND_LLM):
            said = self.chat_answer or language.answer(body["messages"])
            return 200, {"choices": [{"message": {"role": "assistant", "content": said}}]}
        if not path.startswith("/v1/"):
            return 404, {"error": {"message": f"Invalid URL (POST {path})", "type": "invalid"}}
        message = f"当前分组 default 下对于模型 {model} 无可用渠道 (request id: 1)"
        return 503, {"error": {"message": message, "type": "one_api_error"}}

    def _embedding(self, body: dict[str, Any]) -> dict[str, Any]:
        assert isinstance(body["input"], list)
        assert len(body["input"]) == 1, "FastGPT embeds one text per request"
        values = language.embed(body["input"][0], WIDTHS[body["model"]])
        scale = 3.0 if body["model"] == LOUD else 1.0
        return {"data": [{"index": 0, "embedding": [value * scale for value in values]}]}

    def _rerank(self, body: dict[str, Any]) -> dict[str, Any]:
        scores = [language.relevance(body["query"], text) for text in body["documents"]]
        rows = [{"index": i, "relevance_score": score} for i, score in enumerate(scores)]
        return {"results": sorted(rows, key=lambda row: -row["relevance_score"])}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Listen on the ports of OneAPI and Xinference."""
        servers = [
            ThreadingHTTPServer((self.address, port), _handler(self)) for port in (3000, 9997)
        ]
        for server in servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield
        finally:
            for server in servers:
                server.shutdown()
                server.server_close()


def _handler(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<html><head><title>Opening hours</title></head><body><nav>Menu</nav>"
            page += b"<main id='text'><h2>Hours</h2><p>Open from nine.</p></main></body></html>"
            self._send(200, "text/html", page)

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(raw)
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


class Process:
    """One rehearsed container: address, file tree, environment and a process."""

    def __init__(self, tree: Path, hosts: dict[str, str], *command: str, **env: str) -> None:
        tree.mkdir(parents=True, exist_ok=True)
        self.tree = tree
        self.address = new_address()
        self.log = tree / "log"
        self._hosts = tree / "hosts.json"
        self.resolve(hosts)
        self._command = [sys.executable, "-m", *command]
        self._env = env
        self.process: subprocess.Popen[bytes] | None = None

    def path(self, inner: str) -> Path:
        """A file of the container; its folder exists."""
        place = self.tree / "root" / inner.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def resolve(self, hosts: dict[str, str]) -> None:
        """Names that have an address from now on, and no others."""
        self.hosts = hosts
        fresh = self._hosts.with_suffix(".new")
        fresh.write_text(json.dumps({**hosts, "self": self.address}))
        fresh.replace(self._hosts)

    def start(self, **env: str) -> None:
        given = {
            "PATH": os.environ["PATH"],
            "REHEARSAL_ADDRESS": self.address,
            "REHEARSAL_ROOT": str(self.tree / "root"),
            "REHEARSAL_HOSTS": str(self._hosts),
            "REHEARSAL_RETRY_SECONDS": "0.3",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env={**given, **self._env, **env}, stdout=log, stderr=log
            )

    def listens(self, port: int) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex((self.address, port)) == 0

    def exit_code(self) -> int:
        assert self.process is not None
        return self.process.wait(DEADLINE)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE)


class FastGpt(Process):
    """A FastGPT process and a raw HTTP client for it."""

    def __init__(self, tree: Path, hosts: dict[str, str], **env: str) -> None:
        given = {
            "DEFAULT_ROOT_PSW": ROOT_PASSWORD,
            "OPENAI_BASE_URL": "http://oneapi:3000/v1",
            "CHAT_API_KEY": CHAT_KEY,
            "TOKEN_KEY": "token-key-1",
            "MONGODB_URI": "mongodb://fastgpt:pw-1@mongo:27017/fastgpt?authSource=admin",
            "PG_URL": "postgresql://fastgpt:pw-1@pg:5432/postgres",
            "REHEARSAL_MEMORY": str(tree / "memory.db"),
        }
        super().__init__(tree, hosts, "rehearsal.doubles.fastgpt", **{**given, **env})
        self.http = self.anonymous()

    def configure(self, content: dict[str, Any] | str) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self.path("/app/data/config.json").write_text(text)

    def up(self, **env: str) -> FastGpt:
        """Started and listening; nothing has been asked yet."""
        self.start(**env)
        until("FastGPT to listen", lambda: self.listens(3000))
        return self

    def ready(self) -> FastGpt:
        """Started up by a first request, and logged in for the requests to come."""
        data(self.http.get("/api/common/system/getInitData"))
        self.http.headers["token"] = self.login()["token"]
        return self

    def login(self, password: str = ROOT_PASSWORD) -> dict[str, Any]:
        found: dict[str, Any] = data(self.try_login(password))
        return found

    def try_login(self, password: str = ROOT_PASSWORD, username: str = "root") -> httpx.Response:
        body = {"username": username, "password": sha256(password)}
        return self.http.post("/api/support/user/account/loginByPassword", json=body)

    def anonymous(self) -> httpx.Client:
        """A client without a session."""
        url = f"http://{self.address}:3000"
        return httpx.Client(base_url=url, timeout=DEADLINE, trust_env=False)

    def stop(self) -> None:
        """End the process and this client's connections; `up` starts it again."""
        self.http.close()
        super().stop()
        self.http = self.anonymous()

    def post(self, path: str, **body: Any) -> Any:
        """The data of a POST as root."""
        return data(self.http.post(path, json=body))

    def get(self, path: str, **query: str) -> Any:
        """The data of a GET as root."""
        return data(self.http.get(path, params=query))

    def upload(self, name: str, content: bytes, **fields: Any) -> httpx.Response:
        return self.http.post(
            "/api/core/dataset/collection/create/localFile",
            files={"file": (name, content)},
            data={"data": json.dumps(fields)},
        )

    def dataset(self, name: str = "base", **fields: Any) -> str:
        found: str = self.post("/api/core/dataset/create", name=name, **fields)
        return found

    def text(self, dataset: str, text: str, name: str = "note.txt", **fields: Any) -> Any:
        path = "/api/core/dataset/collection/create/text"
        return self.post(path, datasetId=dataset, text=text, name=name, **fields)

    def queue(self, dataset: str) -> dict[str, int]:
        path = "/api/core/dataset/training/getDatasetTrainingQueue"
        found: dict[str, int] = self.get(path, datasetId=dataset)
        return found

    def indexed(self, dataset: str) -> None:
        """Wait until the queue of the dataset is empty."""
        idle = {"rebuildingCount": 0, "trainingCount": 0}
        until("the dataset to be indexed", lambda: self.queue(dataset) == idle)

    def collections(self, dataset: str) -> list[dict[str, Any]]:
        path = "/api/core/dataset/collection/list"
        body = {"datasetId": dataset, "pageNum": 1, "pageSize": 30, "parentId": None}
        found: list[dict[str, Any]] = self.post(path, **body, searchText="")["data"]
        return found

    def search(self, dataset: str, text: str, **more: Any) -> dict[str, Any]:
        """The data of a search test."""
        found: dict[str, Any] = data(self.try_search(dataset, text, **more))
        return found

    def try_search(self, dataset: str, text: str, **more: Any) -> httpx.Response:
        body = {"datasetId": dataset, "text": text, "limit": 1500, "similarity": 0, **more}
        return self.http.post("/api/core/dataset/searchTest", json=body)


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
    started: list[Process] = field(default_factory=list)

    def fastgpt(
        self, name: str, content: dict[str, Any] | str | None = None, **env: str
    ) -> FastGpt:
        """A container with its config.json, not started."""
        made = FastGpt(self.tree / name, self.hosts, **env)
        if content != "":
            made.configure(config() if content is None else content)
        self.started.append(made)
        return made


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """OneAPI and a reranker, for FastGPTs with their own memory."""
    upstream = Upstream()
    made = Lab(tmp_path_factory.mktemp("lab"), upstream, {})
    with upstream.running():
        try:
            names = ("oneapi", "xinference", "mongo", "pg")
            made.hosts |= dict.fromkeys(names, upstream.address)
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
