"""The emulated region: what it keeps, refuses and bills (docs/facts/alicloud.md §8)."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from rehearsal import faults
from rehearsal.cloud import ACCESS_KEY, Cloud, Instance, market, rpc
from rehearsal.cloud.orders import lease_end
from rehearsal.cloud.refusals import Refusal
from rehearsal.providers.alicloud.client import flat
from tests.region import PLAIN_IMAGE, REGION, Recorder
from tests.tables import table
from tests.waiting import until

GPU_ZONE = market.gpu_zone(REGION)
NO_KEY = {"KeyPairName": "x", "PublicKeyBody": "ssh-rsa A"}
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


def test_the_reference_server_is_sold_once_per_region_to_who_may_and_can_pay(
    account: Account,
) -> None:
    server = account.rent()
    assert account.cloud.stock(market.REFERENCE_TYPE, GPU_ZONE) == 0
    with pytest.raises(Refusal, match=r"OperationDenied\.NoStock"):
        account.rent()
    account.ecs("DeleteInstance", InstanceId=server.id, Force=True)
    assert account.cloud.stock(market.REFERENCE_TYPE, GPU_ZONE) == 1
    account.cloud.quota_cores = 15
    with pytest.raises(Refusal, match=r"QuotaExceed\.ElasticQuota"):
        account.rent()
    account.cloud.quota_cores, account.cloud.balance = 16, 99.0
    with pytest.raises(Refusal, match=r"InvalidAccountStatus\.NotEnoughBalance"):
        account.rent()


@table("rehearsal_cloud")
def test_refused_orders(changes: dict[str, Any], code: str, account: Account) -> None:
    with pytest.raises(Refusal) as refused:
        account.rent(**changes)
    assert refused.value.code == code
    assert account.cloud.bill.billable() == []
    assert account.cloud.stock(market.REFERENCE_TYPE, GPU_ZONE) == 1


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
    assert server.address == eip["EipAddress"]
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


@table("rehearsal_cloud")
def test_leases_that_are_refused(text: str) -> None:
    with pytest.raises(Refusal, match=r"InvalidAutoReleaseTime\.Malformed"):
        lease_end(text, NOW)


def test_the_firewall_lets_in_what_a_rule_accepts(account: Account) -> None:
    admits, server = account.cloud.admits, account.rent().id
    assert not admits(server, 22)
    account.open()
    assert admits(server, 22)
    assert not admits(server, 3000)
    assert not admits(server, 22, "198.18.0.6")
    account.ecs("RevokeSecurityGroup", **account.rule())
    assert not admits(server, 22)


def test_what_is_in_use_is_not_deleted_and_what_is_no_key_not_imported(account: Account) -> None:
    account.rent()
    for call, action, named, code in (
        (account.vpc_call, "DeleteVpc", {"VpcId": account.vpc}, "DependencyViolation.VSwitch"),
        (account.vpc_call, "DeleteVSwitch", {"VSwitchId": account.switch}, "NetworkInterface"),
        (account.ecs, "DeleteSecurityGroup", {"SecurityGroupId": account.group}, "Dependency"),
        (account.ecs, "DeleteKeyPairs", {"KeyPairNames": json.dumps(["lab"])}, "Attached"),
        (account.ecs, "ImportKeyPair", NO_KEY, "Malformed"),
    ):
        with pytest.raises(Refusal, match=code):
            call(action, **named)


def test_it_refuses_or_keeps_silent_when_told_to(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "faults.json"
    monkeypatch.setenv("REHEARSAL_FAULTS", str(place))
    faults.switch_on(place, "cloud.QuotaExceeded.Vpc", "CreateVpc", 1)
    with pytest.raises(Refusal, match=r"QuotaExceeded\.Vpc"):
        account.vpc_call("CreateVpc", CidrBlock="172.16.0.0/16")
    account.vpc_call("CreateVpc", CidrBlock="172.16.0.0/16")

    faults.switch_on(place, "cloud.silence", "RunInstances")
    answered = threading.Thread(target=account.rent)
    answered.start()
    until(lambda: bool(account.cloud.instances), "the server that is rented in silence")
    assert answered.is_alive()
    faults.switch_on(place, "cloud.silence", "RunInstances", 0)
    answered.join(10)
    assert not answered.is_alive()
