"""Models running in Xinference, as resources (`docs/facts/xinference.md`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.dynamic import Resource
from typing_extensions import override

from provisioning.clients.http import (
    Busy,
    Conflict,
    DeadlineExceeded,
    Refused,
    Waiting,
    wait_until,
)
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
from stack.resources.base import Endpoint, LabProvider, Props, say

POLL_SECONDS = 2.0
MOST_LAUNCHES = 4
"""How often one wait starts a model at the most."""
STALL_SECONDS = 1200.0
"""A download that does not move for so long hangs; 2.12 tells its sixteenths only."""
STOP_SECONDS = 300.0
"""A cancelled download unwinds within a minute (`docs/facts/xinference.md §2`)."""
UNWIND_SECONDS = 20.0
"""Between two launches where the first met what is left of a cancelled one."""
LOG_SECONDS = 15.0

# What both a launch payload and a running model's description hold (docs/facts/xinference.md §2).
_COMPARED = (
    "model_name",
    "model_type",
    "model_engine",
    "model_format",
    "model_size_in_billions",
    "quantization",
)


class _XinferenceProvider(LabProvider):
    def client(self, props: Props) -> XinferenceClient:
        return XinferenceClient(
            self.address(props["endpoint"]), transport=self.transport, clock=self.clock
        )


class XinferenceModelProvider(_XinferenceProvider):
    """Starts one model, and does not wait for it."""

    identity = frozenset({"payload"})
    delete_first = True

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        payload = props["payload"]
        uid = str(payload["model_uid"])
        with self.client(props) as client:
            # An older entry would bring its own model back while ours takes its place.
            client.delete_autostart(uid)
            start(client, payload)
            # The launch before the entry: writing one starts what is down.
            client.put_autostart(payload)
        return uid, {**props, "uid": uid, "autostart": True}

    @override
    def look(self, props: Props) -> Props | None:
        payload, uid = props["payload"], str(props["uid"])
        with self.client(props) as client:
            entries = client.autostart()
            state = client.state(uid, _copies(payload))
        props = {**props, "autostart": uid in entries}
        if state.standing == "serving":
            return {**props, "payload": {**payload, **differences(payload, state.found)}}
        # After a restart the models come back one by one: before its turn, a model is not gone.
        coming = state.standing == "absent" and entries.get(uid)
        return props if coming or state.standing == "launching" else None

    @override
    def drifted(self, olds: Props, news: Props) -> frozenset[str]:
        return frozenset({"autostart"}) if olds.get("autostart") is False else frozenset()

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        with self.client(news) as client:
            client.put_autostart(news["payload"])
        return {**olds, **news, "autostart": True}

    @override
    def remove(self, props: Props) -> None:
        uid = str(props["uid"])
        with self.client(props) as client:
            # The entry first: it would start the model again.
            client.delete_autostart(uid)
            stop(client, props["payload"])

    @override
    def complaints(self, news: Props) -> Iterator[tuple[str, str]]:
        if "payload" in news and not news["payload"].get("model_uid"):
            yield "payload", "it needs a model_uid: the name under which the model is asked for"


def start(client: XinferenceClient, payload: Mapping[str, Any]) -> None:
    """Launch a model, adopt an equal one, or put it in the place of another of the same uid."""
    try:
        client.launch(payload)
        return
    except Conflict:
        # Taken, perhaps by an interrupted run: what is it?
        state = client.state(str(payload["model_uid"]), _copies(payload))
    # One that launches is not to be told before it serves; `XinferenceModelsReady` compares then.
    adopted = state.standing == "serving" and not differences(payload, state.found)
    if not adopted and state.standing != "launching":
        restart(client, payload)


def restart(client: XinferenceClient, payload: Mapping[str, Any]) -> None:
    """Stop what has the payload's uid, then launch; one that starts by itself meanwhile stays."""
    stop(client, payload)
    # Its autostart entry, if it has one, may be faster.
    with suppress(Conflict):
        client.launch(payload)


