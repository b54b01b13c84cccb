"""A lab's own way to use Xinference: our client and resources on a server of the double."""

import time
from collections.abc import Callable
from typing import Any, SupportsIndex

import httpx
import pytest

from provisioning.clients.waiting import Clock
from provisioning.clients.xinference import XinferenceClient
from provisioning.versions import DEFAULT_XINFERENCE
from stack.resources.base import LabProvider, Props
from stack.resources.xinference.model import Model
from stack.resources.xinference.models_ready import ModelsReady
from tests.contract.xinference_subject import ENGINE, Double

PINNED = pytest.mark.parametrize("version", [DEFAULT_XINFERENCE])
TIMES_FASTER = 60.0
SLOW = "4e9"
"""Bytes per second that let QWEN's download take over two seconds: minutes on the fast clock."""
# Where the image has engines, naming one changes nothing here.
M3E = {"model_uid": "embedder", "model_name": "m3e-base", "model_type": "embedding", **ENGINE}
RERANKER = {
    "model_uid": "sorter",
    "model_name": "bge-reranker-v2-m3",
    "model_type": "rerank",
    **ENGINE,
}
# Another model under M3E's uid.
OTHER = {**M3E, "model_name": "bge-m3"}


class FastClock(Clock):
    """Real time, only faster: the waits of minutes take seconds, and every one is really waited."""

    @staticmethod
    def monotonic() -> float:
        return time.monotonic() * TIMES_FASTER

    @staticmethod
    def sleep(seconds: float | SupportsIndex, /) -> None:
        time.sleep(float(seconds) / TIMES_FASTER)


class Recording(httpx.HTTPTransport):
    """The network, and what went over it as (method, path)."""

    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self.calls: list[tuple[str, str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls.append((request.method, request.url.path))
        return super().handle_request(request)

    def changes(self) -> list[tuple[str, str]]:
        """What was not only looked at."""
        return [call for call in self.calls if call[0] != "GET"]


class Lab:
    """One server, and the lab's own way to use it."""

    def __init__(self, double: Double) -> None:
        self.double = double
        self.network = Recording()
        self.models = self._provider(LabProvider(Model))
        self.group = self._provider(LabProvider(ModelsReady))
        self.client = XinferenceClient(
            f"http://{double.address}:9997", transport=self.network, clock=FastClock()
        )

    def _provider(self, made: Any) -> Any:
        provider: LabProvider = made
        provider.transport = self.network
        provider.clock = FastClock()
        return provider

    def model(self, payload: dict[str, Any]) -> Props:
        """A model's inputs."""
        endpoint = {"host": self.double.address, "port": 9997}
        return {"endpoint": endpoint, "payload": payload}

    def create(self, payload: dict[str, Any]) -> Props:
        """Start a model; its outputs."""
        outs: Props = self.models.create(self.model(payload)).outs
        return outs

    def wait(self, *payloads: dict[str, Any], minutes: float = 30) -> list[str]:
        """Wait until a group serves; the uids that do."""
        outs: Props = self.group.create(
            {
                "endpoint": {"host": self.double.address, "port": 9997},
                "payloads": {payload["model_uid"]: payload for payload in payloads},
                "deadline_minutes": minutes,
            }
        ).outs
        ready: list[str] = outs["ready"]
        return ready

    def up(self, payload: dict[str, Any]) -> Props:
        """Start a model and wait for it."""
        outs = self.create(payload)
        assert self.wait(payload) == [payload["model_uid"]]
        return outs

    def read(self, outs: Props) -> Props | None:
        """What a refresh sees; None where the model is gone."""
        result = self.models.read(str(outs["uid"]), outs)
        return result.outs if result.id else None

    def delete(self, outs: Props) -> None:
        """Take a model away."""
        self.models.delete(str(outs["uid"]), outs)

    def entries(self) -> dict[str, Any]:
        """The autostart entries by uid."""
        entries = self.double.get("/v1/autostart/models")["models"]
        return {entry["launch"]["model_uid"]: entry["launch"] for entry in entries}

    def answer(self, uid: str) -> int:
        """The status that those see who ask it."""
        body: dict[str, Any] = {"model": uid, "input": "hello"}
        path = "/v1/embeddings"
        if uid == "qwen":
            hello = {"role": "user", "content": "hello"}
            body, path = {"model": uid, "messages": [hello]}, "/v1/chat/completions"
        return self.double.call("POST", path, json=body).status_code

    def serves(self, uid: str) -> bool:
        """Whether it answers."""
        return self.answer(uid) == 200

    def assert_nothing_is_left_of(self, uid: str) -> None:
        """No route, no launch, no memory, no entry."""
        assert self.client.state(uid).standing in ("absent", "failed")
        assert self.double.used_bytes() == 0
        assert uid not in self.entries()


StartLab = Callable[..., Lab]
