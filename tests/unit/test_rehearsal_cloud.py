"""The emulated cloud: what it keeps, refuses and bills (docs/facts/alicloud.md 1.2, 2, 6 and 8)."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from rehearsal import market
from rehearsal.cloud import Cloud, Instance, Rule
from rehearsal.refusals import Refusal

REGION = "cn-hangzhou"
PLAIN_IMAGE = "ubuntu_22_04_x64_20G_alibase_20241016.vhd"
GPU_ZONE = market.gpu_zone(REGION)


class Recorder:
    """A data centre that remembers what was done to which server."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.changed = threading.Event()
        self._count = 0

    def fresh_address(self) -> str:
        self._count += 1
        return f"127.9.{self._count}.1"

    def switch_on(self, instance: Instance, address: str, authorized_key: str) -> None:
        self.done.append(("on", address))

    def switch_off(self, instance: Instance) -> None:
        self.done.append(("off", instance.id))

    def wipe(self, instance: Instance) -> None:
        self.done.append(("wipe", instance.id))
        self.changed.set()


class Account:
    """A cloud with a network in it, ready to rent."""

    def __init__(self) -> None:
        self.centre = Recorder()
        self.cloud = Cloud(self.centre)
        self.vpc = self.cloud.create_vpc(REGION, "172.16.0.0/16", {})
        self.switch = self.cloud.create_switch(self.vpc.id, GPU_ZONE, "172.16.0.0/24", {})
        self.group = self.cloud.create_group(self.vpc.id, {})
        self.cloud.import_key_pair(REGION, "lab", "ssh-rsa AAAA", {})

    def order(self, **changes: Any) -> dict[str, Any]:
        return {
            "imageId": PLAIN_IMAGE,
            "instanceType": market.REFERENCE_TYPE,
            "vswitchId": self.switch.id,
            "securityGroups": [self.group.id],
            "keyName": "lab",
            "systemDiskCategory": "cloud_essd",
            "systemDiskPerformanceLevel": "PL1",
            "systemDiskSize": 1000,
            "internetMaxBandwidthOut": 100,
            **changes,
        }

    def rent(self, **changes: Any) -> Instance:
        return self.cloud.run_instance(REGION, self.order(**changes))

    def open(self, port: int, cidr: str, policy: str = "accept", priority: int = 1) -> Rule:
        source = ipaddress.IPv4Network(cidr)
        rule = Rule("", "ingress", "tcp", (port, port), source, policy, priority)
        return self.cloud.authorize(self.group.id, rule)


@pytest.fixture
def account() -> Iterator[Account]:
    made = Account()
    yield made
    made.cloud.close()


def _code(refused: pytest.ExceptionInfo[Refusal]) -> str:
    return refused.value.code


def test_the_reference_server_is_sold_once_per_region(account: Account) -> None:
    found = market.instance_type(market.REFERENCE_TYPE)
    assert found
    assert account.cloud.zones_on_sale(REGION, found, "") == [GPU_ZONE]
    server = account.rent()
    assert account.cloud.zones_on_sale(REGION, found, "") == []
    with pytest.raises(Refusal) as refused:
        account.rent()
    assert _code(refused) == "OperationDenied.NoStock"
    account.cloud.delete_instance(server.id)
    assert account.cloud.zones_on_sale(REGION, found, "") == [GPU_ZONE]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"instanceType": "ecs.nonsense"}, "InvalidInstanceType.ValueNotSupported"),
        ({"imageId": "ubuntu"}, "InvalidImageId.NotFound"),
        ({"vswitchId": "vsw-0"}, "InvalidVSwitchId.NotFound"),
        ({"securityGroups": ["sg-0"]}, "InvalidSecurityGroupId.NotFound"),
        ({"securityGroups": []}, "MissingParameter"),
        ({"keyName": "other"}, "InvalidKeyPair.NotFound"),
        (
            {"systemDiskCategory": "cloud_efficiency"},
            "InvalidSystemDiskCategory.ValueNotSupported",
        ),
        (
            {"systemDiskPerformanceLevel": "PL2", "systemDiskSize": 460},
            "InvalidSystemDiskSize.ValueNotSupported",
        ),
        ({"systemDiskSize": 4096}, "InvalidSystemDiskSize.ValueNotSupported"),
        (
            {"systemDiskSize": 30, "imageId": market.GPU_IMAGES[0].id},
            "InvalidSystemDiskSize.LessThanImageSize",
        ),
        (
            {"spotStrategy": "SpotWithPriceLimit", "spotPriceLimit": 0.01},
            "OperationDenied.SpotPriceLowerThanPublicPrice",
        ),
        ({"autoReleaseTime": "soon"}, "InvalidAutoReleaseTime.Malformed"),
    ],
)
def test_refused_orders(account: Account, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal) as refused:
        account.rent(**changes)
    assert _code(refused) == code
    assert account.cloud.billable() == []
    assert account.cloud.stock(market.REFERENCE_TYPE, GPU_ZONE) == 1


