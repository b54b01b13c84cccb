"""What Xinference's error texts mean: its status codes are not reliable.

An absent model is a 400; texts often begin with `[address=..., pid=...]`.
"""

import json
import re
from pathlib import Path

from provisioning.clients.errors import Busy, Conflict, NotFound, RateLimited, Refused, Unauthorized

_ACTOR_PREFIX = re.compile(r"^\[address=[^\]]*\]\s*")
_WHOLE_CATALOGUE = re.compile(r"available models: .*", re.DOTALL)
_ABSENT = ("not found in the model list", "has not been launched yet")
_TAKEN = "already in the model list"
_UNWINDING = re.compile(r"-(rep)?\d+ is (running|launching)$")
_FAILURES = json.loads(Path(__file__).with_name("failures.json").read_bytes())
"""Of each kind: lower case `texts`, of which an error holds one; `advice` to the operator."""


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
    return _is("failed download", error)


def is_left_over(error: str) -> bool:
    """Whether a launch met what is left of an earlier one.

    A copy that it clears away by failing, or a launch that unwinds, for a minute at 2.12.
    """
    return _TAKEN in error.lower() or bool(_UNWINDING.search(error))


def is_unknown_model(error: str) -> bool:
    """Whether the server's catalogue lacks the model: no further launch will find it there."""
    return _is("unknown model", error)


def advice_for(error: str) -> str:
    """What an operator can do about the error text of a failed launch; "" where nobody knows."""
    kinds = (kind for kind in _FAILURES if _is(kind, error))
    return next((str(_FAILURES[kind]["advice"]) for kind in kinds), "")


def _is(kind: str, error: str) -> bool:
    return any(text in error.lower() for text in _FAILURES[kind]["texts"])
