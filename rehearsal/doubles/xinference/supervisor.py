"""Launches and what runs: the supervisor of `xinference-local`.

Two books are kept, as in the original: the routes (`models`), which a failed launch leaves, and the
statuses (`book`), which remember READY, ERROR and TERMINATED after that.

Faults: `xinference.crash` (key: model name) ends the process of a model that is READY.
"""

import asyncio
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from rehearsal import faults, inside
from rehearsal.doubles.xinference import gpus
from rehearsal.doubles.xinference.books import (
    ActorError,
    Cancelled,
    Model,
    Payload,
    Release,
    Replica,
    ServiceError,
)
from rehearsal.doubles.xinference.worker import Worker

SCHEDULE_SECONDS = 0.03
"""A background launch shows no status this long."""
MESSAGE_SECONDS = 0.05
"""Between a replica's ERROR and the message of it."""
NOTICE_SECONDS = 0.5
RECREATE_SECONDS = 0.4
WATCH_SECONDS = 0.2
_ACTIVE = ("CREATING", "TERMINATING", "READY")


class Supervisor:
    """All models of one server. `home` is the folder of XINFERENCE_HOME."""

    def __init__(self, release: Release, home: Path) -> None:
        self.release = release
        self.models: dict[str, Model] = {}
        self.book: dict[str, Model] = {}
        self.address = f"{inside.address()}:{30000 + os.getpid() % 20000}"
        self._orphans: dict[str, Model] = {}
        self._worker = Worker(release, home)
        self.cards = self._worker.cards

    async def launch(self, payload: Payload, wait_ready: bool) -> str:
        """`POST /v1/models`: the uid; without `wait_ready` only what is known at once fails."""
        uid = str(payload.get("model_uid") or payload["model_name"])
        reserved = self.release.successor and re.search(r"-rep\d+$", uid)
        if not 0 < len(uid.strip()) <= 100 or reserved:
            raise ActorError("bad uid")
        if uid in self.models:
            raise ActorError("taken", uid=uid)
        model = self.models[uid] = self.book[uid] = Model(uid, payload)
        model.task = asyncio.create_task(self._launch(model))
        # Looked at, so that nobody complains that nobody did.
        model.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        if wait_ready:
            await asyncio.shield(model.task)
        return uid

    async def _launch(self, model: Model) -> None:
        await asyncio.sleep(SCHEDULE_SECONDS)
        self._clear_orphan(model)
        model.replicas = [
            Replica(index, self.release.replica_uid(model.uid, index))
            for index in range(model.copies)
        ]
        launches = [self._launch_replica(model, replica) for replica in model.replicas]
        results = await asyncio.gather(*launches, return_exceptions=True)
        failure = next((each for each in results if isinstance(each, BaseException)), None)
        if failure is not None:
            cancelled = isinstance(failure, Cancelled)
            self._forget(model, "" if cancelled else "TERMINATED")
            if not cancelled or self.release.successor:
                model.status = "ERROR"
            raise failure
        model.ready, model.stage, model.status = True, "loading", "READY"
        if self.models.get(model.uid) is not model:
            # A cancel that no worker heard took the way to it away.
            self._orphans[model.uid] = model

    def _clear_orphan(self, model: Model) -> None:
        """A launch that meets a copy without a way to it fails, and stops that copy."""
        orphan = self._orphans.pop(model.uid, None)
        if orphan is not None:
            self._forget(orphan)
            uid = orphan.replicas[0].uid
            model.replicas = [Replica(0, uid, status="TERMINATED")]
            model.status = "ERROR"
            del self.models[model.uid]
            raise ActorError("taken", uid=uid)

    async def _launch_replica(self, model: Model, replica: Replica) -> None:
        try:
            await self._worker.launch(model, replica)
        except Cancelled as cancelled:
            if self.release.successor:
                replica.status, replica.error = "ERROR", str(cancelled)
            raise
        except ActorError as failure:
            print(f"Failed to launch replica {replica.uid}: {failure}", file=sys.stderr)
            self._note(model, replica, "ERROR")
            await asyncio.sleep(MESSAGE_SECONDS)
            replica.status, replica.error = "ERROR", str(failure)
            raise
        replica.process = "up"
        self._note(model, replica, "READY")
        replica.status = "READY"

    def _note(self, model: Model, replica: Replica, status: str) -> None:
        """What the worker writes into the book, at the place where it believes the replica is."""
        model.replicas[self.release.row(replica.index)].status = status

    async def terminate(self, uid: str) -> None:
        """`DELETE /v1/models/{uid}`. A launch is not stopped by it: it is refused and goes on."""
        model = self._routed(uid)
        first = self.release.replica_uid(uid, 0)
        if not model.ready:
            raise ActorError("absent", uid=first)
        if any(replica.process == "gone" for replica in model.replicas):
            raise ActorError("launching", uid=first)
        self._forget(model, "TERMINATED")
        model.status = "TERMINATED"

    async def cancel(self, uid: str) -> None:
        """`POST /v1/models/{uid}/cancel`.

        2.12 answers at once, writes nothing into the rows, and unwinds afterwards; its successor
        blocks until the launch has unwound and failed.
        """
        model = self.models.get(uid)
        if model is None:
            raise ActorError("not launched", uid=uid)
        if model.ready:
            if not self.release.successor:
                self._orphans[uid] = self.models.pop(uid)
            return
        if not model.replicas:
            # No worker hears it: the launch goes on, and only the way to it is gone.
            del self.models[uid]
            return
        model.cancelled = True
        if model.download is not None:
            model.download.cancelled = True
        model.status = "ERROR"
        if self.release.successor:
            await asyncio.wait([model.task], timeout=60)
        if self.models.get(uid) is model:
            del self.models[uid]

    def _forget(self, model: Model, status: str = "") -> None:
        """Take a model off its cards and off the routes; what loaded is `status` afterwards."""
        for replica in model.replicas:
            gpus.release(replica)
            if status and replica.process != "starting":
                self._note(model, replica, status)
        if self.models.get(model.uid) is model:
            del self.models[model.uid]

    async def watch(self) -> None:
        """Let the fault `xinference.crash` end the last process of a model that is READY."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for model in [each for each in self.models.values() if each.ready]:
                if faults.take("xinference.crash", model.payload["model_name"]):
                    await self._crash(model, model.replicas[-1])

    async def _crash(self, model: Model, replica: Replica) -> None:
        replica.process = "dead"
        gpus.release(replica)
        await asyncio.sleep(NOTICE_SECONDS)
        replica.process = "gone"
        self._note(model, replica, "TERMINATING")
        model.status = "ERROR"
        await asyncio.sleep(RECREATE_SECONDS)
        with suppress(ActorError):
            gpus.take(model, replica)
        # Nobody waits for what was started in its place to load, so it never counts as ready.
        replica.process = "idle"
        model.status = "READY"

    def described(self, uid: str) -> Model:
        """The model that a uid describes, whether it answers or not; refused while it launches."""
        model = self._routed(uid)
        self._check_launched(model)
        first = model.replicas[0]
        if first.process == "gone":
            raise ActorError("absent", uid=first.uid)
        return model

    def serving(self, uid: str) -> Model:
        """The model that answers for a uid; its copies take turns."""
        model = self.models.get(uid)
        if model is None:
            raise ActorError("not served", uid=uid, uids=list(self.models))
        self._check_launched(model)
        replica = model.replicas[model.asked % len(model.replicas)]
        model.asked += 1
        if replica.process == "dead":
            raise ActorError("refused")
        if replica.process == "gone":
            raise ActorError("stopping", uid=replica.uid)
        if replica.process == "idle":
            raise ServiceError("loading", text=self.prefixed(f"Model {uid} is loading"))
        return model

    def is_active(self, uid: str) -> bool:
        """Whether autostart leaves a uid alone."""
        return uid in self.models or (uid in self.book and self.book[uid].status in _ACTIVE)

    def prefixed(self, text: str) -> str:
        """An actor's error as it is answered."""
        return f"[address={self.address}, pid={os.getpid()}] {text}"

    def _routed(self, uid: str) -> Model:
        if uid not in self.models:
            raise ActorError("absent", uid=uid)
        return self.models[uid]

    def _check_launched(self, model: Model) -> None:
        if not model.ready:
            text = f"Model {model.uid} is launching, not yet ready for inference"
            raise ServiceError("loading", text=self.prefixed(text))