def test_a_zone_that_never_sold_the_type_says_so(account: Account) -> None:
    other = next(zone for zone in market.zones(REGION) if zone != GPU_ZONE)
    switch = account.cloud.create_switch(account.vpc.id, other, "172.16.1.0/24", {})
    with pytest.raises(Refusal) as refused:
        account.rent(vswitchId=switch.id)
    assert _code(refused) == "InvalidResourceType.NotSupported"


def test_quota_and_balance(account: Account) -> None:
    account.cloud.quota_cores = 15
    with pytest.raises(Refusal) as refused:
        account.rent()
    assert _code(refused) == "QuotaExceed.ElasticQuota"
    account.cloud.quota_cores = 16
    account.cloud.balance = 99.0
    with pytest.raises(Refusal) as refused:
        account.rent()
    assert _code(refused) == "InvalidAccountStatus.NotEnoughBalance"


def test_the_bill_has_server_and_disk_until_both_are_gone(account: Account) -> None:
    server = account.rent()
    lines = {line.id: line.per_hour for line in account.cloud.billable()}
    assert lines == {server.id: 10.09, server.disk_id: pytest.approx(2.1)}
    account.cloud.advance(3600)
    assert account.cloud.cost() == pytest.approx(12.19, rel=1e-3)
    account.cloud.delete_instance(server.id)
    assert account.cloud.billable() == []
    assert account.cloud.cost() == pytest.approx(12.19, rel=1e-3)


def test_an_elastic_address_costs_after_the_server_has_gone(account: Account) -> None:
    server = account.rent(internetMaxBandwidthOut=0)
    assert account.centre.done == []  # nobody could reach it, so nothing listens yet
    eip = account.cloud.allocate_eip({})
    account.cloud.associate_eip(eip.id, server.id)
    assert account.cloud.address_of(server) == eip.address
    assert ("on", eip.address) in account.centre.done
    with pytest.raises(Refusal) as refused:
        account.cloud.release_eip(eip.id)
    assert _code(refused) == "IncorrectEipStatus"
    account.cloud.release(server.id)
    assert [line.id for line in account.cloud.billable()] == [eip.id]
    account.cloud.release_eip(eip.id)
    assert account.cloud.billable() == []


def test_the_lease_ends_the_server_and_its_disk_and_nothing_else(account: Account) -> None:
    ends = account.cloud.now() + timedelta(minutes=45)
    server = account.rent(autoReleaseTime=ends.strftime("%Y-%m-%dT%H:%M:00Z"))
    account.cloud.advance(43 * 60)
    assert server.id in account.cloud.instances
    account.cloud.advance(3 * 60)
    assert account.centre.changed.wait(5), "the lease ended, and the server was not released"
    assert server.id not in account.cloud.instances
    assert account.cloud.billable() == []
    assert set(account.cloud.inventory()) == {
        account.vpc.id,
        account.switch.id,
        account.group.id,
        "lab",
    }