def stop(client: XinferenceClient, payload: Mapping[str, Any]) -> None:
    """Stop the model of this uid, whatever state it is in; returns when it is gone.

    Raises:
        DeadlineExceeded: its launch could not be ended.
    """
    uid = str(payload["model_uid"])
    wait_until(
        f"{uid} to be gone",
        lambda: _ended(client, uid, payload),
        service=client.service,
        deadline=STOP_SECONDS,
        advice="run it again later, or restart it on the server (`docker restart xinference`)",
        every=POLL_SECONDS,
        clock=client.clock,
        # It came up between two looks, or fell back; the next look decides.
        tolerate=(Busy, Conflict),
    )


def _ended(client: XinferenceClient, uid: str, payload: Mapping[str, Any]) -> bool | Waiting:
    state = client.state(uid)
    if state.standing in ("serving", "down"):
        client.stop(uid)
    # Before there is a first status, no worker hears a cancel: the launch would go on, unseen.
    if state.standing == "launching" and state.replicas:
        client.cancel(uid)
    if state.standing == "stranded":
        # It became ready as its launch was cancelled. A launch meets it, fails and clears it away.
        client.launch(payload)
    state = client.state(uid)
    return state.standing in ("absent", "failed") or Waiting(str(state))


def differences(payload: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What a running model is, where that differs from the payload; arguments do not show."""
    other = {
        key: found[key]
        for key in _COMPARED
        if payload.get(key) is not None
        and found.get(key) is not None
        and _same_form(payload[key]) != _same_form(found[key])
    }
    if "n_gpu" in payload and payload["n_gpu"] is None and found.get("accelerators"):
        other["n_gpu"] = len(found["accelerators"])
    return other


def _same_form(value: object) -> str:
    # 14 and "14", "0_5" and 0.5, "vllm" and "vLLM" mean the same.
    return str(value).lower().replace("_", ".")


def _copies(payload: Mapping[str, Any]) -> int:
    return int(payload.get("replica") or 1)


class XinferenceModel(Resource, module="lab", name="XinferenceModel"):
    """One model, started (not awaited: see `XinferenceModelsReady`).

    A changed payload replaces it, the old one leaving first: there is one GPU. A running model that
    equals the payload is adopted.

    Args:
        endpoint: Xinference's port on the server.
        payload: body of POST /v1/models; `model_uid` names it.

    Outputs: `uid`; `autostart`, whether Xinference starts it again after a restart.
    """

    endpoint: pulumi.Output[dict[str, Any]]
    payload: pulumi.Output[dict[str, Any]]
    autostart: pulumi.Output[bool]
    uid: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        payload: pulumi.Input[Mapping[str, Any]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            XinferenceModelProvider(),
            resource_name,
            {"endpoint": endpoint, "payload": payload, "autostart": None, "uid": None},
            opts,
        )


class XinferenceRoomProvider(_XinferenceProvider):
    """Makes room for a changed group of models.

    The engine deletes what the program no longer names at the very end, after everything new was
    made. On a card of one chat model the new one would find no memory. So the group's own books are
    kept here, in a resource that comes before its models.
    """

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        return "room", {**props, "put_out": {}, "round": 0}

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        before, wanted = olds["payloads"], news["payloads"]
        leaving = {uid: p for uid, p in before.items() if wanted.get(uid) != p}
        waiting = {**(olds.get("put_out") or {}), **leaving}
        returning = {uid: p for uid, p in waiting.items() if wanted.get(uid) == p}
        with self.client(news) as client:
            for uid in sorted(leaving):
                # The entry first: it would start the model again.
                client.delete_autostart(uid)
                stop(client, before[uid])
            for uid in sorted(returning):
                # An operator who takes a failed change back: the engine still believes that the
                # old model is there, and would not start it.
                start(client, returning[uid])
                client.put_autostart(returning[uid])
        put_out = {uid: p for uid, p in waiting.items() if uid not in returning}
        return {**news, "put_out": put_out, "round": int(olds.get("round") or 0) + 1}

    @override
    def remove(self, props: Props) -> None:
        """Nothing: the models belong to `XinferenceModel`."""


class XinferenceRoom(Resource, module="lab", name="XinferenceRoom"):
    """Room on the card: what of a group is no longer wanted leaves before anything new comes.

    Args:
        payloads: uid -> launch payload, of the whole group.

    Outputs: `round`, which grows with every change of the group; `put_out`, the models that left,
    kept to start them again if the change is taken back.
    """

    payloads: pulumi.Output[dict[str, Any]]
    round: pulumi.Output[int]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        payloads: pulumi.Input[Mapping[str, Any]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            XinferenceRoomProvider(),
            resource_name,
            {"endpoint": endpoint, "payloads": payloads, "put_out": None, "round": None},
            opts,
        )


class XinferenceModelsReadyProvider(_XinferenceProvider):
    """Waits until a group of models serves."""

    ignored = frozenset({"deadline_minutes"})

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        uids = sorted(str(uid) for uid in props["uids"])
        with self.client(props) as client:
            self._follow(client, props, uids)
        return "+".join(uids) or "none", {**props, "ready": uids}

    @override
    def look(self, props: Props) -> Props | None:
        payloads = props.get("payloads") or {}
        with self.client(props) as client:
            serving = [
                uid
                for uid in map(str, props["uids"])
                if _is_as_told(client, uid, payloads.get(uid) or {})
            ]
        return {**props, "ready": sorted(serving)}

    @override
    def drifted(self, olds: Props, news: Props) -> frozenset[str]:
        missing = set(map(str, news["uids"])) - set(olds.get("ready") or [])
        return frozenset({"ready"}) if missing else frozenset()

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        return self.make(news)[1]

    @override
    def remove(self, props: Props) -> None:
        """Nothing: the models belong to `XinferenceModel`."""

    def _follow(self, client: XinferenceClient, props: Props, uids: Sequence[str]) -> None:
        payloads: Mapping[str, Any] = props.get("payloads") or {}
        starts = [_Start(client, uid, payloads.get(uid)) for uid in uids]

        def look() -> bool | Waiting:
            waiting = [seen for begun in starts if (seen := begun.look())]
            return Waiting("; ".join(waiting)) if waiting else True

        wait_until(
            f"{', '.join(uids)} to serve",
            look,
            service="Xinference",
            deadline=60 * float(props["deadline_minutes"]),
            advice="run `pulumi up` again to go on waiting (nothing is lost), raise the deadline "
            "in the settings, or read `docker logs xinference` on the server",
            every=POLL_SECONDS,
            clock=self.clock,
        )


def _is_as_told(client: XinferenceClient, uid: str, payload: Mapping[str, Any]) -> bool:
    """Whether what serves under this uid is what was asked for."""
    state = client.state(uid, _copies(payload))
    return state.standing == "serving" and not differences(payload, state.found)


_NO_MESSAGE = (
    "Xinference tells no reason: the model's process did not start within a minute, as on a server "
    "short of processor time or memory, or the launch was cancelled"
)


@dataclass
class _Start:
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
        state = self.client.state(self.uid, _copies(self.payload or {}))
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


class XinferenceModelsReady(Resource, module="lab", name="XinferenceModelsReady"):
    """A group of models that all serve.

    Follows the replicas to READY or ERROR with stage, bytes and speed in the log; a failed download
    is started again under the same uid a bounded number of times.

    Args:
        uids: the models' uids.
        payloads: uid -> launch payload; without it a failed download cannot be repeated.
        deadline_minutes: for the whole group.
        generation: any text; a change of it makes the group be looked at again.

    Outputs: `ready`, the uids that served when last looked at.
    """

    ready: pulumi.Output[list[str]]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        uids: pulumi.Input[Sequence[pulumi.Input[str]]],
        payloads: pulumi.Input[Mapping[str, Any]] | None = None,
        deadline_minutes: pulumi.Input[float] = 90,
        generation: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            XinferenceModelsReadyProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "uids": uids,
                "payloads": payloads,
                "deadline_minutes": deadline_minutes,
                "generation": generation,
                "ready": None,
            },
            opts,
        )
