"""What the attached alicloud package makes of a change (docs/facts/alicloud.md 1.1, 1.2 and 6)."""

from collections.abc import Iterator
from typing import Any

import pytest

from rehearsal.cloud import ACCESS_KEY, Cloud, market, serve_region
from rehearsal.providers.alicloud import AlicloudPackage, AlicloudProvider
from rehearsal.providers.base import Change, Kind, ProviderError
from rehearsal.providers.values import UNKNOWN
from tests.region import PLAIN_IMAGE, REGION, Recorder

INSTANCE = "alicloud:ecs/instance:Instance"
RULE = "alicloud:ecs/securityGroupRule:SecurityGroupRule"


class Region:
    """A configured provider, and the resources of a server in it."""

    def __init__(self) -> None:
        self.cloud = Cloud(Recorder())
        self.endpoint = serve_region(self.cloud)
        self.package = AlicloudPackage(self.endpoint.address, ACCESS_KEY)
        self.provider: AlicloudProvider = self.package.configure({"region": REGION})
        self.inputs: dict[str, Any] = {}

    def make(self, token: str, **inputs: Any) -> tuple[str, dict[str, Any]]:
        kind = self.provider.kind(token)
        checked, failures = kind.check({}, inputs)
        assert failures == []
        self.inputs = checked
        return kind.create(checked, 0)

    def server(self, **changes: Any) -> tuple[Kind, str, dict[str, Any], dict[str, Any]]:
        """Its kind, id, inputs and outputs."""
        vpc, _ = self.make("alicloud:vpc/network:Network", cidrBlock="172.16.0.0/16")
        switch, _ = self.make(
            "alicloud:vpc/switch:Switch",
            vpcId=vpc,
            cidrBlock="172.16.0.0/24",
            zoneId=market.gpu_zone(REGION),
        )
        group, _ = self.make("alicloud:ecs/securityGroup:SecurityGroup", vpcId=vpc)
        id, outputs = self.make(
            INSTANCE,
            **{
                "imageId": PLAIN_IMAGE,
                "instanceType": market.REFERENCE_TYPE,
                "vswitchId": switch,
                "securityGroups": [group],
                "systemDiskSize": 100,
                "systemDiskCategory": "cloud_essd",
                "instanceChargeType": "PostPaid",
                "internetMaxBandwidthOut": 100,
                **changes,
            },
        )
        return self.provider.kind(INSTANCE), id, self.inputs, outputs


@pytest.fixture
def region() -> Iterator[Region]:
    made = Region()
    yield made
    made.endpoint.stop()
    made.cloud.close()


def _change(region: Region, given: dict[str, Any], changes: dict[str, Any]) -> Change:
    kind, id, inputs, outputs = region.server(**given)
    wanted = {name: value for name, value in {**inputs, **changes}.items() if value is not None}
    return kind.diff(id, inputs, outputs, wanted, ())


def test_nothing_changed_is_no_change(region: Region) -> None:
    kind, id, inputs, outputs = region.server(
        autoReleaseTime="2028-01-01T10:37:00Z", tags={"lab": "x"}
    )
    assert not kind.diff(id, inputs, outputs, inputs, ()).changes
    same_id, read_inputs, read_outputs = kind.read(id, inputs, outputs)
    assert (same_id, read_inputs, read_outputs) == (id, inputs, outputs)


@pytest.mark.parametrize(
    ("changes", "updates", "replaces"),
    [
        ({"imageId": market.PLAIN_IMAGES[0].id}, ["imageId"], []),
        ({"systemDiskSize": 200}, ["systemDiskSize"], []),
        ({"systemDiskCategory": "cloud_auto"}, [], ["systemDiskCategory"]),
        ({"availabilityZone": "cn-hangzhou-b"}, [], ["availabilityZone"]),
        ({"spotStrategy": "SpotAsPriceGo"}, [], ["spotStrategy"]),
        ({"imageId": UNKNOWN}, ["imageId"], []),
        ({"systemDiskSize": None}, [], []),
    ],
)
def test_what_a_change_of_the_server_means(
    region: Region, changes: dict[str, Any], updates: list[str], replaces: list[str]
) -> None:
    found = _change(region, {}, changes)
    assert (found.updates, found.replaces) == (updates, replaces)


