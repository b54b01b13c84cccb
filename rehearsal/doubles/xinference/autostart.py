"""What comes back after a restart, one by one: `/v1/autostart/models`, kept on the volume.

An entry loses its nulls when it is written, so a CPU model (`n_gpu: null`) comes back on a GPU.
Writing any entry starts every model with an entry that is down, also one that was deleted by hand.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

from rehearsal.doubles.xinference.books import Payload, ServiceError
from rehearsal.doubles.xinference.supervisor import Supervisor


class Autostart:
    """The entries of one server."""

    def __init__(self, supervisor: Supervisor, home: Path) -> None:
        self._supervisor = supervisor
        self._file = home / "launch_history.json"
        self._states: dict[str, dict[str, Any]] = {}
        self._turns = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def schedule(self) -> None:
        """Start, soon, what is down."""
        task = asyncio.create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def listed(self) -> dict[str, Any]:
        """`GET /v1/autostart/models`: the entries, each with its state."""
        entries = self._load().items()
        return {"models": [{**each, "state": self._states.get(uid, {})} for uid, each in entries]}

    def put(self, entry: Payload) -> dict[str, Any]:
        """`POST /v1/autostart/models`: insert or replace by uid, and start what is down."""
        launch = {key: value for key, value in entry["launch"].items() if value is not None}
        uid = launch["model_uid"]
        self._save({**self._load(), uid: {"priority": 100, **entry, "launch": launch}})
        self._states.pop(uid, None)
        self.schedule()
        return self.listed()

    def remove(self, uid: str) -> dict[str, Any]:
        """`DELETE /v1/autostart/models/{uid}`: what is left; an absent one is no error."""
        self._save({known: entry for known, entry in self._load().items() if known != uid})
        self._states.pop(uid, None)
        return self.listed()

    async def _run(self) -> None:
        async with self._turns:
            entries = sorted(self._load().items(), key=lambda each: (each[1]["priority"], each[0]))
            for uid, entry in entries:
                state = self._states.setdefault(uid, {})
                if not self._supervisor.is_active(uid):
                    state["status"] = "launching"
                    try:
                        await self._supervisor.launch(entry["launch"], wait_ready=True)
                    except ServiceError as error:
                        state |= {"status": "error", "last_error": str(error)}
                        continue
                state["status"] = "active"

    def _load(self) -> dict[str, dict[str, Any]]:
        if not self._file.exists():
            return {}
        entries: dict[str, dict[str, Any]] = json.loads(self._file.read_text())
        return entries

    def _save(self, entries: dict[str, dict[str, Any]]) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(entries))
        fresh.replace(self._file)
