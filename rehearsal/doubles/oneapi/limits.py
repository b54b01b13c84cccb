"""OneAPI's in-memory limiter: so many requests in a sliding window (docs/facts/oneapi.md §3)."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

API_SECONDS = 180
CRITICAL_LIMIT = 20
CRITICAL_SECONDS = 1200


class Limiter:
    """Counts requests by key; a restart forgets everything, as with the real one without Redis."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seen: dict[str, deque[int]] = defaultdict(deque)
        self._lock = threading.Lock()

    def allows(self, key: str, limit: int, seconds: int) -> bool:
        """Whether one more request of `key` passes; only those that pass are counted.

        A limit of 0 lets the first request through and no other (v0.6.6; later it means "off").
        """
        now = int(self._clock())
        with self._lock:
            seen = self._seen[key]
            if not seen or len(seen) < limit:
                seen.append(now)
                return True
            if now - seen[0] < seconds:
                return False
            seen.popleft()
            seen.append(now)
            return True
