"""Xinference for the contract cases: its double, and the real one where XINFERENCE_URL names it."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from provisioning.versions import DEFAULT_XINFERENCE, SUCCESSOR_XINFERENCE
from rehearsal.doubles.xinference.hub import DEFAULT_PACKAGE_INDEX

ROOT = Path(__file__).parents[2]
DEADLINE = 30.0
A10 = {"name": "NVIDIA A10", "memory_mib": 22731}
MENDED = "usr/local/lib/python3.12/dist-packages/peft-0.18.1.dist-info"
MAINLAND = ("www.modelscope.cn", "hf-mirror.com")
HUBS = (*MAINLAND, DEFAULT_PACKAGE_INDEX)
SUCCESSOR = f"v{SUCCESSOR_XINFERENCE}"
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
ENGINE = {"model_engine": "sentence_transformers"}
_numbers = itertools.count(1)


class Subject:
    """One server: calls to it, and waiting for what it does."""

    def __init__(self, base_url: str) -> None:
        self.http = httpx.Client(base_url=base_url, timeout=120, trust_env=False)

    @property
    def version(self) -> str:
        return str(self.get("/v1/cluster/version")["version"])

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.http.request(method, path, **options)

    def get(self, path: str) -> Any:
        return self.call("GET", path).json()

    def launch(self, payload: dict[str, Any], wait_ready: bool = True) -> httpx.Response:
        ready = "true" if wait_ready else "false"
        return self.call("POST", "/v1/models", params={"wait_ready": ready}, json=payload)

    def statuses(self, uid: str) -> list[str]:
        return [replica["status"] for replica in self.get(f"/v1/models/{uid}/replicas")]

    def error(self, uid: str) -> str:
        rows = self.get(f"/v1/models/{uid}/replicas")
        return str(rows[0]["error_message"] or "") if rows else ""

    def until(self, uid: str, status: str, seconds: float = DEADLINE) -> None:
        self.wait(lambda: self.statuses(uid) == [status], f"{uid} to be {status}", uid, seconds)

    def failure(self, uid: str, seconds: float = DEADLINE) -> str:
        """The message of a launch that fails, which comes after its ERROR and before its end."""
        self.wait(lambda: bool(self.error(uid)), f"a message of {uid}", uid, seconds)
        gone = f"/v1/models/{uid}"
        self.wait(lambda: self.call("GET", gone).status_code == 400, "its end", uid, seconds)
        return self.error(uid)

    def wait(
        self, done: Callable[[], bool], what: str, uid: str, seconds: float = DEADLINE
    ) -> None:
        end = time.monotonic() + seconds
        while not done():
            last = self.get(f"/v1/models/{uid}/replicas")
            assert time.monotonic() < end, f"waited for {what}; last seen: {last}"
            time.sleep(0.02)

    def close(self) -> None:
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
        self.address = f"127.89.{os.getpid() % 250}.{next(_numbers) % 250 + 1}"
        super().__init__(f"http://{self.address}:9997")
        self.tree = tree
        (tree / "root").mkdir(exist_ok=True)
        if mended:
            (tree / "root" / MENDED).mkdir(parents=True, exist_ok=True)
        (tree / "hosts.json").write_text(json.dumps(dict.fromkeys(hubs, "127.0.0.9")))
        (tree / "faults.json").write_text("{}")
        self.faults = tree / "faults.json"
        self._env = {
            **{name: value for name, value in os.environ.items() if "XINFERENCE" not in name},
            "HOME": "/root",
            "REHEARSAL_ADDRESS": self.address,
            "REHEARSAL_ROOT": str(tree / "root"),
            "REHEARSAL_HOSTS": str(tree / "hosts.json"),
            "REHEARSAL_FAULTS": str(self.faults),
            "REHEARSAL_GPUS": json.dumps([A10] * gpus),
            "REHEARSAL_IMAGE_TAG": tag,
            "REHEARSAL_HUB_BYTES_PER_SECOND": "4e10",
            "XINFERENCE_HOME": "/root/.xinference",
            "XINFERENCE_MODEL_SRC": "modelscope",
            "XINFERENCE_AUTH_ADVANCED": "0",
            **env,
        }
        self.log = ""
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        with (self.tree / "log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rehearsal.doubles.xinference", "-H", "0.0.0.0"],
                cwd=ROOT,
                env=self._env,
                stderr=log,
                text=True,
            )
        end = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(httpx.TransportError):
                self.http.get("/status")
                return
            assert self._process.poll() is None, (self.tree / "log").read_text()
            assert time.monotonic() < end, "the double does not listen"
            time.sleep(0.02)

    def used_bytes(self) -> int:
        """GPU memory that somebody holds."""
        (worker,) = self.get("/status")["workers"].values()
        gpu = worker["status"]["gpu-0"]
        return int(gpu["mem_total"] - gpu["mem_free"])

    def set_rate(self, bytes_per_second: str) -> None:
        """For the next start."""
        self._env["REHEARSAL_HUB_BYTES_PER_SECOND"] = bytes_per_second

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(timeout=DEADLINE)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        super().close()
        if self._process is not None and self._process.poll() is None:
            self.stop(signal.SIGKILL)


StartDouble = Callable[..., Double]
"""With the options of `Double`."""
