"""Client of Xinference's REST interface, versions 1.17 to 4.1 (`facts/xinference.md`).

Errors are `{"detail": text}`, often with a prefix `[address=..., pid=...]`; they are told apart by
the text, because the status codes are not reliable (an absent model is a 400).

Where `facts/xinference.md` is silent, the source of the published 2.12.0 package was read. A launch
that is not waited for finds out nearly everything later, in its replicas; a DELETE does not end a
launch; a cancel does not end a model that serves, it only loses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import httpx

from provisioning.clients.http import (
    Busy,
    Conflict,
    Json,
    NotFound,
    RateLimited,
    Refused,
    ServiceClient,
    Unauthorized,
    call_of,
    said_by,
)

LAUNCH_SECONDS = 60.0
STOP_SECONDS = 120.0
CANCEL_SECONDS = 120.0
CHAT_SECONDS = 180.0

GONE = frozenset({"TERMINATED"})
STARTING = frozenset({"CREATING", "LOADING", "UPDATING"})
LEAVING = frozenset({"TERMINATING"})

Standing: TypeAlias = Literal["absent", "launching", "serving"]

DOWNLOADED = 0.8
"""The share of a launch's progress that is the download; the rest is loading."""

_ACTOR_PREFIX = re.compile(r"^\[address=[^\]]*\]\s*")
_ABSENT = ("not found in the model list", "has not been launched yet")
_DOWNLOAD_FAILED = "failed to download"
_TAKEN = "already in the model list"
_UNKNOWN = ("model not found, name", "not found, available models")


@dataclass(frozen=True)
class Replica:
    """One copy of a model; `created` (seconds) tells a new attempt from the last one.

    `status`: CREATING, LOADING, UPDATING, READY, ERROR, TERMINATING or TERMINATED.
    """

    id: str
    status: str
    error: str
    created: float = 0.0


@dataclass(frozen=True)
class Progress:
    """How far a launch is; never proof of success or failure (`facts/xinference.md §2`).

    Attributes:
        fraction: 0 to 1, the download being the first `DOWNLOADED` of it. Before 3.0 it is all
            there is, and it moves in steps of 0.05: one sixteenth of the download.
        stage: `downloading`, `loading`, ...; "" where the version does not tell (before 3.0).
        bytes_done, bytes_total: over all files; 0 where unknown.
        bytes_per_second: over all files.
    """

    fraction: float
    stage: str
    bytes_done: int
    bytes_total: int
    bytes_per_second: float


@dataclass(frozen=True)
class Gpu:
    """Memory of the cluster's GPUs together, in bytes."""

    count: int
    memory_total: int
    memory_free: int


