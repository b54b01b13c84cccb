"""When the cloud releases the server by itself."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Annotated

import pulumi

from stack.resources.base import LabResource
from stack.resources.declaration import OUTPUT, Lab, Thing

SHORTEST_LEASE = timedelta(minutes=35)
RENEW_BELOW = timedelta(minutes=40)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, kw_only=True)
class Term(Thing):
    """The server ends by itself `hours` after the first `up`; 0 for never.

    A lease that has ended, or has less than 40 minutes left, is renewed from now by the next `up`.

    Outputs: `started_at`, `ends` (`yyyy-MM-ddTHH:mm:00Z`, or "" without a lease).
    """

    hours: float
    started_at: Annotated[str, OUTPUT] = ""
    ends: Annotated[str, OUTPUT] = ""

    def create(self, lab: Lab) -> "Term":
        """Start the lease now."""
        now = lab.clock.now()
        return replace(self, started_at=now.strftime(_TIME), ends=lease_end(now, self.hours))

    def update(self, lab: Lab, old: "Term", changed: frozenset[str]) -> "Term":
        """Other hours count from the original start; a lease that ends too soon starts anew."""
        if "hours" in changed and old.started_at:
            ends = lease_end(read_time(old.started_at), self.hours)
            again = replace(self, started_at=old.started_at, ends=ends)
            if not again.drift(lab, self):
                return again
        return self.create(lab)

    def drift(self, lab: Lab, wanted: "Term") -> frozenset[str]:  # noqa: ARG002
        """Time itself: whether the lease has ended, or is about to."""
        over = self.ends and read_time(self.ends) - lab.clock.now() < RENEW_BELOW
        return frozenset({"ends"} if over else ())


def lease_end(start: datetime, hours: float) -> str:
    """When a lease of `hours` from `start` ends, `yyyy-MM-ddTHH:mm:00Z`; "" for 0 hours.

    At least 35 minutes long: the cloud refuses less than 30 (`docs/facts/alicloud.md §8`).
    Never at a minute ending in 0, which the provider takes for the same as some later times.
    """
    if hours <= 0:
        return ""
    end = start + max(timedelta(hours=hours), SHORTEST_LEASE)
    if end.second or end.microsecond:
        end = end.replace(second=0, microsecond=0) + timedelta(minutes=1)
    if end.minute % 10 == 0:
        end += timedelta(minutes=1)
    return end.astimezone(timezone.utc).strftime(_TIME)


def read_time(text: str) -> datetime:
    """The moment that `yyyy-MM-ddTHH:mm:ssZ` names."""
    return datetime.strptime(text, _TIME).replace(tzinfo=timezone.utc)


class Lease(LabResource, thing=Term, token="server:Lease"):
    started_at: pulumi.Output[str]
    ends: pulumi.Output[str]
