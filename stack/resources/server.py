"""What the lab knows about its server beside the cloud's own resources: host key and lease."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone

import pulumi
from pulumi.dynamic import CheckFailure, CheckResult, Resource
from typing_extensions import override

from provisioning.tunnel import scan_host_key
from stack.resources.base import LabProvider, Props, plain, say, unknown

FIRST_CONTACT_SECONDS = 600.0
SHORTEST_LEASE = timedelta(minutes=35)
RENEW_BELOW = timedelta(minutes=40)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class ServerHostKeyProvider(LabProvider):
    """Reads the SSH host key at the first contact."""

    reach = frozenset({"host", "port"})
    identity = frozenset({"instance_id"})

    # A class attribute, so that a test can put another one in its place.
    scan = staticmethod(scan_host_key)

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        """Wait for the SSH server, ten minutes at the most, and take its key down."""
        host, port = str(props["host"]), int(props["port"])
        key = self.scan(
            host, port, FIRST_CONTACT_SECONDS, clock=self.clock, progress=say(f"ssh {host}")
        )
        return f"{host}:{port}", {**props, "host_key": key}


class ServerHostKey(Resource, module="lab", name="ServerHostKey"):
    """The server's SSH host key, as seen at the first contact and held to from then on.

    Args:
        host, port: of the SSH server; a changed address alone is only written down.
        instance_id: the cloud's id; another machine has another key, so a change replaces this.

    Outputs: `host_key`, e.g. `ssh-ed25519 AAAA...`.
    """

    host_key: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        host: pulumi.Input[str],
        port: pulumi.Input[int] = 22,
        instance_id: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            ServerHostKeyProvider(),
            resource_name,
            {"host": host, "port": port, "instance_id": instance_id, "host_key": None},
            opts,
        )


class LeaseProvider(LabProvider):
    """Computes when the server ends, once."""

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        """Start the lease now."""
        return "lease", self._from_now(props)

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        """Other hours count from the original start; a lease that ends too soon starts anew."""
        if "hours" in changed and olds.get("started_at"):
            started = read_time(olds["started_at"])
            ends = lease_end(started, float(news["hours"]), started)
            if not ends or read_time(ends) - self.clock.now() >= RENEW_BELOW:
                return {**news, "started_at": olds["started_at"], "ends": ends}
        return self._from_now(news)

    @override
    def drifted(self, olds: Props, news: Props) -> frozenset[str]:
        """Time itself: whether the lease has ended, or is about to."""
        ends = olds.get("ends")
        if not ends or not float(olds.get("hours") or 0):
            return frozenset()
        left = read_time(ends) - self.clock.now()
        return frozenset({"ends"}) if left < RENEW_BELOW else frozenset()

    def _from_now(self, props: Props) -> Props:
        now = self.clock.now()
        ends = lease_end(now, float(props["hours"]), now)
        return {**props, "started_at": now.strftime(_TIME), "ends": ends}


def lease_end(start: datetime, hours: float, now: datetime) -> str:
    """When a lease of `hours` from `start` ends, `yyyy-MM-ddTHH:mm:00Z`; "" for 0 hours.

    At least 35 minutes after `now`: the cloud refuses less than 30 (`docs/facts/alicloud.md §8`).
    Never at a minute ending in 0: the provider would then mistake some later times for the same and
    not send them.
    """
    if hours <= 0:
        return ""
    end = max(start + timedelta(hours=hours), now + SHORTEST_LEASE)
    if end.second or end.microsecond:
        end = end.replace(second=0, microsecond=0) + timedelta(minutes=1)
    if end.minute % 10 == 0:
        end += timedelta(minutes=1)
    return end.astimezone(timezone.utc).strftime(_TIME)


def read_time(text: str) -> datetime:
    """The moment that `yyyy-MM-ddTHH:mm:ssZ` names."""
    return datetime.strptime(text, _TIME).replace(tzinfo=timezone.utc)


class Lease(Resource, module="lab", name="Lease"):
    """When the cloud releases the server by itself.

    Computed once at create. Changed hours count from the original start; a lease that has ended, or
    has less than 40 minutes left, is renewed from now by the next `up`.

    Args:
        hours: length; 0 for no lease.

    Outputs: `started_at`, `ends` (`yyyy-MM-ddTHH:mm:00Z`, or "" without a lease).
    """

    hours: pulumi.Output[float]
    started_at: pulumi.Output[str]
    ends: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        hours: pulumi.Input[float],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            LeaseProvider(),
            resource_name,
            {"hours": hours, "started_at": None, "ends": None},
            opts,
        )


class ServerChoiceProvider(LabProvider):
    """Chooses zone and image, once."""

    ignored = frozenset({"zones", "images", "wanted"})

    @override
    def check(self, _olds: Props, news: Props) -> CheckResult:
        """Refuse, at preview already, to choose where nothing is on offer."""
        known = plain(news)
        before = plain(_olds).get("generation") if _olds else None
        chosen = before is not None and before == known.get("generation")
        failures = [] if chosen else list(_nothing_on_offer(known, replacing=before is not None))
        return CheckResult(news, failures)

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        """Take the first of what is on offer."""
        return "choice", _chosen(props)

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        """Another generation: choose anew."""
        return _chosen(news)


def _nothing_on_offer(news: Props, *, replacing: bool) -> Iterator[CheckFailure]:
    wanted = news.get("wanted")
    advice = _REPLACING if replacing else _FIRST
    for name, what in (("zones", "no zone has it in stock"), ("images", "no image fits it")):
        if not unknown(news.get(name)) and not news.get(name):
            yield CheckFailure(name, f"{wanted}: {what}. {advice}")


_FIRST = (
    "Nothing was rented. Try again later, or another region, zone or instance type; spot and "
    "pay-as-you-go have separate stock"
)
_REPLACING = (
    "The present server stands as before: set serverGeneration back to keep it. To replace it "
    "without a second one, run `pulumi destroy` first and then `pulumi up`; all data on it is "
    "lost, and another customer may get the freed server before you"
)


def _chosen(props: Props) -> Props:
    return {**props, "zone": props["zones"][0], "image": props["images"][0]}


class ServerChoice(Resource, module="lab", name="ServerChoice"):
    """Where the server stands and from which image, chosen once from what is on offer.

    What is on offer later never changes the choice; only another `generation` chooses anew.

    Args:
        generation: any number; a change of it means another server.
        zones: zones with stock, the preferred one first.
        images: image ids, the preferred one first.
        wanted: what is looked for, for the error: `ecs.gn7i-c16g1.4xlarge in cn-hangzhou`.

    Outputs: `zone`, `image`.
    """

    zone: pulumi.Output[str]
    image: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        generation: pulumi.Input[int],
        zones: pulumi.Input[Sequence[pulumi.Input[str]]],
        images: pulumi.Input[Sequence[pulumi.Input[str]]],
        wanted: pulumi.Input[str] = "the server",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            ServerChoiceProvider(),
            resource_name,
            {
                "generation": generation,
                "zones": zones,
                "images": images,
                "wanted": wanted,
                "zone": None,
                "image": None,
            },
            opts,
        )
