"""Waiting for a condition, with a deadline, for tests of every kind."""

import time
from collections.abc import Callable
from typing import Any

import asyncssh

from rehearsal.probes import ProbeFailed

LIMIT = 60.0


def until(
    condition: Callable[[], Any],
    what: str,
    seen: Callable[[], object] | None = None,
    limit: float = LIMIT,
) -> Any:
    """The first true answer of `condition`; a failure of a connection is none. The error says what
    was waited for and the last thing seen."""
    deadline = time.monotonic() + limit
    while True:
        try:
            last: object = condition()
        except (OSError, asyncssh.Error, ProbeFailed) as error:
            last = error
        else:
            if last:
                return last
        if time.monotonic() > deadline:
            saw = seen() if seen else repr(last)
            raise AssertionError(f"waited {limit:.0f} s for {what}; last seen: {saw}")
        time.sleep(0.03)
