"""What comes back after a restart, one by one: `/v1/autostart/models`, kept on the volume.

An entry loses its nulls when it is written, so a CPU model (`n_gpu: null`) comes back on a GPU.
Writing any entry starts every enabled model that is down, also one that was deleted by hand.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from rehearsal.doubles.xinference.books import Payload, ServiceError
from rehearsal.doubles.xinference.supervisor import Supervisor

_SECRET_KEYS = ("token", "secret", "password", "passwd", "pwd", "api_key", "apikey", "credential")


class Autostart:
    """The entries of one server."""

    def __init__(self, supervisor: Supervisor, home: Path) -> None:
        self._supervisor = supervisor
        self._file = home / "launch_history.json"
        self._states: dict[str, dict[str, Any]] = {}
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def schedule(self) -> None:
        """Start, soon, what is enabled and down."""
        if self._task is not None and not self._task.done():
            self._again = True
            return
        self._task = asyncio.create_task(self._run())

    def listed(self) -> dict[str, Any]:
        """`GET /v1/autostart/models`: the enabled entries, secrets hidden, each with its state."""
        return {"models": [self._shown(entry) for entry in self._enabled()]}

    def summary(self) -> dict[str, Any]:
        """`GET /v1/autostart/models/summary`."""
        return {
            "models": [
                {"enabled": True, "model_uid": entry["launch"]["model_uid"]}
                for entry in self._enabled()
            ]
        }

    def put(self, entry: object) -> dict[str, Any]:
        """`POST /v1/autostart/models`: insert or replace by uid, and start what is down."""
        normal = self._normal(entry)
        entries = self._load()
        entries[normal["launch"]["model_uid"]] = normal
        self._save(entries)
        self._states.pop(normal["launch"]["model_uid"], None)
        self.schedule()
        return self.listed()

    def remove(self, uid: str) -> dict[str, Any]:
        """`DELETE /v1/autostart/models/{uid}`; an absent one is no error."""
        entries = self._load()
        entries.pop(uid, None)
        self._save(entries)
        self._states.pop(uid, None)
        return self.summary()

    def _normal(self, entry: object) -> dict[str, Any]:
        if not isinstance(entry, dict):
            raise self._supervisor.refused("Autostart model entry must be a JSON object.")
        policy = ("enabled", "priority", "max_retries", "retry_interval_seconds", "state")
        launch = entry.get("launch")
        if launch is None and "model_name" in entry:
            launch = {key: value for key, value in entry.items() if key not in policy}
        if not isinstance(launch, dict):
            raise self._supervisor.refused("Autostart model entry requires a launch object.")
        return {
            "enabled": bool(entry.get("enabled", True)),
            "priority": self._whole(entry, "priority", 100, -sys.maxsize),
            "max_retries": self._whole(entry, "max_retries", 3, 1),
            "retry_interval_seconds": self._whole(entry, "retry_interval_seconds", 30, 1),
            "launch": self._launch(launch),
        }

    def _whole(self, entry: Payload, key: str, default: int, least: int) -> int:
        try:
            value = int(entry.get(key, default))
        except (TypeError, ValueError) as error:
            raise self._supervisor.refused(f"Autostart model {key} must be an integer.") from error
        if value < least:
            raise self._supervisor.refused(f"Autostart model {key} must be greater than 0.")
        return value

    def _launch(self, payload: Payload) -> Payload:
        launch = {key: value for key, value in payload.items() if value is not None}
        name = launch.get("model_name")
        if not isinstance(name, str) or not name.strip():
            text = "Autostart launch config requires a non-empty model_name."
            raise self._supervisor.refused(text)
        launch["model_uid"] = launch.get("model_uid") or name
        launch.setdefault("model_type", "LLM")
        launch.pop("wait_ready", None)
        return launch

    async def _run(self) -> None:
        while True:
            self._again = False
            delays = []
            for entry in sorted(
                self._enabled(), key=lambda each: (each["priority"], each["launch"]["model_uid"])
            ):
                delay = await self._start(entry)
                if delay is not None:
                    delays.append(delay)
            if self._again:
                continue
            if not delays:
                return
            await self._pause(min(delays))

    async def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._again:
            await asyncio.sleep(0.1)

    async def _start(self, entry: dict[str, Any]) -> float | None:
        """Seconds until the next attempt, or None when there is none."""
        launch = entry["launch"]
        uid = launch["model_uid"]
        state = self._states.setdefault(uid, {"attempts": 0})
        if self._supervisor.is_active(uid):
            state |= {"status": "active", "message": "Model is already active."}
            return None
        if state["attempts"] >= entry["max_retries"]:
            state |= {"status": "error", "message": "Autostart retry limit reached."}
            return None
        interval = float(entry["retry_interval_seconds"])
        waited = time.time() - float(state.get("last_attempt_ts", 0))
        if waited < interval:
            return interval - waited
        state |= {"status": "launching", "attempts": state["attempts"] + 1}
        state["last_attempt_ts"] = int(time.time())
        try:
            await self._supervisor.launch(dict(launch), wait_ready=True)
        except ServiceError as error:
            state |= {"status": "error", "last_error": str(error), "message": "Launch failed."}
            return interval if state["attempts"] < entry["max_retries"] else None
        state |= {"status": "active", "last_error": None, "message": "Model is ready."}
        return None

    def _shown(self, entry: dict[str, Any]) -> dict[str, Any]:
        uid = entry["launch"]["model_uid"]
        state = dict(self._states.get(uid, {}))
        instance = self._supervisor.instances.get(uid)
        if instance is not None and instance.status != "TERMINATED":
            state["instance_status"] = instance.status
        return {**entry, "launch": _hidden(entry["launch"]), "state": state}

    def _enabled(self) -> list[dict[str, Any]]:
        return [entry for entry in self._load().values() if entry["enabled"]]

    def _load(self) -> dict[str, dict[str, Any]]:
        if not self._file.exists():
            return {}
        entries: dict[str, dict[str, Any]] = json.loads(self._file.read_text())
        return entries

    def _save(self, entries: dict[str, dict[str, Any]]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(entries))
        fresh.replace(self._file)


def _hidden(launch: Payload) -> Payload:
    shown = {
        key: "******" if any(word in key.lower() for word in _SECRET_KEYS) else value
        for key, value in launch.items()
    }
    if isinstance(shown.get("envs"), dict):
        shown["envs"] = dict.fromkeys(shown["envs"], "******")
    return shown
