"""Xinference for unit tests: its double in this process, and its answers as they were measured."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from provisioning.versions import DEFAULT_XINFERENCE
from rehearsal.doubles.xinference.app import application
from rehearsal.doubles.xinference.books import Release
from tests.in_process import InProcess

M3E = {"model_uid": "m3e", "model_name": "m3e-base", "model_type": "embedding", "n_gpu": None}
BGE = {**M3E, "model_uid": "bge", "model_name": "bge-m3"}


@contextmanager
def double(monkeypatch: pytest.MonkeyPatch, tree: Path) -> Iterator[InProcess]:
    """A server without a GPU, whose hub is near."""
    (tree / "hosts.json").write_text(json.dumps({"www.modelscope.cn": "127.0.0.9"}))
    (tree / "root/usr/local/lib/python3.12/dist-packages/peft-0.18.1.dist-info").mkdir(parents=True)
    told = {
        "REHEARSAL_ROOT": str(tree / "root"),
        "REHEARSAL_HOSTS": str(tree / "hosts.json"),
        "REHEARSAL_GPUS": "[]",
        "REHEARSAL_HUB_BYTES_PER_SECOND": "1e12",
        "XINFERENCE_MODEL_SRC": "modelscope",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("REHEARSAL_FAULTS", raising=False)
    made = InProcess(application(Release(DEFAULT_XINFERENCE), tree / "home"))
    with made.running():
        yield made


def ask(server: InProcess, method: str, path: str, body: Any = None) -> Any:
    """By another hand than the product's: not among the server's `calls`."""
    request = httpx.Request(method, f"http://lab{path}", json=body)
    answer = server.handle_request(request)
    server.calls.pop()
    assert answer.is_success, answer.text
    return answer.json()


def _absent(uid: str) -> tuple[int, Any]:
    return 400, {"detail": f"Model not found in the model list, uid: {uid}"}


class Answers:
    """What Xinference answers of models that stand so: `serving`, `launching`, `failed`, ...

    It answers every call, and nothing comes of any: what changes is for the test to change. `calls`
    are what came, as (method, path), `queries` with what, and `bodies` what was posted.
    """

    def __init__(self, **standings: str) -> None:
        self.standings = standings
        self.errors: dict[str, str] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.progress: dict[str, Any] = {}
        self.described: Mapping[str, Any] = {}
        self.launched_at = 0.0
        self.without_replicas = False
        self.down = False
        self.calls: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        self.queries: list[dict[str, str]] = []

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.answer)

    def launches(self) -> int:
        return self.calls.count(("POST", "/v1/models"))

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("connection refused", request=request)
        self.calls.append((request.method, request.url.path))
        self.queries.append(dict(request.url.params))
        status, body = 200, None
        if request.method == "POST":
            self.bodies.append(json.loads(request.content or "null"))
        elif request.method == "GET":
            status, body = self._told(request.url.path.split("/")[2:], request.url.params)
        return httpx.Response(status, text=json.dumps(body))

    def _told(self, path: list[str], query: httpx.QueryParams) -> tuple[int, Any]:
        if path == ["cluster", "version"]:
            return 200, {"version": DEFAULT_XINFERENCE}
        if path[0] == "autostart":
            entries = [{"launch": {"model_uid": u}, "state": s} for u, s in self.entries.items()]
            return 200, {"models": entries}
        if path[-1] == "progress":
            return 200, self.progress
        if path == ["models", "instances"]:
            return 200, self._booked(query["model_uid"])
        uid = path[-1]
        ways = {
            "serving": (200, self.described),
            "launching": (503, {"detail": "Model is loading, please retry later"}),
            "down": _absent(f"{uid}-0"),
        }
        return ways.get(self.standings.get(uid, "absent"), _absent(uid))

    def _booked(self, uid: str) -> list[dict[str, Any]]:
        statuses = {"serving": "READY", "launching": "CREATING", "failed": "ERROR", "down": "ERROR"}
        status = statuses.get(self.standings.get(uid, "absent"))
        row = {"status": status, "error_message": self.errors.get(uid)}
        rows = [] if self.without_replicas else [row]
        told = {"status": status, "replica_statuses": rows}
        return [{**told, "instance_created_ts": self.launched_at}] if status else []
