"""Launches and what runs: the supervisor of `xinference-local`.

Two books are kept, as in the original: the routes (`models`), which a failed launch leaves, and the
statuses (`instances`), which remember READY, ERROR and TERMINATED after that.

Faults: `xinference.crash` (key: model name) ends the process of a model that is READY.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import string
import sys
import time
from pathlib import Path

from rehearsal import faults, inside
from rehearsal.doubles.xinference import gpus
from rehearsal.doubles.xinference.books import (
    ActorError,
    Cancelled,
    Instance,
    Model,
    Payload,
    Replica,
    ServiceError,
)
from rehearsal.doubles.xinference.release import Release
from rehearsal.doubles.xinference.worker import Worker

SCHEDULE_SECONDS = 0.03
"""A background launch shows no status this long."""
MESSAGE_SECONDS = 0.05
"""Between a replica's ERROR and the message of it."""
NOTICE_SECONDS = 0.5
RECREATE_SECONDS = 0.4
WATCH_SECONDS = 0.2

_ACTIVE = ("CREATING", "UPDATING", "TERMINATING", "READY")
_STATUS = {"ready": "READY", "error": "ERROR", "stopping": "TERMINATING", "stopped": "TERMINATED"}


class Supervisor:
    """All models of one server. `home` is the folder of XINFERENCE_HOME."""

    def __init__(self, release: Release, home: Path) -> None:
        self.release = release
        self.models: dict[str, Model] = {}
        self.instances: dict[str, Instance] = {}
        self.started = time.time()
        self.address = f"{inside.address()}:{30000 + os.getpid() % 20000}"
        self._orphans: dict[str, Model] = {}
        self._worker = Worker(release, home, self.address)
        self.cards = self._worker.cards

    # Launching

    async def launch(self, payload: Payload, wait_ready: bool) -> str:
        """`POST /v1/models`: the uid.

        Raises:
            ServiceError: with `wait_ready` everything; without, only what is known at once.
        """
        name = payload["model_name"]
        uid = payload.get("model_uid") or name
        if uid in self.models and not payload.get("model_uid"):
            uid = f"{name}-{''.join(random.sample(string.ascii_letters + string.digits, 8))}"
        named = uid.strip() if isinstance(uid, str) else ""
        reserved = self.release.successor and re.search(r"-rep\d+$", named)
        if not 0 < len(named) <= 100 or reserved:
            text = "The model UID is invalid. Please specify the model UID by 0 < length <= 100."
            raise ActorError(400, text)
        if uid in self.models:
            raise ActorError(400, f"Model is already in the model list, uid: {uid}")
        instance = Instance(uid, name, int(payload.get("replica") or 1))
        model = Model(uid, payload, instance)
        self.models[uid], self.instances[uid] = model, instance
        model.task = asyncio.create_task(self._launch(model))
        # Looked at, so that nobody complains that nobody did.
        model.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        if wait_ready:
            await asyncio.shield(model.task)
        return str(uid)

    async def _launch(self, model: Model) -> None:
        await asyncio.sleep(SCHEDULE_SECONDS)
        self._clear_orphan(model)
        model.instance.rows = [
            Replica(index, self.release.replica_uid(model.uid, index))
            for index in range(model.instance.replica)
        ]
        launches = [self._launch_replica(model, replica) for replica in model.replicas]
        results = await asyncio.gather(*launches, return_exceptions=True)
        failure = next((each for each in results if isinstance(each, BaseException)), None)
        if failure is None:
            self._serve(model)
            return
        cancelled = isinstance(failure, Cancelled)
        self._forget(model, "" if cancelled else "stopped")
        if not cancelled or self.release.successor:
            model.instance.status = "ERROR"
        raise failure

    def _serve(self, model: Model) -> None:
        limit = os.environ.get("XINFERENCE_MODEL_ACTOR_AUTO_RECOVER_LIMIT")
        model.recovers = int(limit) if limit else None
        model.ready, model.stage = True, "loading"
        model.instance.abilities = model.entry.told_abilities
        model.instance.status = "READY"
        if self.models.get(model.uid) is not model:
            # A cancel that no worker heard took the way to it away.
            self._orphans[model.uid] = model

    def _clear_orphan(self, model: Model) -> None:
        """A launch that meets a copy without a way to it fails, and stops that copy."""
        orphan = self._orphans.pop(model.uid, None)
        if orphan is None:
            return
        self._forget(orphan)
        uid = orphan.replicas[0].uid
        model.instance.rows = [Replica(0, uid, status="TERMINATED")]
        model.instance.status = "ERROR"
        del self.models[model.uid]
        raise ActorError(400, f"Model is already in the model list, uid: {uid}")

    async def _launch_replica(self, model: Model, replica: Replica) -> None:
        try:
            await self._worker.launch(model, replica)
        except Cancelled as cancelled:
            if self.release.successor:
                replica.status, replica.error = "ERROR", str(cancelled)
            raise
        except ActorError as failure:
            print(f"Failed to launch replica {replica.uid}: {failure}", file=sys.stderr)
            self._note(model, replica, "error")
            await asyncio.sleep(MESSAGE_SECONDS)
            replica.status, replica.error = "ERROR", str(failure)
            raise
        replica.process = "up"
        self._note(model, replica, "ready")
        replica.status = "READY"

    def _note(self, model: Model, replica: Replica, state: str) -> None:
        """What the worker writes into the book, at the place where it believes the replica is."""
        row = model.replicas[self.release.row(replica.index)]
        row.status, row.state = _STATUS[state], state

    # Stopping

    async def terminate(self, uid: str) -> None:
        """`DELETE /v1/models/{uid}`. A launch is not stopped by it: it is refused and goes on."""
        model = self.models.get(uid)
        if model is None:
            raise absent(uid)
        first = self.release.replica_uid(uid, 0)
        if not model.ready:
            raise absent(first)
        if model.recovering:
            raise ActorError(400, f"{first} is launching")
        self._forget(model, "stopped")
        model.instance.status = "TERMINATED"

    async def cancel(self, uid: str) -> None:
        """`POST /v1/models/{uid}/cancel`.

        2.12 answers at once, writes nothing into the rows, and unwinds afterwards; its successor
        blocks until the launch has unwound and failed.
        """
        model = self.models.get(uid)
        if model is None:
            raise ActorError(500, f"Model {uid} has not been launched yet")
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
        model.instance.status = "ERROR"
        if self.release.successor:
            await asyncio.wait([model.task], timeout=60)
        if self.models.get(uid) is model:
            del self.models[uid]

    def _forget(self, model: Model, state: str = "") -> None:
        """Take a model off its cards and off the routes; what loaded is in `state` afterwards."""
        for replica in model.replicas:
            gpus.release(replica)
            if state and replica.process != "starting":
                self._note(model, replica, state)
        if self.models.get(model.uid) is model:
            del self.models[model.uid]

    # Crashes

    async def watch(self) -> None:
        """Let the fault `xinference.crash` end the last process of a model that is READY."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for model in [each for each in self.models.values() if each.ready]:
                if faults.take("xinference.crash", model.instance.name):
                    await self._crash(model, model.replicas[-1])

    async def _crash(self, model: Model, replica: Replica) -> None:
        replica.process = "dead"
        gpus.release(replica)
        await asyncio.sleep(NOTICE_SECONDS)
        replica.process = "gone"
        self._note(model, replica, "stopping")
        model.instance.status = "ERROR"
        if model.recovers == 0:
            model.replicas.remove(replica)
            model.instance.replica = len(model.replicas)
            model.instance.status = "READY" if model.replicas else "TERMINATED"
            if not model.replicas:
                self._forget(model)
            return
        if model.recovers is not None:
            model.recovers -= 1
        model.recovering = True
        await asyncio.sleep(RECREATE_SECONDS)
        model.recovering = False
        try:
            gpus.take(model, replica)
        except ActorError:
            self._note(model, replica, "error")
            return
        # Nobody waits for what was started in its place to load, so it never counts as ready.
        replica.process = "idle"
        model.instance.status = "READY"

    # Looking

    def known_model(self, uid: str) -> Model:
        """The model that a uid describes, whether it answers or not.

        Raises:
            ServiceError: 400 where there is none, 503 while it is launching.
        """
        model = self.models.get(uid)
        if model is None:
            raise absent(uid)
        self._check_launched(model)
        first = model.replicas[0]
        if not first.known:
            raise absent(first.uid)
        return model

    def ready_model(self, uid: str) -> Model | None:
        """The model that answers for a uid; its copies take turns. None when there is none.

        Raises:
            ServiceError: 503 while it is launching or loading, 500 where its process has ended.
        """
        model = self.models.get(uid)
        if model is None:
            return None
        self._check_launched(model)
        replica = model.replicas[model.asked % len(model.replicas)]
        model.asked += 1
        if replica.process == "dead":
            raise ActorError(500, "[Errno 111] Connection refused")
        if replica.process == "gone":
            raise ActorError(500, f"Model {replica.uid} is in stopping state")
        if replica.process == "idle":
            raise self._loading(f"Model {uid} is loading, please retry later")
        return model

    def is_active(self, uid: str) -> bool:
        """Whether autostart leaves a uid alone."""
        instance = self.instances.get(uid)
        return uid in self.models or (instance is not None and instance.status in _ACTIVE)

    def prefixed(self, text: str) -> str:
        """An actor's error as it is answered."""
        return f"[address={self.address}, pid={os.getpid()}] {text}"

    def _check_launched(self, model: Model) -> None:
        if not model.ready:
            raise self._loading(f"Model {model.uid} is launching, not yet ready for inference")

    def _loading(self, text: str) -> ServiceError:
        detail = f"Model is loading, please retry later: {self.prefixed(text)}"
        return ServiceError(503, detail, {"Retry-After": "30"})


def absent(uid: str) -> ActorError:
    """A uid that nobody knows, as those see it who look at it or stop it."""
    return ActorError(400, f"Model not found in the model list, uid: {uid}")
