"""What Xinference shows of its models, and how they stand by it.

`docs/facts/xinference.md §2`, `docs/facts/measured.md §2`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, AliasPath, Field, model_validator

from provisioning.clients.http import Json, Row
from provisioning.clients.xinference.failures import concise

DOWNLOADED = 0.8
"""The share of a launch's progress that is the download; the rest is loading."""

DOWNLOAD_STEP = DOWNLOADED / 16
"""What 2.12 tells of a download at a time: one sixteenth."""

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


class Replica(Row):
    """A copy of a model: CREATING, READY, ERROR, TERMINATING, ..., and why it failed."""

    status: str = ""
    error: Annotated[str, AfterValidator(concise)] = Field(default="", alias="error_message")


class Instance(Row):
    """A model's entry in the book of instances; empty for one that is unknown or was stopped."""

    status: str = ""
    replicas: tuple[Replica, ...] = Field(default=(), alias="replica_statuses")
    launched_at: float = Field(default=0, alias="instance_created_ts")

    def state(self, way: Way, found: Mapping[str, Json], copies: int) -> "ModelState":
        """How a model stands, of which no single call tells; with fewer than `copies` it is down.

        Its description says whether there is a way to it, the book what became of its launch.
        """
        replicas = tuple(each.status for each in self.replicas)
        error = next((each.error for each in self.replicas if each.error), "")
        standing = _standing(way, self.status, replicas, copies)
        return ModelState(standing, replicas, error, found, self.launched_at)


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


@dataclass(frozen=True)
class ModelState:
    """How a model stands.

    Attributes:
        standing: what is to be done about it follows from this alone:
            `absent`: nothing has this uid.
            `failed`: its launch failed or was cancelled; the uid is free.
            `launching`: on its way.
            `serving`: every copy answers.
            `down`: a copy's process has ended, and what may come back answers nothing even then; or
            it is being stopped right now.
            `stranded`: no call reaches it, and it holds its memory: it became ready in the moment
            in which its launch was cancelled.
        replicas: each copy's status. For readers, not for decisions: at 2.12 that of a launch that
            was cancelled stays CREATING for ever, and with two copies a stopped one READY.
        error: why a launch failed; "" where the server does not tell, or not yet.
        found: the description, where there is one.
        launched_at: when it was launched, by the server's clock: seconds since 1970, 0 if unknown.
    """

    standing: Standing
    replicas: tuple[str, ...] = ()
    error: str = ""
    found: Mapping[str, Json] = field(default_factory=dict)
    launched_at: float = 0

    def __str__(self) -> str:
        if self.error:
            return f"{self.standing}: {self.error}"
        return f"{self.standing} ({', '.join(self.replicas)})" if self.replicas else self.standing


class DownloadFile(Row):
    """A file on its way; 0 where a number is unknown."""

    downloaded_bytes: int = 0
    total_bytes: int = 0
    speed_bytes_per_second: float = 0

    @model_validator(mode="before")
    @classmethod
    def _total_by_any_name(cls, data: Json) -> Json:
        # The contract names the other fields only; versions differ in this one's name.
        numbers = {name: each for name, each in data.items() if isinstance(each, int | float)}
        totals = (each for name, each in numbers.items() if name.startswith("total"))
        return {**data, "total_bytes": next(totals, 0)}


class Progress(Row):
    """How far a launch is; never proof of success or failure.

    Attributes:
        fraction: 0 to 1, the download being the first `DOWNLOADED` of it. At 2.12 it is all there
            is, and it moves in steps of 0.05: one sixteenth of the download.
        stage: `downloading`, `loading`, ...; "" where the release does not tell.
    """

    fraction: float = Field(default=0, alias="progress")
    stage: str = ""
    files: tuple[DownloadFile, ...] = Field(default=(), alias="download_files")

    @property
    def bytes_done(self) -> int:
        """Over all files."""
        return sum(file.downloaded_bytes for file in self.files)

    @property
    def bytes_total(self) -> int:
        """Over all files; 0 where unknown."""
        return sum(file.total_bytes for file in self.files)

    @property
    def bytes_per_second(self) -> float:
        """Over all files."""
        return sum(file.speed_bytes_per_second for file in self.files)


class Autostart(Row):
    """A model that is started with the server."""

    uid: str = Field(validation_alias=AliasPath("launch", "model_uid"))
    status: str | None = Field(default=None, validation_alias=AliasPath("state", "status"))

    @property
    def to_come(self) -> bool:
        """Whether no start of the server has got past it yet; no status is before its turn."""
        return self.status in (None, "waiting_worker", "launching")
