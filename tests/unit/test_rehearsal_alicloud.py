"""What the attached alicloud package makes of a change (docs/facts/alicloud.md 1.1, 1.2 and 6)."""

from collections.abc import Iterator
from typing import Any

import pytest

from rehearsal.cloud import market
from rehearsal.providers.base import Change, Kind, ProviderError, State
from rehearsal.providers.values import UNKNOWN
from tests.region import INSTANCE, REGION, RULE, SSH_RULE, Region


@pytest.fixture
def region() -> Iterator[Region]:
    made = Region()
    yield made
    made.close()


def server(region: Region, **changes: Any) -> tuple[Kind, State]:
    group = region.network(market.gpu_zone(REGION))
    made = region.server(group, instanceChargeType="PostPaid", **changes)
    return region.provider.kind(INSTANCE), made


def _change(region: Region, given: dict[str, Any], changes: dict[str, Any]) -> Change:
    kind, made = server(region, **given)
    wanted = {**made.inputs, **changes}
    return kind.diff(made, {name: v for name, v in wanted.items() if v is not None}, ())


def test_nothing_changed_is_no_change_and_what_has_gone_reads_as_gone(region: Region) -> None:
    kind, made = server(region, autoReleaseTime="2028-01-01T10:37:00Z", tags={"lab": "x"})
    assert not kind.diff(made, made.inputs, ()).changes
    assert kind.read(made) == made
    region.cloud.release(made.id)
    assert kind.read(made) is None


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


def test_the_cloud_s_own_key_of_an_encrypted_disk_is_a_change_unless_it_is_ignored(
    region: Region,
) -> None:
    kind, made = server(region, systemDiskEncrypted=True)
    assert made.outputs["systemDiskEncrypted"] is True
    assert kind.diff(made, made.inputs, ()).replaces == ["systemDiskKmsKeyId"]
    assert not kind.diff(made, made.inputs, ["systemDiskKmsKeyId"]).changes
    without = {k: v for k, v in made.inputs.items() if k != "systemDiskEncrypted"}
    assert not kind.diff(made, without, ["systemDiskKmsKeyId"]).changes, "it stays encrypted"


def test_an_input_that_would_be_lost_is_refused(region: Region) -> None:
    _, failures = region.provider.kind(INSTANCE).check({}, {"imageId": "x", "userData": "#!"})
    assert [name for name, _ in failures] == ["userData"]


def test_a_lease_may_silently_stay_as_it_was(region: Region) -> None:
    given = {"autoReleaseTime": "2028-01-01T20:00:00Z"}
    assert not _change(region, given, {"autoReleaseTime": "2028-01-01T23:37:00Z"}).changes


def test_an_update_reaches_the_cloud(region: Region) -> None:
    kind, made = server(region)
    wanted = {**made.inputs, "systemDiskSize": 200, "autoReleaseTime": "2028-01-01T10:37:00Z"}
    changed = kind.update(made, wanted, 0)
    assert changed["systemDiskSize"] == 200
    assert region.cloud.instances[made.id].disk_gib == 200
    assert changed["autoReleaseTime"] == "2028-01-01T10:37Z"


def test_a_changed_key_is_silently_not_applied(region: Region) -> None:
    token = "alicloud:ecs/ecsKeyPair:EcsKeyPair"
    made = region.make(token, keyPairName="lab", publicKey="ssh-rsa AAAA")
    kind = region.provider.kind(token)
    wanted = {**made.inputs, "publicKey": "ssh-rsa BBBB"}
    assert kind.diff(made, wanted, ()).updates == ["publicKey"]
    assert kind.update(made, wanted, 0)["publicKey"] == "ssh-rsa BBBB"
    assert region.cloud.key_pairs[REGION, "lab"].public_key == "ssh-rsa AAAA"


def test_a_rules_id_is_made_of_its_parts_and_bits_behind_its_mask_never_come_to_rest(
    region: Region,
) -> None:
    wanted = {**SSH_RULE, "securityGroupId": region.network(market.gpu_zone(REGION))}
    made = region.make(RULE, **wanted, cidrIp="10.1.2.3/32")
    group = wanted["securityGroupId"]
    assert made.id == f"{group}:ingress:tcp:22/22:intranet:10.1.2.3/32:accept:1"
    assert made.outputs["portRange"] == "22/22"
    made = region.make(RULE, **wanted, cidrIp="10.1.2.3/24")
    assert region.provider.kind(RULE).diff(made, made.inputs, ()).replaces == ["cidrIp"]


def test_the_zone_is_picked_from_what_is_in_stock(region: Region) -> None:
    token = "alicloud:ecs/getInstanceTypes:getInstanceTypes"
    wanted = {"instanceType": market.REFERENCE_TYPE, "systemDiskCategory": "cloud_essd"}
    found = region.provider.invoke(token, wanted)["instanceTypes"]
    assert [item["availabilityZones"] for item in found] == [[market.gpu_zone(REGION)]]
    assert found[0]["gpus"] == [{"amount": "1", "category": "NVIDIA A10"}]
    server(region)
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
