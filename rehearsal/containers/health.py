"""A container's health, by the rules of Docker's own monitor (moby's daemon/health.go)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from rehearsal.containers.logs import timestamp
from rehearsal.containers.spec import HealthCheck
from rehearsal.docker.durations import SECOND, canonical

_DEFAULT_INTERVAL = 30 * SECOND
_DEFAULT_TIMEOUT = 30 * SECOND
_DEFAULT_START_INTERVAL = 5 * SECOND
_DEFAULT_RETRIES = 3
_KEPT_RESULTS = 5
_KEPT_OUTPUT = 4096

Probe = Callable[[float], Awaitable[tuple[int, str]]]
"""Runs the test with a time limit in seconds: exit code and output.

Raises:
    asyncio.TimeoutError: it took longer.
"""


@dataclass
class Health:
    """The state machine: starting, then healthy or unhealthy.

    Attributes:
        pace: how many times faster than real time intervals pass; time limits are never cut.
    """

    check: HealthCheck
    probe: Probe
    pace: float = 1.0
    status: str = "starting"
    failing_streak: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)

    async def monitor(self) -> None:
        """Probe until cancelled."""
        started = time.monotonic()
        while True:
            in_start_period = self._age(started) < self.check.start_period
            await asyncio.sleep(self._interval(in_start_period) / SECOND / self.pace)
            await self._probe_once(started)

    def _age(self, started: float) -> float:
        return (time.monotonic() - started) * SECOND * self.pace

    def _interval(self, in_start_period: bool) -> int:
        if in_start_period and self.status == "starting":
            return self.check.start_interval or _DEFAULT_START_INTERVAL
        return self.check.interval or _DEFAULT_INTERVAL

    async def _probe_once(self, started: float) -> None:
        limit = self.check.timeout or _DEFAULT_TIMEOUT
        begun = timestamp()
        try:
            code, output = await self.probe(limit / SECOND)
        except asyncio.TimeoutError:
            code, output = -1, f"Health check exceeded timeout ({canonical(limit)})"
        self._note(begun, code, output)
        self._judge(code, in_start_period=self._age(started) < self.check.start_period)

    def _note(self, begun: str, code: int, output: str) -> None:
        entry = {
            "Start": begun,
            "End": timestamp(),
            "ExitCode": code,
            "Output": output[:_KEPT_OUTPUT],
        }
        self.log = [*self.log, entry][-_KEPT_RESULTS:]

    def _judge(self, code: int, in_start_period: bool) -> None:
        if code == 0:
            self.failing_streak = 0
            self.status = "healthy"
            return
        # Within the start period a failure does not count, unless the container was healthy before.
        if self.status == "starting" and in_start_period:
            return
        self.failing_streak += 1
        if self.failing_streak >= (self.check.retries or _DEFAULT_RETRIES):
            self.status = "unhealthy"

    def inspect(self) -> dict[str, Any]:
        """As `docker inspect` shows it."""
        return {"Status": self.status, "FailingStreak": self.failing_streak, "Log": self.log}
