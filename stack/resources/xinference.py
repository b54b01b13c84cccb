"""Models running in Xinference, as resources (`facts/xinference.md`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
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
    NotFound,
    Refused,
    Waiting,
    wait_until,
)
from provisioning.clients.xinference import (
    DOWNLOADED,
    GONE,
    LEAVING,
    STARTING,
    Progress,
    Replica,
    XinferenceClient,
    advice_for,
    is_failed_download,
    is_left_over,
    is_unknown_model,
)
from stack.resources.base import Endpoint, LabProvider, Props, say

POLL_SECONDS = 2.0
MOST_LAUNCHES = 4
"""How often one wait starts a model at the most, after failed downloads."""
STALL_SECONDS = 600.0
"""A download without a new byte for so long hangs."""
COARSE_STALL_SECONDS = 1800.0
"""The same where the version tells no bytes: its fraction moves by sixteenths of the download."""
STOP_SECONDS = 300.0
"""A cancelled download unwinds within a minute (`facts/xinference.md §2`)."""
GRACE_SECONDS = 30.0
"""For so long after a launch, an unknown uid or the last attempt's error is not believed."""
LOG_SECONDS = 15.0

# What both a launch payload and a running model's description hold (facts/xinference.md §2).
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
            self._keep(client, props)
        return uid, {**props, "uid": uid}

    @override
    def look(self, props: Props) -> Props | None:
        payload, uid = props["payload"], str(props["uid"])
        with self.client(props) as client:
            props = {**props, "autostart": uid in client.autostarted()}
            try:
                found = client.describe(uid)
            except Busy:
                return props
            except NotFound:
                starting = any(replica.status in STARTING for replica in client.replicas(uid))
                return props if starting else None
        return {**props, "payload": {**payload, **differences(payload, found)}}

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        with self.client(news) as client:
            self._keep(client, news)
        return {**olds, **news}

    @override
    def remove(self, props: Props) -> None:
        uid = str(props["uid"])
        with self.client(props) as client:
            # The entry first: it would start the model again.
            client.delete_autostart(uid)
            stop(client, uid)

    @override
    def complaints(self, news: Props) -> Iterator[tuple[str, str]]:
        if "payload" in news and not news["payload"].get("model_uid"):
            yield "payload", "it needs a model_uid: the name under which the model is asked for"

    def _keep(self, client: XinferenceClient, props: Props) -> None:
        if props.get("autostart"):
            client.put_autostart(props["payload"])
        else:
            client.delete_autostart(str(props["payload"]["model_uid"]))


def start(client: XinferenceClient, payload: Mapping[str, Any]) -> None:
    """Launch a model, adopt an equal one, or put it in the place of another of the same uid."""
    try:
        client.launch(payload)
        return
    except Conflict:
        # Taken, perhaps by an interrupted run: what is it?
        uid = str(payload["model_uid"])
    try:
        if not differences(payload, client.describe(uid)):
            return
    except Busy:
        # Not to be told before it serves; `XinferenceModelsReady` compares then.
        return
    except NotFound:
        pass
    restart(client, payload)


def restart(client: XinferenceClient, payload: Mapping[str, Any]) -> None:
    """Stop what has the payload's uid, then launch; one that starts by itself meanwhile stays."""
    # A launch finds a stranded copy, fails, and clears it away: the next one has room.
    with suppress(Stranded):
        stop(client, str(payload["model_uid"]))
    # Its autostart entry, if it has one, may be faster.
    with suppress(Conflict):
        client.launch(payload)


class Stranded(Refused):
    """A model that holds its GPU memory, and that no call of Xinference's can reach any more."""


def stop(client: XinferenceClient, uid: str) -> None:
    """Stop a model, whether it serves or is only starting; returns when it is gone.

    Raises:
        Stranded: it became ready in the moment in which its launch was cancelled.
        DeadlineExceeded: its launch could not be ended.
    """
    wait_until(
        f"{uid} to be gone",
        lambda: _ended(client, uid),
        service=client.service,
        deadline=STOP_SECONDS,
        advice="run it again later, or restart it on the server (`docker restart xinference`)",
        every=POLL_SECONDS,
        clock=client.clock,
        # It came up between two looks, or fell back; the next look decides.
        tolerate=(Busy,),
    )


def _ended(client: XinferenceClient, uid: str) -> bool | Waiting:
    standing = client.standing(uid)
    if standing == "serving":
        client.stop(uid)
    # Before there is a first status, no worker hears a cancel: the launch would go on, unseen.
    if standing == "launching" and _has(client.replicas(uid), STARTING):
        client.cancel(uid)
    return _gone(client, uid)


def _gone(client: XinferenceClient, uid: str) -> bool | Waiting:
    standing, replicas = client.standing(uid), client.replicas(uid)
    seen = ", ".join(replica.status for replica in replicas) or "no replicas"
    if standing != "absent" or _has(replicas, STARTING | LEAVING):
        return Waiting(f"{standing} ({seen})")
    if _has(replicas, {"READY"}):
        raise Stranded(
            client.service,
            f"stop {uid}",
            "it became ready while its launch was cancelled, and keeps its GPU memory: "
            "`docker restart xinference` on the server ends it",
        )
    return True


def _has(replicas: Sequence[Replica], statuses: Set[str]) -> bool:
    return any(replica.status in statuses for replica in replicas)


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


