"""One launch followed until its model serves, started again where a hub failed."""

from provisioning.clients.errors import Refused
from provisioning.clients.xinference import ModelState, Progress, XinferenceClient, failures
from provisioning.clients.xinference.rows import DOWNLOAD_STEP, DOWNLOADED
from provisioning.launch import STALL_MINUTES
from stack.resources.base import say
from stack.resources.xinference.launch import Payload, Slot, differences

MOST_LAUNCHES = 4
"""How often one wait starts a model at the most."""
STALL_SECONDS = 60.0 * STALL_MINUTES
"""A download that does not move for so long hangs."""
FOUND_SECONDS = 300.0
"""One that was going on before is given so long at the least."""
UNWIND_SECONDS = 20.0
"""Between two launches where the first met what is left of a cancelled one."""
LOG_SECONDS = 15.0

_NO_MESSAGE = (
    "Xinference tells no reason: the model's process did not start within a minute, as on a server "
    "short of processor time or memory, or the launch was cancelled"
)
_NOT_COMING = {
    "absent": "Xinference does not know it",
    "down": "its process ended, and what Xinference starts in its place never answers",
    "stranded": "it is ready, but no longer to be reached",
}


class Launch(Slot):
    """One model on its way to READY."""

    def __init__(self, client: XinferenceClient, payload: Payload) -> None:
        super().__init__(client, payload)
        self._launches = 1
        self._done = self._alive = self._suspected = False
        self._launched_at = self._moved_at = client.clock.monotonic()
        self._place: tuple[object, ...] = ()
        self._patience = STALL_SECONDS
        self._told = ("", float("-inf"))

    def look(self) -> str:
        """What is still waited for; "" once it serves. Refused when it failed for good."""
        if self._done:
            return ""
        state = self.state()
        if state.standing in ("serving", "launching"):
            self._alive, self._suspected = True, False
        if state.standing == "launching":
            return self._on_its_way(state)
        if state.standing == "serving":
            if other := differences(self.payload, state.found):
                return self._again(f"another model of that name is running ({other})")
            self._tell("serves")
            self._done = True
            return ""
        if state.standing == "absent" and self.client.autostart().get(self.uid):
            return f"{self.uid}: waits for its turn, the models come back one by one"
        # A launch fails piece by piece, its message last (docs/facts/measured.md §2 finding 5).
        self._suspected = not self._suspected
        if self._suspected:
            return f"{self.uid}: {state}"
        failed = state.standing == "failed"
        return self._failed(state.error) if failed else self._again(_NOT_COMING[state.standing])

    def _failed(self, error: str) -> str:
        since = self.client.clock.monotonic() - self._launched_at
        if failures.is_left_over(error) and since < UNWIND_SECONDS:
            return f"{self.uid}: waits until an earlier launch has ended ({error})"
        # What was there from the beginning is an earlier run's; its cause may have been mended.
        earlier = not self._alive and self._launches == 1
        retried = not error or failures.is_failed_download(error) or failures.is_left_over(error)
        if retried or (earlier and not failures.is_unknown_model(error)):
            return self._again(error or _NO_MESSAGE)
        raise self._refused(error)

    def _again(self, why: str) -> str:
        if self._launches >= MOST_LAUNCHES:
            raise self._refused(f"{why} (after {self._launches} launches)")
        self._launches += 1
        self._tell(f"{why}; launch {self._launches} of {MOST_LAUNCHES}")
        self.restart()
        self._launched_at = self.client.clock.monotonic()
        self._place = ()
        return f"{self.uid}: started again"

    def _on_its_way(self, state: ModelState) -> str:
        progress, now = self.client.progress(self.uid), self.client.clock.monotonic()
        place = (progress.stage, progress.bytes_done, progress.fraction)
        if place != self._place:
            found = not self._place and self._launches == 1
            self._patience = self._patience_with(state, progress) if found else STALL_SECONDS
            self._place, self._moved_at = place, now
        waited = now - self._moved_at
        # Engines load for as long as they like; the group's deadline ends that.
        early = progress.fraction < DOWNLOADED
        downloading = progress.stage == "downloading" if progress.stage else early
        if waited >= self._patience and downloading:
            return self._again(f"failed to download, no progress for {waited / 60:.0f} minutes")
        # The copies load side by side; the last of them decides.
        status = next((each for each in state.replicas if each != "READY"), "")
        text = _progress_text(status, progress)
        self._tell(text, progress.stage or status)
        return f"{self.uid}: {text}"

    def _patience_with(self, state: ModelState, progress: Progress) -> float:
        """Seconds after which a download that was found at the first look hangs, if it stays there.

        A failed wait leaves nothing in the stack's state, so what stands still would be given the
        whole limit by each run anew. The server knows when it was launched, and the progress tells
        how fast it was on the average: twice the time of a step is enough then, and where there was
        none yet, what is left of the limit. No clock is trusted to more than `FOUND_SECONDS`.
        """
        earlier = self.client.clock.now().timestamp() - state.launched_at
        if not state.launched_at or earlier < FOUND_SECONDS:
            return STALL_SECONDS
        steps = progress.fraction / DOWNLOAD_STEP
        usual = 2 * earlier / steps if steps else STALL_SECONDS - earlier
        return min(STALL_SECONDS, max(FOUND_SECONDS, usual))

    def _refused(self, error: str) -> Refused:
        advice = failures.advice_for(error) or "See `docker logs xinference`"
        return Refused("Xinference", f"start {self.uid}", f"{error}. {advice}")

    def _tell(self, text: str, stage: str = "") -> None:
        # Every stage at once, its progress now and then: a download takes a hundred looks.
        now = self.client.clock.monotonic()
        last_stage, last_time = self._told
        if not stage or stage != last_stage or now - last_time >= LOG_SECONDS:
            say(f"model {self.uid}")(text)
            self._told = (stage, now)


def _progress_text(status: str, progress: Progress) -> str:
    """`downloading 3.1 of 8.9 GiB, 40.0 MiB/s`; for a reader, not for decisions."""
    stage = progress.stage or status.lower() or "starting"
    if not progress.stage and 0 < progress.fraction < 1:
        return f"{stage}, {progress.fraction:.0%}"
    if stage != "downloading" or not progress.bytes_done:
        return stage
    total = f" of {progress.bytes_total / 2**30:.2f}" if progress.bytes_total else ""
    speed = progress.bytes_per_second / 2**20
    return f"{stage} {progress.bytes_done / 2**30:.2f}{total} GiB, {speed:.1f} MiB/s"
