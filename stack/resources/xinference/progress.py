"""One launch followed until its model serves, started again where a hub failed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from provisioning.clients.http import DeadlineExceeded, Refused
from provisioning.clients.xinference import (
    DOWNLOADED,
    ModelState,
    Progress,
    XinferenceClient,
    advice_for,
    is_failed_download,
    is_left_over,
    is_unknown_model,
)
from stack.resources.base import say
from stack.resources.xinference.launch import copies, differences, restart

MOST_LAUNCHES = 4
"""How often one wait starts a model at the most."""
STALL_SECONDS = 1200.0
"""A download that does not move for so long hangs; 2.12 tells its sixteenths only."""
UNWIND_SECONDS = 20.0
"""Between two launches where the first met what is left of a cancelled one."""
LOG_SECONDS = 15.0

_NO_MESSAGE = (
    "Xinference tells no reason: the model's process did not start within a minute, as on a server "
    "short of processor time or memory, or the launch was cancelled"
)


@dataclass
class Launch:
    """One model on its way to READY.

    Attributes:
        payload: starts it again after a failed download; None forbids that.
    """

    client: XinferenceClient
    uid: str
    payload: Mapping[str, Any] | None
    launches: int = 1
    done: bool = False
    alive: bool = field(default=False, init=False)
    suspected: bool = field(default=False, init=False)
    launched_at: float = field(default=0.0, init=False)
    moved_at: float = field(default=0.0, init=False)
    last_progress: Progress | None = field(default=None, init=False)
    told: tuple[str, float] = field(default=("", float("-inf")), init=False)

    def __post_init__(self) -> None:
        self.launched_at = self.client.clock.monotonic()

    def look(self) -> str:
        """What is still waited for; "" once it serves.

        Raises:
            Refused: it failed for good.
            DeadlineExceeded: its download hangs.
        """
        if self.done:
            return ""
        state = self.client.state(self.uid, copies(self.payload or {}))
        if state.standing in ("serving", "launching"):
            self.alive, self.suspected = True, False
            return self._compare(state) if state.standing == "serving" else self._on_its_way(state)
        if state.standing == "absent" and self.client.autostart().get(self.uid):
            return f"{self.uid}: waits for its turn, the models come back one by one"
        # A launch fails piece by piece, its message last (docs/facts/measured.md §2 finding 5).
        self.suspected = not self.suspected
        return f"{self.uid}: {state}" if self.suspected else self._not_coming(state)

    def _compare(self, state: ModelState) -> str:
        if other := differences(self.payload or {}, state.found):
            return self._again(f"another model of that name is running ({other})")
        self._tell("serves", "")
        self.done = True
        return ""

    def _not_coming(self, state: ModelState) -> str:
        if state.standing == "failed":
            return self._failed(state.error)
        return self._again(
            {
                "absent": "Xinference does not know it",
                "down": "its process ended, and what Xinference starts in its place never answers",
                "stranded": "it is ready, but no longer to be reached",
            }[state.standing]
        )

    def _failed(self, error: str) -> str:
        since = self.client.clock.monotonic() - self.launched_at
        if is_left_over(error) and since < UNWIND_SECONDS:
            return f"{self.uid}: waits until an earlier launch has ended ({error})"
        # What was there from the beginning is an earlier run's; its cause may have been mended.
        earlier = not self.alive and self.launches == 1 and self.payload is not None
        retried = not error or is_failed_download(error) or is_left_over(error)
        if retried or (earlier and not is_unknown_model(error)):
            return self._again(error or _NO_MESSAGE)
        raise self._refused(error)

    def _again(self, why: str) -> str:
        if self.payload is None or self.launches >= MOST_LAUNCHES:
            raise self._refused(f"{why} (after {self.launches} launches)")
        self.launches += 1
        self._tell(f"{why}; launch {self.launches} of {MOST_LAUNCHES}", "")
        restart(self.client, self.payload)
        self.launched_at = self.client.clock.monotonic()
        self.last_progress = None
        return f"{self.uid}: started again"

    def _on_its_way(self, state: ModelState) -> str:
        progress = self.client.progress(self.uid)
        now = self.client.clock.monotonic()
        if self.last_progress is None or moved(self.last_progress, progress):
            self.last_progress, self.moved_at = progress, now
        waited = now - self.moved_at
        if waited >= patience(progress):
            return self._hangs(progress, waited)
        # The copies load side by side; the last of them decides.
        status = next((each for each in state.replicas if each != "READY"), "")
        text = progress_text(status, progress)
        self._tell(text, progress.stage or status)
        return f"{self.uid}: {text}"

    def _hangs(self, progress: Progress, waited: float) -> str:
        if self.payload is None or self.launches >= MOST_LAUNCHES:
            raise DeadlineExceeded(
                "Xinference",
                f"the download of {self.uid} to move",
                progress_text("", progress),
                "the model hub has stopped answering: run `pulumi up` again later (finished files "
                "are kept), or set another hub in the region's settings",
            )
        return self._again(f"no progress for {waited / 60:.0f} minutes")

    def _refused(self, error: str) -> Refused:
        advice = advice_for(error)
        said = f"{error}. {advice}" if advice else f"{error}. See `docker logs xinference`"
        return Refused("Xinference", f"start {self.uid}", said)

    def _tell(self, text: str, stage: str) -> None:
        # Every stage at once, its progress now and then: a download takes a hundred looks.
        now = self.client.clock.monotonic()
        last_stage, last_time = self.told
        if not stage or stage != last_stage or now - last_time >= LOG_SECONDS:
            say(f"model {self.uid}")(text)
            self.told = (stage, now)


def moved(before: Progress, now: Progress) -> bool:
    """Whether a launch got on: another stage, another byte, or another fraction."""
    return (before.stage, before.bytes_done, before.fraction) != (
        now.stage,
        now.bytes_done,
        now.fraction,
    )


def patience(progress: Progress) -> float:
    """Seconds without a move after which a launch hangs; endless for all but a download.

    Engines load for as long as they like; the group's deadline ends that.
    """
    downloads = (
        progress.stage == "downloading" if progress.stage else progress.fraction < DOWNLOADED
    )
    return STALL_SECONDS if downloads else math.inf


def progress_text(status: str, progress: Progress) -> str:
    """`downloading 3.1 of 8.9 GiB, 40.0 MiB/s`; for a reader, not for decisions."""
    stage = progress.stage or status.lower() or "starting"
    if not progress.stage and 0 < progress.fraction < 1:
        return f"{stage}, {progress.fraction:.0%}"
    if stage != "downloading" or not progress.bytes_done:
        return stage
    total = f" of {progress.bytes_total / 2**30:.2f}" if progress.bytes_total else ""
    speed = progress.bytes_per_second / 2**20
    return f"{stage} {progress.bytes_done / 2**30:.2f}{total} GiB, {speed:.1f} MiB/s"
