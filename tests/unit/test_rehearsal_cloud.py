"""The emulated region: what it keeps, refuses and bills (docs/facts/alicloud.md §8)."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from rehearsal.cloud import ACCESS_KEY, Cloud, Instance, lease, market, rpc
from rehearsal.cloud.refusals import Refusal
from rehearsal.providers.alicloud.client import flat
from tests.region import PLAIN_IMAGE, REGION, Recorder

GPU_ZONE = market.gpu_zone(REGION)
NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=timezone.utc)


class Account:
    """A region with a network in it, ready to rent."""

    def __init__(self) -> None:
        self.centre = Recorder()
        self.cloud = Cloud(self.centre)
        self.vpc = self.vpc_call("CreateVpc", CidrBlock="172.16.0.0/16")["VpcId"]
        self.switch = self.subnet("172.16.0.0/24")
        self.group = self.ecs("CreateSecurityGroup", VpcId=self.vpc)["SecurityGroupId"]
        self.ecs("ImportKeyPair", KeyPairName="lab", PublicKeyBody="ssh-rsa AAAA")

    def ecs(self, action: str, version: str = "2014-05-26", **parameters: Any) -> dict[str, Any]:
        common = {"Action": action, "Version": version, "AccessKeyId": ACCESS_KEY}
        sent = {**common, "RegionId": REGION, **flat(parameters)}
        status, body = rpc.answer(self.cloud, frozenset({ACCESS_KEY}), sent)
        assert set(body) >= {"RequestId"}
        if status != 200:
            raise Refusal(status, body["Code"], body["Message"])
        return body

    def vpc_call(self, action: str, **parameters: Any) -> dict[str, Any]:
        return self.ecs(action, "2016-04-28", **parameters)

    def subnet(self, cidr: str, zone: str = GPU_ZONE) -> str:
        made = self.vpc_call("CreateVSwitch", VpcId=self.vpc, ZoneId=zone, CidrBlock=cidr)
        return str(made["VSwitchId"])

    def rent(self, **changes: Any) -> Instance:
        order = {
            "ImageId": PLAIN_IMAGE,
            "InstanceType": market.REFERENCE_TYPE,
            "VSwitchId": self.switch,
            "SecurityGroupIds": [self.group],
            "KeyPairName": "lab",
            "SystemDisk.Category": "cloud_essd",
            "SystemDisk.PerformanceLevel": "PL1",
            "SystemDisk.Size": 1000,
            "InternetMaxBandwidthOut": 100,
        }
        answer = self.ecs("RunInstances", **{**order, **changes})
        return self.cloud.instances[answer["InstanceIdSets"]["InstanceIdSet"][0]]

    def rule(self, prefix: str = "", **changes: Any) -> dict[str, Any]:
        said = {"IpProtocol": "tcp", "PortRange": "22/22", "SourceCidrIp": "198.18.0.5/32"}
        named = {prefix + name: value for name, value in {**said, **changes}.items()}
        return {"SecurityGroupId": self.group, **named}

    def open(self, **changes: Any) -> None:
        self.ecs("AuthorizeSecurityGroup", **self.rule("Permissions.1.", **changes))

    def ends(self, minutes: int) -> str:
        return (self.cloud.now() + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:00Z")


@pytest.fixture
def account() -> Iterator[Account]:
    made = Account()
    yield made
    made.cloud.close()


def test_the_reference_server_is_sold_once_per_region(account: Account) -> None:
    server = account.rent()
    assert account.cloud.stock(market.REFERENCE_TYPE, GPU_ZONE) == 0
    with pytest.raises(Refusal, match=r"OperationDenied\.NoStock"):
        account.rent()
    account.ecs("DeleteInstance", InstanceId=server.id, Force=True)
    assert account.cloud.stock(market.REFERENCE_TYPE, GPU_ZONE) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"InstanceType": "ecs.nonsense"}, "InvalidInstanceType.ValueNotSupported"),
        ({"ImageId": "ubuntu"}, "InvalidImageId.NotFound"),
        ({"VSwitchId": "vsw-0"}, "InvalidVSwitchId.NotFound"),
        ({"SecurityGroupIds": ["sg-0"]}, "InvalidSecurityGroupId.NotFound"),
        ({"SecurityGroupIds": []}, "MissingParameter"),
        ({"KeyPairName": "other"}, "InvalidKeyPair.NotFound"),
        (
            {"SystemDisk.Category": "cloud_efficiency"},
            "InvalidSystemDiskCategory.ValueNotSupported",
        ),
        (
            {"SystemDisk.PerformanceLevel": "PL2", "SystemDisk.Size": 460},
            "InvalidSystemDiskSize.ValueNotSupported",
        ),
        ({"SystemDisk.Size": 4096}, "InvalidSystemDiskSize.ValueNotSupported"),
        (
            {"SystemDisk.Size": 30, "ImageId": market.GPU_IMAGES[0].id},
            "InvalidSystemDiskSize.LessThanImageSize",
        ),
        (
            {"SpotStrategy": "SpotWithPriceLimit", "SpotPriceLimit": 0.01},
            "OperationDenied.SpotPriceLowerThanPublicPrice",
        ),
        ({"AutoReleaseTime": "soon"}, "InvalidAutoReleaseTime.Malformed"),
    ],
)
def test_refused_orders(account: Account, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal) as refused:
        account.rent(**changes)
    assert refused.value.code == code
    assert account.cloud.bill.billable() == []
    assert account.cloud.stock(market.REFERENCE_TYPE, GPU_ZONE) == 1


def test_a_zone_that_never_sold_the_type_says_so(account: Account) -> None:
    other = next(zone for zone in market.zones(REGION) if zone != GPU_ZONE)
    switch = account.subnet("172.16.1.0/24", other)
    with pytest.raises(Refusal, match=r"InvalidResourceType\.NotSupported"):
        account.rent(VSwitchId=switch)


def test_quota_and_balance(account: Account) -> None:
    account.cloud.quota_cores = 15
    with pytest.raises(Refusal, match=r"QuotaExceed\.ElasticQuota"):
        account.rent()
    account.cloud.quota_cores = 16
    account.cloud.balance = 99.0
    with pytest.raises(Refusal, match=r"InvalidAccountStatus\.NotEnoughBalance"):
        account.rent()


def test_the_bill_has_server_and_disk_until_both_are_gone(account: Account) -> None:
    server = account.rent()
    bill = account.cloud.bill
    lines = {line.id: line.per_hour for line in bill.billable()}
    assert lines == {server.id: 10.09, server.disk_id: pytest.approx(2.1)}
    account.cloud.advance(3600)
    assert bill.cost() == pytest.approx(12.19, rel=1e-3)
    account.ecs("DeleteInstance", InstanceId=server.id, Force=True)
    assert bill.billable() == []
    assert bill.cost() == pytest.approx(12.19, rel=1e-3)


def test_an_elastic_address_costs_after_the_server_has_gone(account: Account) -> None:
    server = account.rent(InternetMaxBandwidthOut=0)
    assert account.centre.done == []  # nobody could reach it, so nothing listens yet
    eip = account.vpc_call("AllocateEipAddress")
    asked = {"AllocationId": eip["AllocationId"]}
    account.vpc_call("AssociateEipAddress", **asked, InstanceId=server.id)
    assert account.cloud.address_of(server) == eip["EipAddress"]
    assert ("on", eip["EipAddress"]) in account.centre.done
    with pytest.raises(Refusal, match="IncorrectEipStatus"):
        account.vpc_call("ReleaseEipAddress", **asked)
    account.cloud.release(server.id)
    assert [line.id for line in account.cloud.bill.billable()] == [eip["AllocationId"]]
    account.vpc_call("ReleaseEipAddress", **asked)
    assert account.cloud.bill.billable() == []


def test_the_lease_ends_the_server_and_its_disk_and_nothing_else(account: Account) -> None:
    server = account.rent(AutoReleaseTime=account.ends(45))
    account.cloud.advance(43 * 60)
    assert server.id in account.cloud.instances
    account.cloud.advance(3 * 60)
    assert account.centre.changed.wait(5), "the lease ended, and the server was not released"
    assert account.cloud.bill.billable() == []
    assert set(account.cloud.inventory()) == {account.vpc, account.switch, account.group, "lab"}


def test_a_cancelled_lease_ends_nothing(account: Account) -> None:
    server = account.rent(AutoReleaseTime=account.ends(45))
    account.ecs("ModifyInstanceAutoReleaseTime", InstanceId=server.id, AutoReleaseTime="")
    account.cloud.advance(3600)
    # The reaper has looked again by now, or never will: another lease that is due comes after it.
    account.cloud.set_stock(market.REFERENCE_TYPE, GPU_ZONE, 1)
    account.rent(AutoReleaseTime=account.ends(45))
    account.cloud.advance(3600)
    assert account.centre.changed.wait(5), "the second lease ended, and no server was released"
    assert list(account.cloud.instances) == [server.id]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T12:30:00Z",  # exactly half an hour fails in flight
        "2029-11-30T12:00:00Z",
        "2026-11-23 12:00:00",
        "2026-11-23T12:00:00+08:00",
        "2026-13-23T12:00:00Z",
    ],
)
def test_leases_that_are_refused(text: str) -> None:
    with pytest.raises(Refusal, match=r"InvalidAutoReleaseTime\.Malformed"):
        lease.parse(text, NOW)


def test_a_disk_grows_and_never_shrinks(account: Account) -> None:
    server = account.rent()
    account.ecs("ResizeDisk", DiskId=server.disk_id, NewSize=1500)
    assert server.disk_gib == 1500
    with pytest.raises(Refusal, match=r"InvalidDiskSize\.TooSmall"):
        account.ecs("ResizeDisk", DiskId=server.disk_id, NewSize=1400)


def test_the_firewall_lets_in_what_a_rule_accepts(account: Account) -> None:
    admits, server = account.cloud.admits, account.rent().id
    assert not admits(server, 22)
    account.open()
    assert admits(server, 22)
    assert not admits(server, 3000)
    assert not admits(server, 22, "198.18.0.6")
    account.ecs("RevokeSecurityGroup", **account.rule())
    assert not admits(server, 22)


def test_the_lower_priority_number_decides_and_drop_wins_among_equals(account: Account) -> None:
    server = account.rent().id
    account.open(SourceCidrIp="198.18.0.0/16", Policy="drop", Priority=2)
    account.open()
    assert account.cloud.admits(server, 22)
    account.open(SourceCidrIp="0.0.0.0/0", Policy="drop", Priority=1)
    assert not account.cloud.admits(server, 22)


def test_a_refusal_strikes_as_often_as_told(account: Account) -> None:
    account.cloud.refuse("RunInstances", "Throttling.User", "slow down", times=1)
    with pytest.raises(Refusal, match=r"Throttling\.User"):
        account.rent()
    assert account.rent().status == "Running"


def test_what_is_in_use_is_not_deleted(account: Account) -> None:
    account.rent()
    for call, action, named, code in (
        (account.vpc_call, "DeleteVpc", {"VpcId": account.vpc}, "DependencyViolation.VSwitch"),
        (account.vpc_call, "DeleteVSwitch", {"VSwitchId": account.switch}, "NetworkInterface"),
        (account.ecs, "DeleteSecurityGroup", {"SecurityGroupId": account.group}, "Dependency"),
        (account.ecs, "DeleteKeyPairs", {"KeyPairNames": json.dumps(["lab"])}, "Attached"),
    ):
        with pytest.raises(Refusal, match=code):
            call(action, **named)