class XinferenceClient(ServiceClient):
    """Xinference at one address; no credentials (the lab switches its authentication off)."""

    service = "Xinference"

    def status(self) -> Json:
        """`GET /status`: uptime and workers; asks for no login, so it tells readiness."""
        return self._call("GET", "/status")

    def version(self) -> str:
        """The server's version, e.g. `2.12.0`."""
        return str(self._call("GET", "/v1/cluster/version")["version"])

    def launch(self, payload: Mapping[str, Json], *, wait_ready: bool = False) -> str:
        """Start a model; returns its uid. Without `wait_ready` this answers at once.

        Without `wait_ready`, only a missing field, GPUs that do not go with the replicas, a bad
        uid or a taken one are refused at once. All else, an unknown model too, shows later as an
        ERROR in `replicas`; which versions look into the catalogue first differs.

        Raises:
            Conflict: the uid is taken, by a model that serves or is still starting.
            Refused: what is known at once.
        """
        # In the query: in the body it would be handed to the engine.
        answer = self._call(
            "POST",
            "/v1/models",
            params={"wait_ready": "true" if wait_ready else "false"},
            json=dict(payload),
            seconds=3600 if wait_ready else LAUNCH_SECONDS,
        )
        return str(answer["model_uid"])

    def replicas(self, uid: str) -> tuple[Replica, ...]:
        """The copies of a model: the best signal there is.

        Empty for an unknown uid, and for a moment after its launch.
        """
        return tuple(
            Replica(
                id=str(item.get("replica_id", "")),
                status=str(item.get("status", "")),
                error=without_prefix(item.get("error_message") or ""),
                created=float(item.get("created_ts") or 0),
            )
            for item in self._call("GET", f"/v1/models/{uid}/replicas") or []
        )

    def progress(self, uid: str) -> Progress:
        """How far a launch is. An unknown or failed model reads like one that has not begun."""
        answer = self._call("GET", f"/v1/models/{uid}/progress") or {}
        files = answer.get("download_files") or []
        return Progress(
            fraction=float(answer.get("progress") or 0),
            stage=str(answer.get("stage") or ""),
            bytes_done=sum(int(file.get("downloaded_bytes") or 0) for file in files),
            bytes_total=sum(_total(file) for file in files),
            bytes_per_second=sum(float(file.get("speed_bytes_per_second") or 0) for file in files),
        )

    def models(self) -> list[dict[str, Json]]:
        """What serves now; starting models are not among them, and it may be three seconds old."""
        return list(self._call("GET", "/v1/models")["data"])

    def describe(self, uid: str) -> dict[str, Json]:
        """What a serving model was launched as.

        Raises:
            Busy: it is still loading.
            NotFound: there is none, or its launch failed.
        """
        return dict(self._call("GET", f"/v1/models/{uid}"))

    def standing(self, uid: str) -> Standing:
        """Whether a uid is free, on its way, or answers; a failed launch has freed it."""
        try:
            self.describe(uid)
        except Busy:
            return "launching"
        except NotFound:
            return "absent"
        return "serving"

    def stop(self, uid: str) -> bool:
        """Stop a model that serves; False where there was none.

        Raises:
            Busy: it is launching, and goes on launching: a DELETE does not end that.
        """
        try:
            self._call("DELETE", f"/v1/models/{uid}", seconds=STOP_SECONDS)
        except NotFound as error:
            # The uid is known, its first replica (`X-0`, later `X-rep0`) is not: not gone.
            if re.search(rf"uid: {re.escape(uid)}-(rep)?\d+$", error.answer):
                raise Busy(self.service, error.call, error.answer) from None
            return False
        return True

    def cancel(self, uid: str) -> bool:
        """Cancel a launch; False where there is none. May take a minute to return.

        A model that serves is left alone: it would keep its GPU memory, and no call could reach it.
        """
        if self.standing(uid) != "launching":
            return False
        try:
            self._call("POST", f"/v1/models/{uid}/cancel", seconds=CANCEL_SECONDS)
        except NotFound:
            return False
        return True

    def put_autostart(self, payload: Mapping[str, Json]) -> None:
        """Have this model started at every start of the server (2.12 and later).

        It also starts, at once, every model with an entry that is down: ours, and others'.
        """
        self._call(
            "POST",
            "/v1/autostart/models",
            json={
                "launch": autostart_payload(payload),
                "enabled": True,
                "priority": 100,
                "max_retries": 3,
                "retry_interval_seconds": 30,
            },
        )

    def autostarted(self) -> frozenset[str]:
        """The uids of the models that are started at every start; none before 2.12."""
        try:
            answer = self._call("GET", "/v1/autostart/models")
        except NotFound:
            return frozenset()
        return frozenset(str(entry["launch"]["model_uid"]) for entry in answer["models"])

    def delete_autostart(self, uid: str) -> None:
        """Forget the autostart entry; nothing happens where there is none, or no such thing."""
        try:
            self._call("DELETE", f"/v1/autostart/models/{uid}")
        except NotFound:
            return

    def gpu(self) -> Gpu:
        """The GPUs of all workers (`GET /v1/cluster/info?detailed=true`)."""
        nodes = self._call("GET", "/v1/cluster/info", params={"detailed": "true"}) or []
        workers = [node for node in nodes if node.get("node_type") == "Worker"]
        return Gpu(
            count=sum(int(node.get("gpu_count") or 0) for node in workers),
            memory_total=sum(int(node.get("gpu_vram_total") or 0) for node in workers),
            memory_free=sum(int(node.get("gpu_vram_available") or 0) for node in workers),
        )

    def gpu_count(self) -> int:
        """Number of GPUs (`GET /v1/cluster/devices`, a bare integer)."""
        return int(self._call("GET", "/v1/cluster/devices"))

    def chat(self, uid: str, question: str, *, max_tokens: int = 16) -> str:
        """One short answer.

        Raises:
            NotFound: no such model; remembered by the server for ten seconds, or until a launch.
            Busy: it is still loading.
        """
        answer = self._call(
            "POST",
            "/v1/chat/completions",
            json={
                "model": uid,
                "max_tokens": max_tokens,
                "messages": [{"role": "user", "content": question}],
            },
            seconds=CHAT_SECONDS,
        )
        return str(answer["choices"][0]["message"]["content"])

    def embed(self, uid: str, text: str) -> list[float]:
        """The vector of one text."""
        answer = self._call("POST", "/v1/embeddings", json={"model": uid, "input": text})
        return [float(number) for number in answer["data"][0]["embedding"]]

    def rerank(self, uid: str, query: str, documents: Sequence[str]) -> list[tuple[int, float]]:
        """(position in `documents`, relevance), the best first."""
        body = {"model": uid, "query": query, "documents": list(documents)}
        answer = self._call("POST", "/v1/rerank", json=body)
        return [(int(r["index"]), float(r["relevance_score"])) for r in answer["results"]]

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Json = None,
        seconds: float | None = None,
    ) -> Json:
        # Every POST here may be sent twice: a second launch is a Conflict, the rest only reads.
        response = self._send(
            method, path, params=params, json=json, seconds=seconds, twice_is_harmless=True
        )
        if response.is_success:
            return self._json(response)
        raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> Refused:
        call, detail = call_of(response), _detail(response)
        said = f"HTTP {response.status_code} {detail}"
        lower = detail.lower()
        if response.status_code == 401:
            return Unauthorized(
                self.service,
                call,
                f"{said}. From 3.0 on authentication is on; the container needs "
                "XINFERENCE_AUTH_ADVANCED=0",
            )
        if response.status_code == 404 or any(text in lower for text in _ABSENT):
            return NotFound(self.service, call, said)
        if _TAKEN in lower:
            return Conflict(self.service, call, said)
        if response.status_code == 429:
            return RateLimited(self.service, call, said)
        if response.status_code == 503 and "model is loading" in lower:
            return Busy(self.service, call, said)
        return Refused(self.service, call, said)


