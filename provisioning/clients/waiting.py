"""One way of waiting and of trying again: with a deadline, and with time that tests can replace."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeVar

import tenacity

from provisioning.clients.errors import DeadlineExceeded, ServiceError, Unreachable

T = TypeVar("T")

FIRST_PAUSE = 0.1


class Clock:
    """The machine's time; tests put their own in its place."""

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        return datetime.now(timezone.utc)


SYSTEM_CLOCK = Clock()


def repeating(
    when: tenacity.retry_base, pause: tenacity.wait.wait_base, *, seconds: float, clock: Clock
) -> tenacity.Retrying:
    """Calls what it is given while `when` holds of the outcome; after `seconds` the last stands."""
    give_up_at = clock.monotonic() + seconds
    return tenacity.Retrying(
        retry=when,
        stop=lambda _: clock.monotonic() >= give_up_at,
        wait=lambda state: max(0.0, min(pause(state), give_up_at - clock.monotonic())),
        sleep=clock.sleep,
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )


@dataclass(frozen=True)
class Waiting:
    """What `wait_until`'s look returns while the thing has not happened: the state it saw."""

    seen: str


def wait_until(
    what: str,
    look: Callable[[], T | Waiting],
    *,
    service: str,
    deadline: float,
    advice: str,
    every: float = 2.0,
    first_pause: float = FIRST_PAUSE,
    clock: Clock = SYSTEM_CLOCK,
    progress: Callable[[str], None] = lambda _: None,
    tolerate: tuple[type[ServiceError], ...] = (Unreachable,),
) -> T:
    """Look again, after short pauses first, until `look` returns something other than `Waiting`.

    Args:
        deadline: seconds from now, and then DeadlineExceeded with all that is known.
        advice: what the operator can do when it does not happen.
        every: seconds between two looks, at the most.
        first_pause: seconds between the first two; each pause is twice the one before.
        progress: told each state once, when it changes.
        tolerate: errors that count as "not yet".
    """
    tell = functools.lru_cache(maxsize=1)(progress)

    def seen() -> T | Waiting:
        try:
            found = look()
        except tolerate as error:
            found = Waiting(str(error))
        if isinstance(found, Waiting):
            tell(found.seen)
        return found

    not_yet = tenacity.retry_if_result(lambda found: isinstance(found, Waiting))
    ramp = tenacity.wait_exponential(multiplier=first_pause, max=every)
    found = repeating(not_yet, ramp, seconds=deadline, clock=clock)(seen)
    if isinstance(found, Waiting):
        raise DeadlineExceeded(service, what, found.seen, advice)
    return found
