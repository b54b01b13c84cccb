"""Client of Xinference's REST interface, releases 2.12 and 4.1 (`docs/facts/xinference.md`).

Errors are `{"detail": text}`, often with a prefix `[address=..., pid=...]`; they are told apart by
the text, because the status codes are not reliable (an absent model is a 400).

No single call tells how a model stands (`docs/facts/measured.md §2`): its description says whether
there is a way to it, the book of instances what became of its launch and its process. `state` puts
the two together. A launch that is not waited for finds out nearly everything later; a DELETE does
not end a launch; a cancel does not end a model that serves, it only loses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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

STARTING = frozenset({"CREATING", "LOADING", "UPDATING"})
ENDED = frozenset({"TERMINATING", "TERMINATED", "ERROR"})

Standing: TypeAlias = Literal["absent", "failed", "launching", "serving", "down", "stranded"]

DOWNLOADED = 0.8
"""The share of a launch's progress that is the download; the rest is loading."""

_ACTOR_PREFIX = re.compile(r"^\[address=[^\]]*\]\s*")
_WHOLE_CATALOGUE = re.compile(r"available models: .*", re.DOTALL)
_ABSENT = ("not found in the model list", "has not been launched yet")
_DOWNLOAD_FAILED = "failed to download"
_TAKEN = "already in the model list"
_UNWINDING = re.compile(r"-(rep)?\d+ is (running|launching)$")
_UNKNOWN = ("model not found, name", "not found, available models")


@dataclass(frozen=True)
class ModelState:
    """How a model stands, from its description and the book of instances (`docs/facts/measured.md
    §2`).

    Attributes:
        standing: what is to be done about it follows from this alone:
            `absent`: nothing has this uid.
            `failed`: its launch failed or was cancelled; the uid is free.
            `launching`: on its way.
            `serving`: every copy answers.
            `down`: the server still names it, and a copy's process has ended. It may come back, and
            answers nothing even then; or it is being stopped right now.
            `stranded`: it holds its memory, and no call reaches it: it became ready in the moment
            in which its launch was cancelled.
        replicas: the status of each copy: CREATING, READY, ERROR, TERMINATING, ... At 2.12 that of
            a launch that was cancelled stays CREATING for ever, and with two copies a stopped one
            stays READY. For readers, not for decisions.
        error: why a launch failed; "" where the server does not tell, and for a moment before it
            does.
        found: the description, where there is one.
    """

    standing: Standing
    replicas: tuple[str, ...] = ()
    error: str = ""
    found: Mapping[str, Json] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.error:
            return f"{self.standing}: {self.error}"
        return f"{self.standing} ({', '.join(self.replicas)})" if self.replicas else self.standing


@dataclass(frozen=True)
class Progress:
    """How far a launch is; never proof of success or failure (`docs/facts/xinference.md §2`).

    Attributes:
        fraction: 0 to 1, the download being the first `DOWNLOADED` of it. At 2.12 it is all there
            is, and it moves in steps of 0.05: one sixteenth of the download.
        stage: `downloading`, `loading`, ...; "" where the release does not tell (2.12).
        bytes_done, bytes_total: over all files; 0 where unknown.
        bytes_per_second: over all files.
    """

    fraction: float
    stage: str
    bytes_done: int
    bytes_total: int
    bytes_per_second: float


