"""What Xinference shows of its models (`docs/facts/xinference.md §2`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, AliasPath, Field, model_validator

from provisioning.clients.http import Json, Row
from provisioning.clients.xinference.failures import concise

DOWNLOADED = 0.8
"""The share of a launch's progress that is the download; the rest is loading."""

# The first is before its turn.
_TO_COME = (None, "waiting_worker", "launching")


class Replica(Row):
    """A copy of a model: CREATING, READY, ERROR, TERMINATING, ..., and why it failed."""

    status: str = ""
    error: Annotated[str, AfterValidator(concise)] = Field(default="", alias="error_message")


class Instance(Row):
    """A model's entry in the book of instances; empty for one that is unknown or was stopped."""

    status: str = ""
    replicas: tuple[Replica, ...] = Field(default=(), alias="replica_statuses")

    @property
    def error(self) -> str:
        """The first that a copy tells."""
        return next((each.error for each in self.replicas if each.error), "")


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
        stage: `downloading`, `loading`, ...; "" where the release does not tell (2.12).
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


class AutostartEntry(Row):
    """A model that is started with the server."""

    uid: str = Field(validation_alias=AliasPath("launch", "model_uid"))
    status: str | None = Field(default=None, validation_alias=AliasPath("state", "status"))

    @property
    def to_come(self) -> bool:
        """Whether no start of the server has got past it yet."""
        return self.status in _TO_COME