def test_a_cancelled_lease_ends_nothing(account: Account) -> None:
    ends = account.cloud.now() + timedelta(minutes=45)
    server = account.rent(autoReleaseTime=ends.strftime("%Y-%m-%dT%H:%M:00Z"))
    account.cloud.modify_release_time(server.id, "")
    account.cloud.advance(3600)
    # The reaper has looked again by now, or never will: another lease that is due comes after it.
    account.cloud.set_stock(market.REFERENCE_TYPE, GPU_ZONE, 1)
    ends = account.cloud.now() + timedelta(minutes=45)
    account.rent(autoReleaseTime=ends.strftime("%Y-%m-%dT%H:%M:00Z"))
    account.cloud.advance(3600)
    assert account.centre.changed.wait(5)
    assert server.id in account.cloud.instances


def test_another_image_wipes_the_disk(account: Account) -> None:
    server = account.rent()
    disk = server.disk_id
    account.cloud.replace_system_disk(server.id, market.PLAIN_IMAGES[0].id)
    assert [what for what, _ in account.centre.done] == ["on", "off", "wipe", "on"]
    assert server.disk_id != disk
    assert len(account.cloud.billable()) == 2


def test_a_disk_grows_and_never_shrinks(account: Account) -> None:
    server = account.rent()
    account.cloud.resize_disk(server.id, 1500)
    assert server.disk_gib == 1500
    with pytest.raises(Refusal) as refused:
        account.cloud.resize_disk(server.id, 1400)
    assert _code(refused) == "InvalidDiskSize.TooSmall"


def test_no_bandwidth_no_address(account: Account) -> None:
    server = account.rent()
    first = server.public_ip
    account.cloud.modify_bandwidth(server.id, 0)
    assert account.cloud.address_of(server) == ""
    account.cloud.modify_bandwidth(server.id, 100)
    assert account.cloud.address_of(server) not in ("", first)


def test_the_firewall_lets_in_what_a_rule_accepts(account: Account) -> None:
    server = account.rent()
    assert not account.cloud.admits(server.id, 22)
    rule = account.open(22, "198.18.0.5/32")
    assert account.cloud.admits(server.id, 22)
    assert not account.cloud.admits(server.id, 3000)
    assert not account.cloud.admits(server.id, 22, "198.18.0.6")
    account.cloud.revoke(account.group.id, rule.id)
    assert not account.cloud.admits(server.id, 22)


def test_the_lower_priority_number_decides_and_drop_wins_among_equals(account: Account) -> None:
    server = account.rent()
    account.open(22, "198.18.0.0/16", "drop", priority=2)
    account.open(22, "198.18.0.5/32", "accept", priority=1)
    assert account.cloud.admits(server.id, 22)
    account.open(22, "0.0.0.0/0", "drop", priority=1)
    assert not account.cloud.admits(server.id, 22)


def test_what_is_in_use_is_not_deleted(account: Account) -> None:
    account.rent()
    cloud = account.cloud
    deletions: dict[str, Callable[[], None]] = {
        "DependencyViolation.VSwitch": lambda: cloud.delete_vpc(account.vpc.id),
        "DependencyViolation": lambda: cloud.delete_group(account.group.id),
        "DependencyViolation.NetworkInterface": lambda: cloud.delete_switch(account.switch.id),
        "InvalidParameter.KeypairAlreadyAttachedInstance": lambda: cloud.delete_key_pair(
            REGION, "lab"
        ),
    }
    for code, delete in deletions.items():
        with pytest.raises(Refusal) as refused:
            delete()
        assert _code(refused) == code


def test_a_protected_server_stays(account: Account) -> None:
    server = account.rent(deletionProtection=True)
    with pytest.raises(Refusal):
        account.cloud.delete_instance(server.id)
    assert server.id in account.cloud.instances


@pytest.mark.parametrize("cidr", ["172.17.0.0/24", "172.16.0.0/24", "172.16.0.0/30", "x"])
def test_subnets_that_do_not_fit(account: Account, cidr: str) -> None:
    with pytest.raises(Refusal, match="InvalidCidrBlock"):
        account.cloud.create_switch(account.vpc.id, GPU_ZONE, cidr, {})


def test_a_refusal_strikes_as_often_as_told(account: Account) -> None:
    account.cloud.refuse("RunInstances", "Throttling.User", "slow down", times=1)
    with pytest.raises(Refusal, match=r"Throttling\.User"):
        account.rent()
    assert account.rent().status == "Running"