class XinferenceClient(ServiceClient):
    """Xinference at one address; no credentials (the lab switches its authentication off)."""

    service = "Xinference"

    def version(self) -> str:
        """The server's version, e.g. `2.12.0`."""
        return str(self._call("GET", "/v1/cluster/version")["version"])

    def launch(self, payload: Mapping[str, Json]) -> str:
        """Start a model, and do not wait for it; returns its uid.

        Only a missing field, GPUs that do not go with the replicas, a bad uid or a taken one are
        refused at once. All else, an unknown model too, shows later in `state`.

        Raises:
            Conflict: the uid is taken, by a model that serves, is starting or is down.
            Refused: what is known at once.
        """
        # In the query: in the body it would be handed to the engine.
        waits = {"wait_ready": "false"}
        answer = self._call(
            "POST", "/v1/models", params=waits, json=dict(payload), seconds=LAUNCH_SECONDS
        )
        return str(answer["model_uid"])

    def state(self, uid: str, copies: int = 1) -> ModelState:
        """How a model stands.

        Args:
            copies: how many were asked for; fewer are a model that is down.
        """
        found: Mapping[str, Json] = {}
        try:
            found = self.describe(uid)
            way = "open"
        except Busy:
            way = "opening"
        except NotFound as error:
            # Of the uid's own replica (`X-0`, later `X-rep0`): the way is there, the model is not.
            way = "broken" if _names_replica(uid, error.answer) else "none"
        status, replicas, error_text = self._book(uid)
        standing = _standing(way, status, replicas, copies)
        return ModelState(standing, replicas, error_text, found)

    def _book(self, uid: str) -> tuple[str, tuple[str, ...], str]:
        """Status, the copies' statuses, and an error. All empty for an unknown or stopped model."""
        for entry in self._call("GET", "/v1/models/instances", params={"model_uid": uid}) or []:
            rows = entry.get("replica_statuses") or []
            errors = [str(row.get("error_message") or "") for row in rows]
            return (
                str(entry.get("status", "")),
                tuple(str(row.get("status", "")) for row in rows),
                next((concise(error) for error in errors if error), ""),
            )
        return "", (), ""

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

    def describe(self, uid: str) -> dict[str, Json]:
        """What a serving model was launched as.

        Raises:
            Busy: it is still loading.
            NotFound: there is none, or its launch failed.
        """
        return dict(self._call("GET", f"/v1/models/{uid}"))

    def stop(self, uid: str) -> bool:
        """Stop a model that has loaded, whether it answers or not; False where there was none.

        Raises:
            Busy: it is loading, and goes on loading: a DELETE does not end that.
        """
        try:
            self._call("DELETE", f"/v1/models/{uid}", seconds=STOP_SECONDS)
        except NotFound as error:
            if _names_replica(uid, error.answer):
                raise Busy(self.service, error.call, error.answer) from None
            return False
        except Refused as error:
            if is_left_over(error.answer):
                raise Busy(self.service, error.call, error.answer) from None
            raise
        return True

    def cancel(self, uid: str) -> bool:
        """Cancel a launch; False where there is none. May take a minute to return.

        A model that serves is left alone: it would keep its GPU memory, and no call could reach it.
        At 2.12 the launch goes on unwinding for a while afterwards.
        """
        try:
            self.describe(uid)
            return False
        except NotFound:
            return False
        except Busy:
            pass
        try:
            self._call("POST", f"/v1/models/{uid}/cancel", seconds=CANCEL_SECONDS)
        except NotFound:
            return False
        return True

    def put_autostart(self, payload: Mapping[str, Json]) -> None:
        """Have this model started at every start of the server.

        It also starts, at once, every model with an entry that is down: ours, and others'.
        """
        self._call(
            "POST",
            "/v1/autostart/models",
            json={
                "launch": autostart_payload(payload),
                "enabled": True,
                # One after the other, by priority and uid. vLLM claims its share of the card when
                # it loads and fails if less is left, so the small ones come first.
                "priority": 200 if payload.get("model_type", "LLM") == "LLM" else 100,
                "max_retries": 3,
                "retry_interval_seconds": 30,
            },
        )

    def autostart(self) -> dict[str, bool]:
        """The uids of the models that are started with the server, and whether its turn is to come.

        After a restart they come one by one, for minutes (`docs/facts/measured.md §2 finding 7`).
        """
        entries = self._call("GET", "/v1/autostart/models")["models"]
        return {
            str(entry["launch"]["model_uid"]): (entry.get("state") or {}).get("status") in _TO_COME
            for entry in entries
        }

    def delete_autostart(self, uid: str) -> None:
        """Forget the autostart entry; nothing happens where there is none."""
        self._call("DELETE", f"/v1/autostart/models/{uid}")

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
                f"{said}. At 4.1 authentication is on; the container needs "
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


_TO_COME = (None, "waiting_worker", "launching")
"""States of an autostart entry that no start has got past yet; the first is before its turn."""


def _standing(way: str, status: str, replicas: tuple[str, ...], copies: int) -> Standing:
    """The table of `ModelState.standing`: the way to a model, and what the book says."""
    if way == "opening":
        return "launching"
    if way == "broken":
        return "down"
    if way == "none":
        return _WITHOUT_A_WAY.get(status, "absent")
    if status in ENDED or ENDED & set(replicas):
        return "down"
    if STARTING & set(replicas):
        return "launching"
    # The book forgets what is being stopped before the way to it is closed.
    return "down" if status and len(replicas) < copies else "serving"


_WITHOUT_A_WAY: dict[str, Standing] = {
    "ERROR": "failed",
    "READY": "stranded",
    "TERMINATING": "down",
    # Cancelled before its worker heard of it: it goes on, unseen.
    **dict.fromkeys(STARTING, "launching"),
}


def _names_replica(uid: str, answer: str) -> bool:
    return bool(re.search(rf"uid: {re.escape(uid)}-(rep)?\d+$", answer))


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
    """Whether a launch met what is left of an earlier one: it passes, or is cleared away by this.

    A copy that no call reaches fails the launch, which clears it away; a launch that was cancelled
    unwinds for a minute at 2.12.
    """
    return _TAKEN in error.lower() or bool(_UNWINDING.search(error))


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


def concise(text: str) -> str:
    """An error text without the actor's address, and without the list of all models there are."""
    return _WHOLE_CATALOGUE.sub("available models: ...", _ACTOR_PREFIX.sub("", text))


def _detail(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return said_by(response)
    detail = body.get("detail") if isinstance(body, dict) else body
    return concise(str(detail))


def _total(file: Mapping[str, Json]) -> int:
    # The contract names the other fields of a file only; versions differ in this one's name.
    for name, value in file.items():
        if name.startswith("total") and isinstance(value, (int, float)):
            return int(value)
    return 0
