"""What comes back after a restart, one by one: `/v1/autostart/models`, kept on the volume.

An entry loses its nulls when it is written, so a CPU model (`n_gpu: null`) comes back on a GPU.
Writing any entry starts every model with an entry that is down, also one that was deleted by hand.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from rehearsal.doubles.xinference.books import Payload, ServiceError
from rehearsal.doubles.xinference.supervisor import Supervisor

_POLICY = {"enabled": True, "priority": 100, "max_retries": 3, "retry_interval_seconds": 30}


class Autostart:
    """The entries of one server."""

    def __init__(self, supervisor: Supervisor, home: Path) -> None:
        self._supervisor = supervisor
        self._file = home / "launch_history.json"
        self._states: dict[str, dict[str, Any]] = {}
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def schedule(self) -> None:
        """Start, soon, what is down."""
        if self._task is not None and not self._task.done():
            self._again = True
            return
        self._task = asyncio.create_task(self._run())

    def listed(self) -> dict[str, Any]:
        """`GET /v1/autostart/models`: the entries, each with its state."""
        entries = self._load().items()
        return {"models": [{**each, "state": self._states.get(uid, {})} for uid, each in entries]}

    def put(self, entry: Payload) -> dict[str, Any]:
        """`POST /v1/autostart/models`: insert or replace by uid, and start what is down."""
        given = {key: value for key, value in entry["launch"].items() if value is not None}
        launch = {"model_uid": given["model_name"], "model_type": "LLM", **given}
        self._save({**self._load(), launch["model_uid"]: {**_POLICY, **entry, "launch": launch}})
        self._states.pop(launch["model_uid"], None)
        self.schedule()
        return self.listed()

    def remove(self, uid: str) -> dict[str, Any]:
        """`DELETE /v1/autostart/models/{uid}`: what is left; an absent one is no error."""
        left = {known: entry for known, entry in self._load().items() if known != uid}
        self._save(left)
        self._states.pop(uid, None)
        return {"models": [{"enabled": True, "model_uid": known} for known in left]}

    async def _run(self) -> None:
        while True:
            self._again = False
            entries = self._load().items()
            ordered = sorted(entries, key=lambda each: (each[1]["priority"], each[0]))
            delays = [await self._start(uid, entry) for uid, entry in ordered]
            waits = [delay for delay in delays if delay is not None]
            if not waits and not self._again:
                return
            end = time.monotonic() + min(waits, default=0.0)
            while time.monotonic() < end and not self._again:
                await asyncio.sleep(0.1)

    async def _start(self, uid: str, entry: dict[str, Any]) -> float | None:
        """Seconds until the next attempt, or None when there is none."""
        state = self._states.setdefault(uid, {"attempts": 0})
        if self._supervisor.is_active(uid):
            state["status"] = "active"
            return None
        if state["attempts"] >= entry["max_retries"]:
            state["status"] = "error"
            return None
        interval = float(entry["retry_interval_seconds"])
        waited = time.time() - float(state.get("last_attempt_ts", 0))
        if waited < interval:
            return interval - waited
        state |= {"status": "launching", "attempts": state["attempts"] + 1}
        state["last_attempt_ts"] = int(time.time())
        try:
            await self._supervisor.launch(entry["launch"], wait_ready=True)
        except ServiceError as error:
            state |= {"status": "error", "last_error": str(error)}
            return interval if state["attempts"] < entry["max_retries"] else None
        state |= {"status": "active", "last_error": None}
        return None

    def _load(self) -> dict[str, dict[str, Any]]:
        if not self._file.exists():
            return {}
        entries: dict[str, dict[str, Any]] = json.loads(self._file.read_text())
        return entries

    def _save(self, entries: dict[str, dict[str, Any]]) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(entries))
        fresh.replace(self._file)