class XinferenceModel(Resource, module="lab", name="XinferenceModel"):
    """One model, started (not awaited: see `XinferenceModelsReady`).

    A changed payload replaces it, the old one leaving first: there is one GPU. A running model that
    equals the payload is adopted.

    Args:
        endpoint: Xinference's port on the server.
        payload: body of POST /v1/models; `model_uid` names it.
        autostart: whether Xinference (2.12 and later) starts it again after a restart.
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
        autostart: pulumi.Input[bool] = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            XinferenceModelProvider(),
            resource_name,
            {"endpoint": endpoint, "payload": payload, "autostart": autostart, "uid": None},
            opts,
        )


class XinferenceRoomProvider(_XinferenceProvider):
    """Makes room for a changed group of models.

    The engine deletes what the program no longer names at the very end, after everything new was
    made. On a card of one chat model the new one would find no memory. So the group's own books are
    kept here, in a resource that comes before its models.
    """

    reach = frozenset({"endpoint", "autostart"})

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
                stop(client, uid)
            for uid in sorted(returning):
                # An operator who takes a failed change back: the engine still believes that the
                # old model is there, and would not start it.
                start(client, returning[uid])
                if news.get("autostart"):
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
        autostart: as for `XinferenceModel`.

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
        autostart: pulumi.Input[bool] = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            XinferenceRoomProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "payloads": payloads,
                "autostart": autostart,
                "put_out": None,
                "round": None,
            },
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
                if serves(client.replicas(uid)) and _is_as_told(client, uid, payloads.get(uid))
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


def _is_as_told(client: XinferenceClient, uid: str, payload: Mapping[str, Any] | None) -> bool:
    """Whether what serves under this uid is what was asked for."""
    try:
        return not differences(payload or {}, client.describe(uid))
    except (Busy, NotFound):
        return False


def serves(replicas: Sequence[Replica]) -> bool:
    """Whether every copy that has not been stopped is READY, and there is one."""
    alive = [replica for replica in replicas if replica.status not in GONE]
    return bool(alive) and all(replica.status == "READY" for replica in alive)


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
    looked: bool = field(default=False, init=False)
    believed_from: float = field(default=0.0, init=False)
    old_errors: frozenset[Replica] = field(default=frozenset(), init=False)
    moved_at: float = field(default=0.0, init=False)
    last_progress: Progress | None = field(default=None, init=False)
    told: tuple[str, float] = field(default=("", float("-inf")), init=False)

    def __post_init__(self) -> None:
        self._begins(())

    def look(self) -> str:
        """What is still waited for; "" once it serves.

        Raises:
            Refused: it failed for good.
            DeadlineExceeded: its download hangs.
        """
        if self.done:
            return ""
        first, self.looked = not self.looked, True
        replicas = self.client.replicas(self.uid)
        if serves(replicas):
            return self._compare()
        early = self.client.clock.monotonic() < self.believed_from
        alive = [replica for replica in replicas if replica.status not in GONE]
        failed = [replica for replica in alive if replica.status == "ERROR"]
        if early:
            failed = [replica for replica in failed if replica not in self.old_errors]
        if failed:
            return self._failed(failed[0].error, replicas, first)
        starting = [replica for replica in alive if replica.status != "ERROR"]
        if starting:
            return self._on_its_way(starting[0].status)
        if early:
            return f"{self.uid}: starting"
        return self._again("Xinference does not know it", replicas)

    def _compare(self) -> str:
        try:
            found = self.client.describe(self.uid)
        except Busy as error:
            return f"{self.uid}: {error.answer}"
        except NotFound:
            return self._again("it is ready, but no longer to be reached", ())
        other = differences(self.payload or {}, found)
        if other:
            return self._again(f"another model of that name is running ({other})", ())
        self._tell("serves", "")
        self.done = True
        return ""

    def _failed(self, error: str, replicas: Sequence[Replica], first: bool) -> str:
        # What is there at the first look may be an earlier run's; its cause may have been mended.
        old = first and self.payload is not None and not is_unknown_model(error)
        if old or is_failed_download(error) or is_left_over(error):
            return self._again(error, replicas)
        raise self._refused(error)

    def _again(self, why: str, replicas: Sequence[Replica]) -> str:
        if self.payload is None or self.launches >= MOST_LAUNCHES:
            raise self._refused(f"{why} (after {self.launches} launches)")
        self.launches += 1
        self._tell(f"{why}; launch {self.launches} of {MOST_LAUNCHES}", "")
        restart(self.client, self.payload)
        self._begins(replicas)
        return f"{self.uid}: started again"

    def _on_its_way(self, status: str) -> str:
        progress = self.client.progress(self.uid)
        now = self.client.clock.monotonic()
        if self.last_progress is None or moved(self.last_progress, progress):
            self.last_progress, self.moved_at = progress, now
        waited = now - self.moved_at
        if waited >= patience(progress):
            return self._hangs(progress, waited)
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
        return self._again(f"no progress for {waited / 60:.0f} minutes", ())

    def _refused(self, error: str) -> Refused:
        advice = advice_for(error)
        said = f"{error}. {advice}" if advice else f"{error}. See `docker logs xinference`"
        return Refused("Xinference", f"start {self.uid}", said)

    def _begins(self, before: Sequence[Replica]) -> None:
        self.old_errors = frozenset(replica for replica in before if replica.status == "ERROR")
        now = self.client.clock.monotonic()
        self.believed_from, self.moved_at = now + GRACE_SECONDS, now
        self.last_progress = None

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
    if progress.stage == "downloading":
        return STALL_SECONDS
    if not progress.stage and progress.fraction < DOWNLOADED:
        return COARSE_STALL_SECONDS
    return math.inf


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
