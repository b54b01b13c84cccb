"""What an account holds, as plain records. Tags are kept beside them, by id (`Cloud.tags`)."""

import ipaddress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rehearsal.cloud import market


@dataclass
class Vpc:
    """A private network."""

    id: str
    region: str
    name: str
    cidr: ipaddress.IPv4Network
    created: datetime
    router: str
    route_table: str


@dataclass
class Switch:
    """A subnet in one zone."""

    id: str
    vpc: str
    zone: str
    name: str
    cidr: ipaddress.IPv4Network
    created: datetime


@dataclass(frozen=True)
class Rule:
    """One rule of a security group; `ports` is inclusive, (-1, -1) for protocols without ports."""

    protocol: str
    ports: tuple[int, int]
    source: ipaddress.IPv4Network
    policy: str
    priority: int

    def covers(self, port: int, source: ipaddress.IPv4Address) -> bool:
        """Whether it says anything about TCP to `port` from `source`."""
        if self.protocol not in ("tcp", "all") or source not in self.source:
            return False
        return self.protocol == "all" or self.ports[0] <= port <= self.ports[1]


@dataclass
class Group:
    """A security group: what is not accepted comes not in."""

    id: str
    region: str
    vpc: str
    name: str
    created: datetime
    inner_access: str = "Accept"
    rules: list[Rule] = field(default_factory=list)


@dataclass
class KeyPair:
    """A public key under a name."""

    name: str
    public_key: str
    created: datetime


@dataclass
class Eip:
    """An address that is rented on its own; `bandwidth` in Mbit/s."""

    id: str
    region: str
    name: str
    address: str
    bandwidth: str
    created: datetime
    instance: str = ""


@dataclass
class Instance:
    """A rented server.

    Attributes:
        public_ip: its own address, "" without one; an EIP's address is the EIP's.
        bandwidth: outwards, in Mbit/s.
        metadata: `HttpEndpoint` and `HttpTokens`.
        ends: when the cloud releases it by itself.
    """

    id: str
    region: str
    zone: str
    name: str
    type: market.InstanceType
    image: market.Image
    switch: str
    groups: list[str]
    key_name: str
    disk_id: str
    disk_category: str
    disk_level: str
    disk_gib: int
    bandwidth: int
    spot: str
    spot_limit: float
    created: datetime
    private_ip: str
    metadata: dict[str, str]
    public_ip: str = ""
    status: str = "Running"
    ends: datetime | None = None


@dataclass
class Line:
    """A line of the bill: `per_hour` in CNY, list price."""

    id: str
    what: str
    since: datetime
    per_hour: float
    until: datetime | None = None

    def cost(self, now: datetime) -> float:
        """What it has cost so far."""
        return self.per_hour * (((self.until or now) - self.since) / timedelta(hours=1))
