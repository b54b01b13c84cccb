"""Time for tests."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

START = datetime(2026, 11, 22, 12, 0, 30, tzinfo=timezone.utc)


class FakeClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.on_sleep: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds
        self.on_sleep()
