"""What bears a lab's tag, through the official client, in the emulated region under the README's
policy."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioning.account import Account, last_look
from provisioning.account_api import Api, CloudNotFound, CloudUnauthorized, NoCredentials
from provisioning.account_kinds import KINDS, Belonging
from provisioning.clients.errors import Unreachable
from provisioning.clients.waiting import Clock
from provisioning.server_problems import OWN_TAG
from rehearsal import real_plugin
from rehearsal.cloud import ACCESS_KEY, SECRET_KEY, market
from rehearsal.cloud.ram import policy_in
from tests.region import REGION, Region
from tests.tables import table

README = Path(__file__).parents[2] / "README.md"
KEY = "alicloud:ecs/ecsKeyPair:EcsKeyPair"
EIP = "alicloud:ecs/eipAddress:EipAddress"
SWITCH = "alicloud:vpc/switch:Switch"
TAGS = {OWN_TAG: "x"}
ORDER = ["server", "elastic address", "disk", "security group", "vSwitch", "VPC", "key pair"]


class Hand(Clock):
    """Time that passes by waiting; `frees` is what happens meanwhile."""

    def __init__(self, frees: Any = lambda: None) -> None:
        self.passed, self.frees = 0.0, frees

    def monotonic(self) -> float:  # type: ignore[override]
        return self.passed

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        self.passed += seconds or 0.01
        self.frees()


@pytest.fixture
def region() -> Iterator[Region]:
    made = Region(policy_in(README.read_text(encoding="utf-8")))
    yield made
    made.close()


def config(region: Region) -> dict[str, Any]:
    return real_plugin.config(region.endpoint.server_port)


def account(region: Region, **changes: Any) -> Account:
    return Account(REGION, {**config(region), **changes}, {})


def lab(region: Region, tags: dict[str, str], name: str) -> str:
    """A lab's rented things, and an address that got no tag; the server's id."""
    group = region.network(market.gpu_zone(REGION), tags=tags)
    region.make(KEY, keyPairName=name, publicKey="ssh-rsa AAAA", tags=tags)
    disk = {"volumeTags": tags, "systemDiskCategory": "cloud_essd"}
    order = {"keyName": name, "tags": tags, "instanceType": "ecs.g7.large", **disk}
    server = region.server(group, **order, internetMaxBandwidthOut=0).id
    eip = region.make(EIP, bandwidth="5", addressName=name).id
    join = {"allocationId": eip, "instanceId": server}
    region.make("alicloud:ecs/eipAssociation:EipAssociation", **join)
    return server


def test_all_that_bears_the_tag_is_found_and_goes_and_nothing_else(region: Region) -> None:
    others = lab(region, {OWN_TAG: "y"}, "ai-lab-y")
    kept = region.cloud.inventory()
    region.made.clear()
    server = lab(region, TAGS, f"{OWN_TAG}-x")

    found = account(region).belongings(OWN_TAG, "x")
    assert [each.kind for each in found] == ORDER
    assert [each.kind for each in found if each.costs] == ORDER[:3]
    assert [each.kind for each in found if not each.tagged] == ["elastic address"]
    assert [each.kind for each in found if each.attached_to == server] == ORDER[1:3]

    told: list[str] = []
    assert account(region).remove(reversed(found), told.append) == []
    assert told == [f"removed: {each}" for each in found]
    assert region.cloud.inventory() == kept
    assert account(region).belongings(OWN_TAG, "x") == []
    assert account(region).remove(found) == [], "what has gone is no error"
    assert account(region).standing(others)
    assert not account(region).standing(server)


def test_what_is_only_called_like_the_lab_counts_in_its_own_network_alone(region: Region) -> None:
    place = {"zoneId": market.gpu_zone(REGION), "vswitchName": f"{OWN_TAG}-x"}
    network = "alicloud:vpc/network:Network"
    for tags in ({}, TAGS):
        vpc = region.make(network, cidrBlock="172.16.0.0/16", tags=tags).id
        region.make(SWITCH, vpcId=vpc, cidrBlock="172.16.0.0/24", **place)
    region.make(EIP, bandwidth="5", addressName=f"{OWN_TAG}-x", tags={OWN_TAG: "another's"})

    found = account(region).belongings(OWN_TAG, "x")
    own = [state.id for _, state in region.made[2:4]]
    assert [each.id for each in found] == own[::-1]
    # RAM lets nobody end a vSwitch without the lab's tag: it gets it first.
    assert account(region).remove(found) == []
    assert not set(own) & set(region.cloud.inventory())
    assert len(region.cloud.inventory()) == 3


def test_all_pages_are_read(region: Region) -> None:
    names = {f"key-{number:03}" for number in range(120)}
    for name in names:
        region.make(KEY, keyPairName=name, publicKey="ssh-rsa AAAA", tags=TAGS)
    assert {each.id for each in account(region).belongings(OWN_TAG, "x")} == names


def test_what_is_used_a_moment_longer_is_waited_for_and_not_for_ever(region: Region) -> None:
    region.network(market.gpu_zone(REGION), tags=TAGS)
    (vpc,) = (e for e in account(region).belongings(OWN_TAG, "x") if e.kind == "VPC")

    (said,) = Account(REGION, config(region), {}, Hand()).remove([vpc])
    assert f"VPC {vpc.id}" in said
    assert "waited in vain" in said
    assert "DependencyViolation" in said
    assert "run it again" in said

    def frees() -> None:
        region.cloud.groups.clear()
        for id in list(region.cloud.switches):
            region.cloud.vpcs[region.cloud.switches.pop(id).vpc].switches.remove(id)

    assert Account(REGION, config(region), {}, Hand(frees)).remove([vpc]) == []
    assert region.cloud.inventory() == []


def test_a_refusal_keeps_code_message_and_request(region: Region) -> None:
    api = Api(REGION, config(region), {})
    with pytest.raises(CloudNotFound) as gone:
        api.call("vpc", "DescribeVpcAttribute", VpcId="vpc-gone")
    assert gone.value.code == "InvalidVpcId.NotFound"
    assert gone.value.request_id
    assert f"(request {gone.value.request_id})" in str(gone.value)
    with pytest.raises(CloudUnauthorized, match=r"vpc DeleteVpc in cn-hangzhou: Forbidden\.RAM: "):
        api.call("vpc", "DeleteVpc", VpcId="vpc-gone")
    wrong = Api(REGION, {**config(region), "alicloud:accessKey": "LTAI-of-nobody"}, {})
    with pytest.raises(CloudUnauthorized, match=r"InvalidAccessKeyId\.NotFound: .*\(request "):
        wrong.call("ecs", "DescribeInstances")


@table("account")
def test_credentials_are_found_where_the_provider_finds_them(
    given: dict[str, Any], environ: dict[str, str], known: bool, region: Region, tmp_path: Path
) -> None:
    endpoints = {name: config(region)[name] for name in ("alicloud:endpoints", "alicloud:protocol")}
    filled = {"KEY": ACCESS_KEY, "SECRET": SECRET_KEY, "FILE": str(tmp_path / "config.json")}
    (tmp_path / "config.json").write_text(
        '{"current": "default", "profiles": [{"name": "lab", "mode": "AK", '
        f'"access_key_id": "{ACCESS_KEY}", "access_key_secret": "{SECRET_KEY}"}}]}}'
    )
    settings = {name: filled.get(value, value) for name, value in given.items()}
    variables = {name: filled.get(value, value) for name, value in environ.items()}
    variables.setdefault("ALIBABA_CLOUD_CREDENTIALS_FILE", str(tmp_path / "none.json"))
    asked = Account(REGION, {**endpoints, **settings}, variables)
    if known:
        assert asked.belongings(OWN_TAG, "x") == []
        return
    with pytest.raises(NoCredentials, match="nobody said who asks: set ALIBABA_CLOUD_ACCESS_KEY"):
        asked.belongings(OWN_TAG, "x")


def test_nobody_who_does_not_answer_learns_or_shows_a_key(region: Region) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        api = Api(REGION, real_plugin.config(taken.getsockname()[1]), {})
        with pytest.raises(Unreachable) as error:
            api.call("ecs", "DescribeInstances")
    assert "refused" in str(error.value)
    for text in (str(error.value), repr(error.value), repr(api), repr(api._provider)):
        assert ACCESS_KEY not in text
        assert SECRET_KEY not in text
        assert "Signature" not in text
    assert error.value.__suppress_context__


def test_the_last_look_of_a_destroy_tells_what_costs_and_never_fails(region: Region) -> None:
    settings = {**config(region), "region": REGION}
    assert last_look("", "x", settings) == ""
    server = lab(region, TAGS, f"{OWN_TAG}-x")
    said = last_look(REGION, "x", settings)
    assert f"costs: server {server} (" in said
    assert "free of charge: security group sg-" in said
    assert said.endswith("make sweep STACK=x")
    assert "nobody could look" in last_look(REGION, "x", {**settings, "accessKey": "LTAI"})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = real_plugin.config(silent.getsockname()[1])
        assert "no answer within 0 s" in last_look(REGION, "x", asked, seconds=0.2)


def test_the_client_is_not_there_before_the_first_call() -> None:
    """`pulumi up` imports what is around it at every start."""
    told = "import sys, provisioning.account; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in ran.stdout.split()}
    assert "provisioning" in packages
    assert not packages & {"aiohttp", "requests", "Tea", "darabonba", "alibabacloud_tea_openapi"}


def test_the_table_removes_in_an_order_that_works_and_knows_what_to_call() -> None:
    assert list(KINDS) == ORDER
    shown = Belonging("disk", "d-1", "", "now", "Available", True, "", "", (OWN_TAG, "x"), True)
    assert str(shown) == "disk d-1 (Available, since now, costs)"
