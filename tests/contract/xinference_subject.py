"""Xinference for the contract cases: its double, or a real one, and a lab's own way to use it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsIndex

import httpx
import pytest

from provisioning.clients.waiting import Clock
from provisioning.clients.xinference import XinferenceClient
from provisioning.versions import DEFAULT_XINFERENCE, SUCCESSOR_XINFERENCE
from rehearsal.doubles.xinference.hub import DEFAULT_PACKAGE_INDEX
from rehearsal.faults import ALWAYS, switch_on
from stack.resources.base import LabProvider, Props
from stack.resources.declaration import Thing
from stack.resources.xinference.model import Model
from stack.resources.xinference.models_ready import ModelsReady
from tests.contract.processes import Network, contained, new_address, resolve
from tests.waiting import until

A10 = {"name": "NVIDIA A10", "memory_mib": 22731}
MENDED = "root/usr/local/lib/python3.12/dist-packages/peft-0.18.1.dist-info"
MAINLAND = ("www.modelscope.cn", "hf-mirror.com")
HUBS = (*MAINLAND, DEFAULT_PACKAGE_INDEX)
SUCCESSOR = f"v{SUCCESSOR_XINFERENCE}"
PINNED = pytest.mark.parametrize("version", [DEFAULT_XINFERENCE])
TIMES_FASTER = 60.0
RATE = "REHEARSAL_HUB_BYTES_PER_SECOND"
QWEN = {
    "model_uid": "qwen",
    "model_name": "qwen2.5-instruct",
    "model_type": "LLM",
    "model_engine": "vllm",
    "model_format": "awq",
    "model_size_in_billions": 14,
    "quantization": "Int4",
    "n_gpu": 1,
    "download_hub": "modelscope",
    "gpu_memory_utilization": 0.70,
    "max_model_len": 16384,
}
# Where the image has engines, naming one changes nothing here.
ENGINE = {"model_engine": "sentence_transformers"}
M3E = {"model_uid": "embedder", "model_name": "m3e-base", "model_type": "embedding", **ENGINE}
# Another model under M3E's uid.
OTHER = {**M3E, "model_name": "bge-m3"}
SORTER = "bge-reranker-v2-m3"
RERANKER = {**M3E, "model_uid": "sorter", "model_name": SORTER, "model_type": "rerank"}


class Subject:
    """One server: calls to it, and waiting for what it does."""

    def __init__(self, base_url: str) -> None:
        self.http = httpx.Client(base_url=base_url, timeout=120, trust_env=False)
        self.call = self.http.request

    def get(self, path: str) -> Any:
        return self.call("GET", path).json()

    def launch(self, payload: dict[str, Any], wait_ready: bool = True) -> httpx.Response:
        ready = "true" if wait_ready else "false"
        return self.call("POST", "/v1/models", params={"wait_ready": ready}, json=payload)

    def statuses(self, uid: str) -> list[str]:
        return [replica["status"] for replica in self.get(f"/v1/models/{uid}/replicas")]

    def until(self, uid: str, status: str, seconds: float = 30.0) -> None:
        self.wait(lambda: self.statuses(uid) == [status], f"to be {status}", uid, seconds)

    def wait(self, done: Callable[[], Any], what: str, uid: str, seconds: float = 30.0) -> None:
        rows = f"/v1/models/{uid}/replicas"
        until(done, f"{uid}: {what}", lambda: self.get(rows), seconds)

    def stop(self) -> None:
        self.http.close()


class Double(Subject):
    """The double as a rehearsed container runs it; it can be stopped and started again."""

    def __init__(
        self,
        tree: Path,
        *,
        tag: str = f"v{DEFAULT_XINFERENCE}",
        gpus: int = 1,
        hubs: tuple[str, ...] = HUBS,
        mended: bool = True,
        **env: str,
    ) -> None:
        self.address = new_address()
        super().__init__(f"http://{self.address}:9997")
        self.faults = tree / "faults.json"
        self._tree = tree
        resolve(tree, dict.fromkeys(hubs, "127.0.0.9"))
        self.faults.write_text("{}")
        if mended:
            (tree / MENDED).mkdir(parents=True)
        self._env = {
            "HOME": "/root",
            "REHEARSAL_FAULTS": str(self.faults),
            "REHEARSAL_GPUS": json.dumps([A10] * gpus),
            "REHEARSAL_IMAGE_TAG": tag,
            RATE: "4e10",
            "XINFERENCE_HOME": "/root/.xinference",
            "XINFERENCE_MODEL_SRC": "modelscope",
            "XINFERENCE_AUTH_ADVANCED": "0",
            **env,
        }
        self._start()

    def _start(self) -> None:
        command = "rehearsal.doubles.xinference -H 0.0.0.0"
        self._program = contained(self._tree, command, self.address, 9997, **self._env)
        self._program.wait_until_listening()

    def restart(self, **env: str) -> None:
        self._program.stop()
        self._env.update(env)
        self._start()

    def stop(self) -> None:
        super().stop()
        self._program.stop()

    def used_bytes(self) -> int:
        """GPU memory that somebody holds."""
        (worker,) = self.get("/status")["workers"].values()
        gpu = worker["status"]["gpu-0"]
        return int(gpu["mem_total"] - gpu["mem_free"])

    def fail(self, fault: str, times: int = ALWAYS, model: str = "m3e-base") -> None:
        """Let a model's launches or its process fail from now on."""
        switch_on(self.faults, f"xinference.{fault}", model, times)


