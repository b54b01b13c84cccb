"""What Xinference's error texts mean: its status codes are not reliable.

An absent model is a 400; texts often begin with `[address=..., pid=...]`.
"""

from __future__ import annotations

import re

from provisioning.clients.errors import Busy, Conflict, NotFound, RateLimited, Refused, Unauthorized

_ACTOR_PREFIX = re.compile(r"^\[address=[^\]]*\]\s*")
_WHOLE_CATALOGUE = re.compile(r"available models: .*", re.DOTALL)
_ABSENT = ("not found in the model list", "has not been launched yet")
_DOWNLOAD_FAILED = "failed to download"
_TAKEN = "already in the model list"
_UNWINDING = re.compile(r"-(rep)?\d+ is (running|launching)$")
_UNKNOWN = ("model not found, name", "not found, available models")
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


def kind_of(status: int, detail: str) -> type[Refused]:
    """What an answer of this status and text is."""
    lower = detail.lower()
    if status == 401:
        return Unauthorized
    if status == 404 or any(text in lower for text in _ABSENT):
        return NotFound
    if _TAKEN in lower:
        return Conflict
    if status == 429:
        return RateLimited
    return Busy if status == 503 and "model is loading" in lower else Refused


def names_replica(uid: str, answer: str) -> bool:
    """Whether what is not found is only a copy of the model: `X-0`, later `X-rep0`."""
    return bool(re.search(rf"uid: {re.escape(uid)}-(rep)?\d+$", answer))


def concise(text: str) -> str:
    """An error text without the actor's address, and without the list of all models there are."""
    return _WHOLE_CATALOGUE.sub("available models: ...", _ACTOR_PREFIX.sub("", text))


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
