"""How a model stands (`docs/facts/measured.md §2`).

No single call tells: a model's description says whether there is a way to it, the book of instances
what became of its launch and its process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from provisioning.clients.http import Json
from provisioning.clients.xinference.rows import Instance

Standing: TypeAlias = Literal["absent", "failed", "launching", "serving", "down", "stranded"]
Way: TypeAlias = Literal["open", "opening", "broken", "none"]
"""To a model: it is described, it is loading, its uid is known and its copy is not, no such uid."""

_STARTING = frozenset({"CREATING", "LOADING", "UPDATING"})
_ENDED = frozenset({"TERMINATING", "TERMINATED", "ERROR"})
_WITHOUT_A_WAY: dict[str, Standing] = {
    "ERROR": "failed",
    "READY": "stranded",
    "TERMINATING": "down",
    # Cancelled before its worker heard of it: it goes on, unseen.
    **dict.fromkeys(_STARTING, "launching"),
}


@dataclass(frozen=True)
class ModelState:
    """How a model stands.

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
        replicas: the status of each copy. For readers, not for decisions: at 2.12 that of a launch
            that was cancelled stays CREATING for ever, and with two copies a stopped one READY.
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


def state_of(way: Way, found: Mapping[str, Json], booked: Instance, copies: int) -> ModelState:
    """Description and book put together; fewer than `copies` are a model that is down."""
    replicas = tuple(each.status for each in booked.replicas)
    standing = _standing(way, booked.status, replicas, copies)
    return ModelState(standing, replicas, booked.error, found)


def _standing(way: Way, status: str, replicas: tuple[str, ...], copies: int) -> Standing:
    if way == "opening":
        return "launching"
    if way == "broken":
        return "down"
    if way == "none":
        return _WITHOUT_A_WAY.get(status, "absent")
    if status in _ENDED or _ENDED & set(replicas):
        return "down"
    if _STARTING & set(replicas):
        return "launching"
    # The book forgets what is being stopped before the way to it is closed.
    return "down" if status and len(replicas) < copies else "serving"