class FastClock(Clock):
    """Real time, only faster: the waits of minutes take seconds, and every one is really waited."""

    @staticmethod
    def monotonic() -> float:
        return time.monotonic() * TIMES_FASTER

    @staticmethod
    def sleep(seconds: float | SupportsIndex, /) -> None:
        time.sleep(float(seconds) / TIMES_FASTER)


class Lab:
    """One server, and the lab's own way to use it."""

    def __init__(self, double: Double) -> None:
        self.double = double
        self.network = Network()
        self.models, self.group = self._provider(Model), self._provider(ModelsReady)
        self.endpoint = {"host": double.address, "port": 9997}
        url = f"http://{double.address}:9997"
        self.client = XinferenceClient(url, transport=self.network, clock=FastClock())

    def _provider(self, thing: type[Thing]) -> LabProvider:
        made = LabProvider(thing)
        made.transport = self.network
        made.clock = FastClock()
        return made

    def model(self, payload: dict[str, Any]) -> Props:
        return {"endpoint": self.endpoint, "payload": payload}

    def create(self, payload: dict[str, Any]) -> Props:
        outs = self.models.create(self.model(payload)).outs
        assert outs is not None
        return outs

    def wait(self, *payloads: dict[str, Any], minutes: float = 30) -> None:
        wanted = {payload["model_uid"]: payload for payload in payloads}
        inputs = {"endpoint": self.endpoint, "payloads": wanted, "deadline_minutes": minutes}
        outs = self.group.create(inputs).outs
        assert outs is not None
        assert outs["ready"] == list(wanted)

    def up(self, payload: dict[str, Any]) -> Props:
        outs = self.create(payload)
        self.wait(payload)
        return outs

    def read(self, outs: Props) -> Props | None:
        """What a refresh sees; None where the model is gone."""
        result = self.models.read(str(outs["uid"]), outs)
        return result.outs if result.id else None

    def drift(self, outs: Props, payload: dict[str, Any]) -> tuple[bool, list[str]]:
        """Whether a preview after a refresh shows a change, and what it replaces for."""
        seen = self.read(outs)
        assert seen is not None
        result = self.models.diff(str(outs["uid"]), seen, self.model(payload))
        return bool(result.changes), list(result.replaces or [])

    def delete(self, outs: Props) -> None:
        """Take a model away: no route, no launch, no memory, no entry is left of it."""
        uid = str(outs["uid"])
        self.models.delete(uid, outs)
        assert self.client.state(uid).standing in ("absent", "failed")
        assert self.double.used_bytes() == 0
        assert uid not in self.entries()

    def entries(self) -> dict[str, Any]:
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
        return self.answer(uid) == 200


StartDouble = Callable[..., Double]
StartLab = Callable[..., Lab]
"""With the options of `Double`."""
