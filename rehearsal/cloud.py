"""The emulated cloud: one account that holds state, refuses, and keeps a bill.

It stands for the API behind the alicloud provider, not for the provider: names are the cloud's, and
what the cloud would refuse raises `Refusal` with the cloud's code (docs/facts/alicloud.md 1.2, 6
and 8). Servers run in a `DataCentre`, which only has to switch them on and off.
"""

from __future__ import annotations

import ipaddress
import itertools
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from rehearsal import lease, market
from rehearsal.refusals import Refusal, no_stock, not_found

ACCOUNT_ID = "1234567890123456"
_LOWEST_BALANCE = 100.0
_PRIVATE = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


@dataclass
class Vpc:
    """A private network. `settings` is what the API only stores and shows."""

    id: str
    region: str
    cidr: ipaddress.IPv4Network
    created: datetime
    router: str
    route_table: str
    settings: dict[str, Any]


@dataclass
class Switch:
    """A subnet in one zone."""

    id: str
    vpc: str
    zone: str
    cidr: ipaddress.IPv4Network
    created: datetime
    settings: dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """One rule of a security group; `ports` is inclusive, (-1, -1) for protocols without ports."""

    id: str
    direction: str
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
    vpc: str
    created: datetime
    settings: dict[str, Any]
    rules: dict[str, Rule] = field(default_factory=dict)


@dataclass
class KeyPair:
    """A public key under a name."""

    name: str
    public_key: str
    created: datetime
    settings: dict[str, Any]


@dataclass
class Eip:
    """An address that is rented on its own."""

    id: str
    address: str
    created: datetime
    settings: dict[str, Any]
    instance: str | None = None


@dataclass
class Instance:
    """A rented server.

    Attributes:
        public_ip: its own address, "" without one; an EIP's address is the EIP's.
        ends: when the cloud releases it by itself.
        settings: everything else that was asked for, in the provider's names.
    """

    id: str
    region: str
    zone: str
    type: market.InstanceType
    image: market.Image
    switch: str
    groups: list[str]
    key_name: str
    user_data: str
    disk_id: str
    disk_category: str
    disk_level: str
    disk_gib: int
    bandwidth: int
    spot: str
    created: datetime
    private_ip: str
    host_name: str
    settings: dict[str, Any]
    public_ip: str = ""
    status: str = "Running"
    ends: datetime | None = None
    protected: bool = False


class DataCentre(Protocol):
    """Where servers run. Calls come one at a time per server."""

    def fresh_address(self) -> str:
        """A public address that no one has had before in this world."""
        ...

    def switch_on(self, instance: Instance, address: str, authorized_key: str) -> None:
        """Boot the server at `address`; a first boot starts from its image."""
        ...

    def switch_off(self, instance: Instance) -> None:
        """Stop it; its disk stays."""
        ...

    def wipe(self, instance: Instance) -> None:
        """Forget its disk; the next boot starts from its image."""
        ...


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


