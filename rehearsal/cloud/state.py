"""What an account holds, as plain records. Tags are kept beside them, by id (`Cloud.tags`)."""

import ipaddress
from dataclasses import dataclass, field
from datetime import datetime

from rehearsal.cloud import market


@dataclass(kw_only=True)
class Thing:
    """What all of them have."""

    id: str
    region: str
    name: str
    created: datetime

    @property
    def serial(self) -> str:
        """The id without its prefix."""
        return self.id.partition("-")[2]


@dataclass(kw_only=True)
class Vpc(Thing):
    """A private network."""

    cidr: ipaddress.IPv4Network
    router: str
    route_table: str
    switches: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Switch(Thing):
    """A subnet in one zone."""

    vpc: str
    zone: str
    cidr: ipaddress.IPv4Network


@dataclass(frozen=True)
class Rule:
    """One rule of a security group, in the API's capitals; `ports` is inclusive, (-1, -1) for
    protocols without ports."""

    protocol: str
    ports: tuple[int, int]
    source: ipaddress.IPv4Network
    policy: str
    priority: int

    def covers(self, port: int, source: ipaddress.IPv4Address) -> bool:
        """Whether it says anything about TCP to `port` from `source`."""
        if self.protocol not in ("TCP", "ALL") or source not in self.source:
            return False
        return self.protocol == "ALL" or self.ports[0] <= port <= self.ports[1]


@dataclass(kw_only=True)
class Group(Thing):
    """A security group: what is not accepted comes not in."""

    vpc: str
    inner_access: str = "Accept"
    rules: list[Rule] = field(default_factory=list)


@dataclass(kw_only=True)
class KeyPair(Thing):
    """A public key, whose id is its name."""

    public_key: str
    fingerprint: str


@dataclass(kw_only=True)
class Eip(Thing):
    """An address that is rented on its own; `bandwidth` in Mbit/s."""

    address: str
    bandwidth: str
    instance: str = ""

    @property
    def status(self) -> str:
        """As the API tells it."""
        return "InUse" if self.instance else "Available"


@dataclass(kw_only=True)
class Instance(Thing):
    """A rented server. `bandwidth`: outwards, in Mbit/s; `disk_key`: of KMS, the cloud's own or the
    user's; `metadata`: `HttpEndpoint` and
    `HttpTokens`; `ends`: when the cloud releases it by itself; `public_ips`: its own address, if it
    has one; an EIP's address is the EIP's."""

    zone: str
    type: market.InstanceType
    image: market.Image
    vpc: str
    switch: str
    groups: list[str]
    key_name: str
    disk_id: str
    disk_category: str
    disk_level: str
    disk_gib: int
    disk_encrypted: bool
    disk_key: str
    bandwidth: int
    spot: str
    spot_limit: float
    private_ip: str
    metadata: dict[str, str]
    ends: datetime | None
    public_ips: list[str] = field(default_factory=list)
    eip_id: str = ""
    eip_address: str = ""
    status: str = "Running"

    @property
    def address(self) -> str:
        """Where it is reached from outside, "" if nowhere."""
        return self.eip_address or next(iter(self.public_ips), "")

    @property
    def interface(self) -> str:
        """The id of its network interface."""
        return f"eni-{self.serial}"

    @property
    def auto_release_time(self) -> str:
        """Its end as ECS writes it, "" for none."""
        return self.ends.strftime("%Y-%m-%dT%H:%MZ") if self.ends else ""