def autostart_payload(payload: Mapping[str, Json]) -> dict[str, Json]:
    """A launch payload as an autostart entry can hold it: entries lose their nulls.

    `n_gpu: null` means the CPU and would come back as the default, a GPU. The worker takes
    `device: cpu` for the same (2.12.0: core/worker.py, `launch_builtin_model`).
    """
    kept = {key: value for key, value in payload.items() if value is not None}
    if "n_gpu" in payload and payload["n_gpu"] is None:
        kept.setdefault("device", "cpu")
    return kept


def is_failed_download(error: str) -> bool:
    """Whether an error text tells of a download that can be tried again."""
    return _DOWNLOAD_FAILED in error.lower()


def is_left_over(error: str) -> bool:
    """Whether a launch met a copy of the same uid that no call can reach any more.

    The launch fails and clears that copy away, so that the next one has room.
    """
    return _TAKEN in error.lower()


def is_unknown_model(error: str) -> bool:
    """Whether the server's catalogue lacks the model: no further launch will find it there."""
    return any(text in error.lower() for text in _UNKNOWN)


def advice_for(error: str) -> str:
    """What an operator can do about the error text of a failed launch; "" where nobody knows."""
    lower = error.lower()
    for texts, advice in _ADVICE:
        if any(text in lower for text in texts):
            return advice
    return ""


_ADVICE: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        (_DOWNLOAD_FAILED,),
        "the model hub was not reached: run `pulumi up` again (finished files are kept), or set "
        "another hub in the region's settings",
    ),
    (
        (
            "out of memory",
            "no available memory for the cache blocks",
            "kv cache",
            "less than desired gpu memory utilization",
        ),
        "the GPU's memory is too small for all models together: lower memoryShare or context, or "
        "choose a smaller model",
    ),
    (
        (
            "no available slot",
            "not enough gpu",
            "no gpu",
            "gpu not found",
            "the number of gpus",
            "can only see these gpus",
        ),
        "no GPU is free for it: see `nvidia-smi` on the server, and the setting gpus of the model",
    ),
    (
        ("failed to install packages",),
        "the package index was not reached, and engines come from there at their first launch: "
        "run `pulumi up` again, or set another pypiMirror in the region's settings",
    ),
    (
        ("failed to import module", "no module named", "cannot be run on engine"),
        "the image lacks this engine: choose another engine or Xinference version",
    ),
    (
        ("trust_remote_code", "trust remote code"),
        "the model brings its own code: set XINFERENCE_TRUST_REMOTE_CODE=1 if you trust it",
    ),
    (
        _UNKNOWN,
        "this version's catalogue has no such name, format, size or quantization",
    ),
)


def without_prefix(text: str) -> str:
    """An error text without the actor's address."""
    return _ACTOR_PREFIX.sub("", text)


def _detail(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return said_by(response)
    detail = body.get("detail") if isinstance(body, dict) else body
    return without_prefix(str(detail))


def _total(file: Mapping[str, Json]) -> int:
    # The contract names the other fields of a file only; versions differ in this one's name.
    for name, value in file.items():
        if name.startswith("total") and isinstance(value, (int, float)):
            return int(value)
    return 0