def test_a_lease_may_silently_stay_as_it_was(region: Region) -> None:
    given = {"autoReleaseTime": "2028-01-01T20:00:00Z"}
    assert not _change(region, given, {"autoReleaseTime": "2028-01-01T23:37:00Z"}).changes


def test_an_update_reaches_the_cloud(region: Region) -> None:
    kind, id, inputs, outputs = region.server()
    wanted = {**inputs, "systemDiskSize": 200, "autoReleaseTime": "2028-01-01T10:37:00Z"}
    changed = kind.update(id, inputs, outputs, wanted, 0)
    assert changed["systemDiskSize"] == 200
    assert region.cloud.instances[id].disk_gib == 200
    assert changed["autoReleaseTime"] == "2028-01-01T10:37Z"


def test_a_server_that_has_gone_reads_as_gone(region: Region) -> None:
    kind, id, inputs, outputs = region.server()
    region.cloud.release(id)
    assert kind.read(id, inputs, outputs)[0] is None


def test_a_changed_key_is_silently_not_applied(region: Region) -> None:
    token = "alicloud:ecs/ecsKeyPair:EcsKeyPair"
    id, outputs = region.make(token, keyPairName="lab", publicKey="ssh-rsa AAAA")
    kind = region.provider.kind(token)
    wanted = {**region.inputs, "publicKey": "ssh-rsa BBBB"}
    assert kind.diff(id, region.inputs, outputs, wanted, ()).updates == ["publicKey"]
    assert kind.update(id, region.inputs, outputs, wanted, 0)["publicKey"] == "ssh-rsa BBBB"
    assert region.cloud.key_pairs[REGION, "lab"].public_key == "ssh-rsa AAAA"


def _group(region: Region) -> str:
    vpc, _ = region.make("alicloud:vpc/network:Network", cidrBlock="10.0.0.0/8")
    return region.make("alicloud:ecs/securityGroup:SecurityGroup", vpcId=vpc)[0]


WANTED = {
    "type": "ingress",
    "ipProtocol": "tcp",
    "nicType": "intranet",
    "portRange": "3001/3001",
    "cidrIp": "10.1.2.3/32",
}


def test_a_rules_id_is_made_of_its_parts(region: Region) -> None:
    group = _group(region)
    id, outputs = region.make(RULE, **WANTED, securityGroupId=group)
    assert id == f"{group}:ingress:tcp:3001/3001:intranet:10.1.2.3/32:accept:1"
    assert outputs["portRange"] == "3001/3001"


def test_a_network_with_bits_behind_its_mask_never_comes_to_rest(region: Region) -> None:
    wanted = {**WANTED, "cidrIp": "10.1.2.3/24", "securityGroupId": _group(region)}
    id, outputs = region.make(RULE, **wanted)
    found = region.provider.kind(RULE).diff(id, region.inputs, outputs, region.inputs, ())
    assert found.replaces == ["cidrIp"]


def test_the_zone_is_picked_from_what_is_in_stock(region: Region) -> None:
    token = "alicloud:ecs/getInstanceTypes:getInstanceTypes"
    wanted = {"instanceType": market.REFERENCE_TYPE, "systemDiskCategory": "cloud_essd"}
    found = region.provider.invoke(token, wanted)["instanceTypes"]
    assert [item["availabilityZones"] for item in found] == [[market.gpu_zone(REGION)]]
    assert found[0]["gpus"] == [{"amount": "1", "category": "NVIDIA A10"}]
    region.server()
    assert region.provider.invoke(token, wanted)["instanceTypes"] == []


def test_images_are_found_by_expression(region: Region) -> None:
    token = "alicloud:ecs/getImages:getImages"
    gpu = r"(?i)^ubuntu_2[24]_04_.*gpu"
    found = region.provider.invoke(token, {"owners": "system", "nameRegex": gpu})["ids"]
    assert found == [image.id for image in market.newest(market.GPU_IMAGES)]
    region.cloud.gpu_images = False
    assert region.provider.invoke(token, {"owners": "system", "nameRegex": gpu})["ids"] == []


def test_what_the_rehearsal_does_not_have_is_named(region: Region) -> None:
    with pytest.raises(ProviderError, match="alicloud:rds/instance:Instance"):
        region.provider.kind("alicloud:rds/instance:Instance")