class Cloud:
    """The whole account. Thread-safe; a call returns when its effect is there."""

    def __init__(self, data_centre: DataCentre, operator: str = "198.18.0.5") -> None:
        """`operator` is the public address that the operator's computer appears to have."""
        self.operator = operator
        self.balance = 1000.0
        self.quota_cores = 512
        self.gpu_images = True
        self.vpcs: dict[str, Vpc] = {}
        self.switches: dict[str, Switch] = {}
        self.groups: dict[str, Group] = {}
        self.key_pairs: dict[tuple[str, str], KeyPair] = {}
        self.instances: dict[str, Instance] = {}
        self.eips: dict[str, Eip] = {}
        self.lines: list[Line] = []
        self._data_centre = data_centre
        self._stock: dict[tuple[str, str], int] = {}
        self._refuse: dict[str, tuple[Refusal, int]] = {}
        self._numbers = itertools.count(1)
        self._ahead = timedelta()
        self._lock = threading.RLock()
        self._clock_changed = threading.Condition(self._lock)
        self._ended = False
        self._reaper = threading.Thread(target=self._release_what_is_due, daemon=True)
        self._reaper.start()

    # --- time, stock and what a test can change -------------------------------------------------

    def now(self) -> datetime:
        """The cloud's clock, in UTC; `advance` moves it."""
        return datetime.now(timezone.utc) + self._ahead

    def advance(self, seconds: float) -> None:
        """Let time pass: leases that end meanwhile are enforced at once."""
        with self._lock:
            self._ahead += timedelta(seconds=seconds)
            self._clock_changed.notify_all()

    def stock(self, type_name: str, zone: str) -> int:
        """How many servers of that type the zone can still sell."""
        with self._lock:
            return self._stock.get((type_name, zone), _stock_at_first(type_name, zone))

    def set_stock(self, type_name: str, zone: str, count: int) -> None:
        """Change what the zone has to sell."""
        with self._lock:
            self._stock[type_name, zone] = count

    def refuse(self, action: str, code: str, message: str, times: int = 1) -> None:
        """Let the next `times` calls of the API's `action` (`RunInstances`) fail with `code`."""
        with self._lock:
            self._refuse[action] = (Refusal(403, code, message), times)

    def may(self, action: str) -> None:
        """Raise what `refuse` set up for `action`, if anything."""
        with self._lock:
            refusal, times = self._refuse.get(action, (None, 0))
            if refusal is not None and times:
                self._refuse[action] = (refusal, times - 1)
                raise refusal

    def close(self) -> None:
        """End the cloud's own thread; servers are the data centre's to end."""
        with self._lock:
            self._ended = True
            self._clock_changed.notify_all()

    # --- networks -------------------------------------------------------------------------------

    def create_vpc(self, region: str, cidr: str, settings: Mapping[str, Any]) -> Vpc:
        """CreateVpc."""
        with self._lock:
            self.may("CreateVpc")
            network = _network(cidr, 8, 28)
            if not any(network.subnet_of(private) for private in _PRIVATE):
                raise _bad_cidr()
            vpc = Vpc(
                self._id("vpc"),
                region,
                network,
                self.now(),
                self._id("vrt"),
                self._id("vtb"),
                dict(settings),
            )
            self.vpcs[vpc.id] = vpc
            return vpc

    def delete_vpc(self, id: str) -> None:
        """DeleteVpc; refused while something is in it."""
        with self._lock:
            if any(switch.vpc == id for switch in self.switches.values()):
                raise _dependency("VSwitch")
            if any(group.vpc == id for group in self.groups.values()):
                raise _dependency("SecurityGroup")
            self.vpcs.pop(id, None)

    def create_switch(self, vpc: str, zone: str, cidr: str, settings: Mapping[str, Any]) -> Switch:
        """CreateVSwitch."""
        with self._lock:
            self.may("CreateVSwitch")
            owner = self.vpcs.get(vpc)
            if owner is None:
                raise not_found("vpc", "InvalidVpcId.NotFound")
            if zone not in market.zones(owner.region):
                raise not_found("zone", "InvalidZoneId.NotFound")
            network = _network(cidr, 16, 29)
            if not network.subnet_of(owner.cidr):
                raise _bad_cidr()
            others = (other for other in self.switches.values() if other.vpc == vpc)
            if any(network.overlaps(other.cidr) for other in others):
                raise Refusal(
                    400,
                    "InvalidCidrBlock.Overlapped",
                    "Specified CIDR block overlapped with other subnets.",
                )
            switch = Switch(self._id("vsw"), vpc, zone, network, self.now(), dict(settings))
            self.switches[switch.id] = switch
            return switch

    def delete_switch(self, id: str) -> None:
        """DeleteVSwitch; refused while a server is in it."""
        with self._lock:
            if any(instance.switch == id for instance in self.instances.values()):
                raise _dependency("NetworkInterface")
            self.switches.pop(id, None)

    # --- security groups ------------------------------------------------------------------------

    def create_group(self, vpc: str, settings: Mapping[str, Any]) -> Group:
        """CreateSecurityGroup."""
        with self._lock:
            self.may("CreateSecurityGroup")
            if vpc not in self.vpcs:
                raise not_found("VPC", "InvalidVpcId.NotFound")
            group = Group(self._id("sg"), vpc, self.now(), dict(settings))
            self.groups[group.id] = group
            return group

    def delete_group(self, id: str) -> None:
        """DeleteSecurityGroup; refused while a server is in it."""
        with self._lock:
            if any(id in instance.groups for instance in self.instances.values()):
                raise Refusal(
                    403,
                    "DependencyViolation",
                    "There is still instance(s) in the specified security group.",
                )
            self.groups.pop(id, None)

    def authorize(self, group: str, rule: Rule) -> Rule:
        """AuthorizeSecurityGroup(Egress): the rule with its id; an equal one is the same rule."""
        with self._lock:
            self.may("AuthorizeSecurityGroup")
            owner = self.groups.get(group)
            if owner is None:
                raise not_found("security group", "InvalidSecurityGroupId.NotFound")
            for known in owner.rules.values():
                if _without_id(known) == _without_id(rule):
                    return known
            made = Rule(self._id("sgr"), *_without_id(rule))
            owner.rules[made.id] = made
            return made

    def revoke(self, group: str, rule_id: str) -> None:
        """RevokeSecurityGroup(Egress)."""
        with self._lock:
            owner = self.groups.get(group)
            if owner is not None:
                owner.rules.pop(rule_id, None)

    def admits(self, instance_id: str, port: int, source: str | None = None) -> bool:
        """Whether TCP from `source` (the operator, if None) may reach `port` of the server.

        The lowest priority number decides, and drop wins among equals; without any rule, no.
        """
        with self._lock:
            instance = self.instances.get(instance_id)
            if instance is None:
                return False
            address = ipaddress.IPv4Address(source or self.operator)
            matching = [
                rule
                for group in instance.groups
                for rule in self.groups[group].rules.values()
                if rule.direction == "ingress" and rule.covers(port, address)
            ]
        decisive = min(
            matching, key=lambda rule: (rule.priority, rule.policy != "drop"), default=None
        )
        return decisive is not None and decisive.policy == "accept"

    # --- key pairs ------------------------------------------------------------------------------

    def import_key_pair(
        self, region: str, name: str, public_key: str, settings: Mapping[str, Any]
    ) -> KeyPair:
        """ImportKeyPair."""
        with self._lock:
            self.may("ImportKeyPair")
            if (region, name) in self.key_pairs:
                raise Refusal(
                    400,
                    "KeyPair.AlreadyExist",
                    f"The key pair {name} already exist.",
                )
            if not public_key.startswith(("ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-")):
                raise Refusal(
                    400, "InvalidPublicKeyBody.Malformed", "The specified PublicKeyBody is invalid."
                )
            pair = KeyPair(name, public_key, self.now(), dict(settings))
            self.key_pairs[region, name] = pair
            return pair

    def delete_key_pair(self, region: str, name: str) -> None:
        """DeleteKeyPairs; refused while a server has it."""
        with self._lock:
            users = (i for i in self.instances.values() if i.region == region)
            if any(instance.key_name == name for instance in users):
                raise Refusal(
                    400,
                    "InvalidParameter.KeypairAlreadyAttachedInstance",
                    "There are instances associated with the specified KeyPair.",
                )
            self.key_pairs.pop((region, name), None)

    # --- servers --------------------------------------------------------------------------------

    def run_instance(self, region: str, wanted: Mapping[str, Any]) -> Instance:
        """RunInstances with the provider's arguments; the server is booted when this returns."""
        with self._lock:
            self.may("RunInstances")
            instance = self._ordered(region, wanted)
            self._change_stock(instance, -1)
            if instance.bandwidth:
                instance.public_ip = self._data_centre.fresh_address()
            self.instances[instance.id] = instance
            self._bill_instance(instance)
            self._clock_changed.notify_all()
        self._power(instance, on=wanted.get("status") != "Stopped")
        return instance

    def delete_instance(self, id: str) -> None:
        """DeleteInstance with Force; its disk goes with it, an EIP stays."""
        with self._lock:
            instance = self.instances.get(id)
            if instance is None:
                return
            if instance.protected:
                raise Refusal(
                    403,
                    "InvalidOperation.DeletionProtection",
                    "The operation is not allowed due to deletion protection.",
                )
        self._remove(instance)

    def release(self, id: str) -> None:
        """What the cloud does by itself: a lease that ends, a spot server taken back."""
        with self._lock:
            instance = self.instances.get(id)
        if instance is None:
            raise not_found("InstanceId", "InvalidInstanceId.NotFound")
        self._remove(instance)

    def stop_instance(self, id: str) -> None:
        """StopInstance."""
        self._power(self._instance(id), on=False)

    def start_instance(self, id: str) -> None:
        """StartInstance."""
        self._power(self._instance(id), on=True)

    def reboot_instance(self, id: str) -> None:
        """RebootInstance."""
        self.stop_instance(id)
        self.start_instance(id)

    def replace_system_disk(self, id: str, image_id: str) -> None:
        """ReplaceSystemDisk: everything on the server is gone."""
        instance = self._instance(id)
        image = self._image(image_id)
        self._power(instance, on=False)
        self._data_centre.wipe(instance)
        with self._lock:
            self._close_line(instance.disk_id)
            instance.image = image
            instance.disk_id = self._id("d")
            self._bill_disk(instance)
        self._power(instance, on=True)

    def resize_disk(self, id: str, gib: int) -> None:
        """ResizeDisk: in place, and only to more."""
        with self._lock:
            instance = self._instance(id)
            if gib < instance.disk_gib:
                raise Refusal(
                    403,
                    "InvalidDiskSize.TooSmall",
                    "The specified new disk size is less than the current one.",
                )
            _check_disk(instance.type, instance.disk_category, instance.disk_level, gib)
            self._close_line(instance.disk_id)
            instance.disk_gib = gib
            self._bill_disk(instance)

    def modify_type(self, id: str, type_name: str) -> None:
        """ModifyInstanceSpec, with the stop and start that it needs."""
        instance = self._instance(id)
        with self._lock:
            wanted = self._type_for_sale(type_name, instance.zone, instance.spot)
        self._power(instance, on=False)
        with self._lock:
            self._change_stock(instance, +1)
            self._close_line(instance.id)
            instance.type = wanted
            self._change_stock(instance, -1)
            self._bill_compute(instance)
        self._power(instance, on=True)

    def modify_bandwidth(self, id: str, mbps: int) -> None:
        """ModifyInstanceNetworkSpec: above 0 the server has a public address, at 0 none."""
        instance = self._instance(id)
        before = self.address_of(instance)
        with self._lock:
            instance.bandwidth = mbps
            if not mbps:
                instance.public_ip = ""
            elif not instance.public_ip:
                instance.public_ip = self._data_centre.fresh_address()
        self._move(instance, before)

    def modify_release_time(self, id: str, text: str) -> None:
        """ModifyInstanceAutoReleaseTime; "" cancels."""
        with self._lock:
            instance = self._instance(id)
            instance.ends = lease.parse(text, self.now())
            self._clock_changed.notify_all()

    def address_of(self, instance: Instance) -> str:
        """Where the server is reached from outside, "" if nowhere."""
        with self._lock:
            for eip in self.eips.values():
                if eip.instance == instance.id:
                    return eip.address
            return instance.public_ip

    # --- elastic addresses ----------------------------------------------------------------------

    def allocate_eip(self, settings: Mapping[str, Any]) -> Eip:
        """AllocateEipAddress."""
        with self._lock:
            self.may("AllocateEipAddress")
            address = self._data_centre.fresh_address()
            eip = Eip(self._id("eip"), address, self.now(), dict(settings))
            self.eips[eip.id] = eip
            self.lines.append(
                Line(eip.id, f"elastic address {address}", self.now(), market.EIP_PER_HOUR)
            )
            return eip

    def release_eip(self, id: str) -> None:
        """ReleaseEipAddress; refused while a server has it."""
        with self._lock:
            eip = self.eips.get(id)
            if eip is None:
                return
            if eip.instance:
                raise Refusal(
                    400,
                    "IncorrectEipStatus",
                    "Current elastic IP status does not support this operation.",
                )
            del self.eips[id]
            self._close_line(id)

    def associate_eip(self, id: str, instance_id: str) -> None:
        """AssociateEipAddress."""
        instance = self._instance(instance_id)
        before = self.address_of(instance)
        with self._lock:
            eip = self.eips.get(id)
            if eip is None:
                raise not_found("allocation ID", "InvalidAllocationId.NotFound")
            if eip.instance or instance.public_ip:
                raise Refusal(
                    400,
                    "IncorrectEipStatus" if eip.instance else "InvalidAssociation.Duplicated",
                    "Specified instance already has a public address or the EIP is in use.",
                )
            eip.instance = instance_id
        self._move(instance, before)

    def unassociate_eip(self, id: str) -> None:
        """UnassociateEipAddress."""
        with self._lock:
            eip = self.eips.get(id)
            instance = self.instances.get(eip.instance or "") if eip else None
            before = self.address_of(instance) if instance else ""
            if eip is not None:
                eip.instance = None
        if instance is not None:
            self._move(instance, before)

    # --- what can be bought ---------------------------------------------------------------------

    def zones_on_sale(self, region: str, found: market.InstanceType, spot: str) -> list[str]:
        """The zones that can sell such a server now."""
        return [zone for zone in market.zones(region) if self.stock(found.id, zone) > 0]

    def images(self) -> list[market.Image]:
        """The images there are, the newest first."""
        gpu = market.GPU_IMAGES if self.gpu_images else ()
        return market.newest([*market.PLAIN_IMAGES, *gpu])

    # --- the bill -------------------------------------------------------------------------------

    def billable(self) -> list[Line]:
        """What costs money right now."""
        with self._lock:
            return [line for line in self.lines if line.until is None]

    def cost(self) -> float:
        """What everything has cost so far, in CNY."""
        with self._lock:
            return sum(line.cost(self.now()) for line in self.lines)

    def inventory(self) -> list[str]:
        """Ids of all that exists in the account, free of charge or not."""
        with self._lock:
            names = [name for _, name in self.key_pairs]
            kinds: Iterable[Iterable[str]] = (
                self.vpcs,
                self.switches,
                self.groups,
                self.instances,
                self.eips,
            )
            return [*itertools.chain.from_iterable(kinds), *names]

    # --- inside ---------------------------------------------------------------------------------

    def _ordered(self, region: str, wanted: Mapping[str, Any]) -> Instance:
        switch = self.switches.get(wanted.get("vswitchId") or "")
        if switch is None:
            raise not_found("VSwitchId", "InvalidVSwitchId.NotFound")
        zone = wanted.get("availabilityZone") or switch.zone
        if zone != switch.zone:
            raise Refusal(
                400,
                "InvalidParameter.Mismatch",
                "The specified VSwitchId and ZoneId does not match.",
            )
        image = self._image(wanted["imageId"])
        spot = wanted.get("spotStrategy") or "NoSpot"
        found = self._type_for_sale(wanted["instanceType"], zone, spot)
        category = wanted.get("systemDiskCategory") or "cloud_essd"
        level = wanted.get("systemDiskPerformanceLevel") or "PL1"
        gib = int(wanted.get("systemDiskSize") or max(40, image.size_gib))
        _check_disk(found, category, level, gib, image)
        self._check_account(found)
        _check_spot(found, spot, float(wanted.get("spotPriceLimit") or 0))
        groups = self._groups(wanted.get("securityGroups") or [], switch)
        key_name = wanted.get("keyName") or ""
        if key_name and (region, key_name) not in self.key_pairs:
            raise not_found("KeyPairName", "InvalidKeyPair.NotFound")
        id = self._id("i")
        return Instance(
            id=id,
            region=region,
            zone=zone,
            type=found,
            image=image,
            switch=switch.id,
            groups=groups,
            key_name=key_name,
            user_data=wanted.get("userData") or "",
            disk_id=self._id("d"),
            disk_category=category,
            disk_level=level,
            disk_gib=gib,
            bandwidth=int(wanted.get("internetMaxBandwidthOut") or 0),
            spot=spot,
            created=self.now(),
            private_ip=wanted.get("privateIp") or self._private_ip(switch),
            host_name=wanted.get("hostName") or f"iZ{id.removeprefix('i-')}Z",
            settings=dict(wanted),
            ends=lease.parse(wanted.get("autoReleaseTime") or "", self.now()),
            protected=bool(wanted.get("deletionProtection")),
        )

    def _type_for_sale(self, name: str, zone: str, spot: str) -> market.InstanceType:
        found = market.instance_type(name)
        if found is None:
            raise Refusal(
                403,
                "InvalidInstanceType.ValueNotSupported",
                "The specified InstanceType does not exist or beyond the permitted range.",
            )
        if not self._is_sold(name, zone):
            raise Refusal(
                403,
                "InvalidResourceType.NotSupported",
                f"user order resource type [{name}] not exists in [{zone}]",
            )
        if self.stock(name, zone) < 1:
            raise no_stock()
        return found

    def _is_sold(self, type_name: str, zone: str) -> bool:
        return (type_name, zone) in self._stock or _stock_at_first(type_name, zone) > 0

    def _image(self, name: str) -> market.Image:
        found = next((image for image in self.images() if image.id == name), None)
        if found is None:
            raise not_found("ImageId", "InvalidImageId.NotFound")
        return found

    def _check_account(self, found: market.InstanceType) -> None:
        used = sum(instance.type.cores for instance in self.instances.values())
        if used + found.cores > self.quota_cores:
            raise Refusal(
                403,
                "QuotaExceed.ElasticQuota",
                "No additional quota is available for the specified ECS instance type.",
            )
        if self.balance - self.cost() < _LOWEST_BALANCE:
            raise Refusal(
                403,
                "InvalidAccountStatus.NotEnoughBalance",
                "Your account does not have enough balance.",
            )

    def _groups(self, wanted: Iterable[str], switch: Switch) -> list[str]:
        groups = list(wanted)
        for group in groups:
            if group not in self.groups:
                raise not_found("SecurityGroupId", "InvalidSecurityGroupId.NotFound")
            if self.groups[group].vpc != switch.vpc:
                raise Refusal(
                    403,
                    "InvalidSecurityGroupId.VPCMismatch",
                    "The specified security group and the VSwitch belong to different VPCs.",
                )
        if not groups:
            raise Refusal(
                400,
                "MissingParameter",
                'The input parameter "SecurityGroupId" that is mandatory for processing this '
                "request is not supplied.",
            )
        return groups

    def set_groups(self, id: str, groups: Iterable[str]) -> None:
        """JoinSecurityGroup and LeaveSecurityGroup, to end with `groups`."""
        with self._lock:
            instance = self._instance(id)
            instance.groups = self._groups(groups, self.switches[instance.switch])

    def _private_ip(self, switch: Switch) -> str:
        used = Counter(i.private_ip for i in self.instances.values() if i.switch == switch.id)
        # The first three hosts of a vSwitch are the cloud's own.
        hosts = itertools.islice(switch.cidr.hosts(), 3, None)
        return next(str(host) for host in hosts if not used[str(host)])

    def _instance(self, id: str) -> Instance:
        with self._lock:
            if id not in self.instances:
                raise not_found("InstanceId", "InvalidInstanceId.NotFound")
            return self.instances[id]

    def _power(self, instance: Instance, on: bool) -> None:
        address = self.address_of(instance)
        with self._lock:
            instance.status = "Running" if on else "Stopped"
            pair = self.key_pairs.get((instance.region, instance.key_name))
        if on and address:
            self._data_centre.switch_on(instance, address, pair.public_key if pair else "")
        elif not on:
            self._data_centre.switch_off(instance)

    def _move(self, instance: Instance, before: str) -> None:
        """A server listens at its address, so another address means listening anew."""
        if self.address_of(instance) == before or instance.status != "Running":
            return
        self._power(instance, on=False)
        self._power(instance, on=True)

    def _remove(self, instance: Instance) -> None:
        with self._lock:
            if self.instances.pop(instance.id, None) is None:
                return
            self._change_stock(instance, +1)
            self._close_line(instance.id)
            self._close_line(instance.disk_id)
            for eip in self.eips.values():
                if eip.instance == instance.id:
                    eip.instance = None
        self._data_centre.switch_off(instance)
        self._data_centre.wipe(instance)

    def _release_what_is_due(self) -> None:
        while True:
            with self._lock:
                if self._ended:
                    return
                ends = [i.ends for i in self.instances.values() if i.ends]
                wait = (min(ends) - self.now()).total_seconds() if ends else None
                if wait is None or wait > 0:
                    self._clock_changed.wait(wait)
                    continue
                now = self.now()
                due = [i for i in self.instances.values() if i.ends and i.ends <= now]
            for instance in due:
                self._remove(instance)

    def _change_stock(self, instance: Instance, by: int) -> None:
        left = self.stock(instance.type.id, instance.zone)
        self._stock[instance.type.id, instance.zone] = left + by

    def _bill_instance(self, instance: Instance) -> None:
        self._bill_compute(instance)
        self._bill_disk(instance)

    def _bill_compute(self, instance: Instance) -> None:
        share = 1.0 if instance.spot == "NoSpot" else market.SPOT_SHARE
        price = instance.type.per_hour * share
        self.lines.append(Line(instance.id, f"server {instance.type.id}", self.now(), price))

    def _bill_disk(self, instance: Instance) -> None:
        size, category, level = instance.disk_gib, instance.disk_category, instance.disk_level
        price = market.disk_per_hour(category, level, size)
        self.lines.append(Line(instance.disk_id, f"disk {category} {size} GiB", self.now(), price))

    def _close_line(self, id: str) -> None:
        for line in self.lines:
            if line.id == id and line.until is None:
                line.until = self.now()

    def _id(self, prefix: str) -> str:
        return f"{prefix}-bp1{next(self._numbers):017x}"


def _stock_at_first(type_name: str, zone: str) -> int:
    """One GPU server in one zone of each region, so that a lab always takes the last one."""
    found = market.instance_type(type_name)
    if found is None:
        return 0
    if not found.gpus:
        return 20
    region = zone[:-2] if zone[-2] == "-" else zone[:-1]
    return 1 if zone == market.gpu_zone(region) else 0


def _check_disk(
    found: market.InstanceType,
    category: str,
    level: str,
    gib: int,
    image: market.Image | None = None,
) -> None:
    if category not in found.disk_categories:
        raise Refusal(
            400,
            "InvalidSystemDiskCategory.ValueNotSupported",
            "The specified parameter SystemDisk.Category is not supported by the instance type.",
        )
    if gib not in market.disk_range(category, level):
        raise Refusal(
            400,
            "InvalidSystemDiskSize.ValueNotSupported",
            "The specified parameter SystemDisk.Size is beyond the permitted range.",
        )
    if image is not None and gib < image.size_gib:
        raise Refusal(
            400,
            "InvalidSystemDiskSize.LessThanImageSize",
            "The specified parameter SystemDisk.Size is less than the image size.",
        )


def _check_spot(found: market.InstanceType, strategy: str, limit: float) -> None:
    if strategy not in ("NoSpot", "SpotAsPriceGo", "SpotWithPriceLimit"):
        raise Refusal(400, "InvalidSpotStrategy", "The specified SpotStrategy is not valid.")
    if strategy == "SpotWithPriceLimit" and limit < found.per_hour * market.SPOT_SHARE:
        raise Refusal(
            403,
            "OperationDenied.SpotPriceLowerThanPublicPrice",
            "The specified spot price limit is lower than the public price.",
        )


def _network(cidr: str, shortest: int, longest: int) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError:
        raise _bad_cidr() from None
    if not shortest <= network.prefixlen <= longest:
        raise _bad_cidr()
    return network


def _bad_cidr() -> Refusal:
    return Refusal(400, "InvalidCidrBlock", "Specified CIDR block is not valid.")


def _dependency(what: str) -> Refusal:
    return Refusal(403, f"DependencyViolation.{what}", "Specified object has dependent resources.")


def _without_id(
    rule: Rule,
) -> tuple[str, str, tuple[int, int], ipaddress.IPv4Network, str, int]:
    return (
        rule.direction,
        rule.protocol,
        rule.ports,
        rule.source,
        rule.policy,
        rule.priority,
    )
