"""README's RAM policy, held action by action by the emulated region."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rehearsal.cloud import ACCESS_KEY, Cloud, market, rpc, serve_region
from rehearsal.cloud.ram import Ram, policy_in
from rehearsal.cloud.refusals import Refusal
from rehearsal.providers.alicloud import AlicloudPackage, ApiError
from tests.unit.fake_data_centre import PLAIN_IMAGE, REGION, Recorder

README = Path(__file__).parents[2] / "README.md"
POLICY = policy_in(README.read_text())
NOT_NEEDED = {
    "ecs:ListTagResources": "the real plugin's other way to read tags",
    "vpc:ListTagResources": "the real plugin's other way to read tags",
    "ecs:RebootInstance": "the operator's, in the console",
    "ecs:ModifyDiskSpec": "another performance level of the disk, in place",
    "ecs:ModifyDiskAttribute": "another name of the disk",
}
"""Actions that no rehearsed life of a server needs, and what they are granted for."""


def _allowed() -> list[str]:
    return [action for rule in json.loads(POLICY)["Statement"][:1] for action in rule["Action"]]


def _without(action: str) -> str:
    document = json.loads(POLICY)
    document["Statement"][0]["Action"].remove(action)
    return json.dumps(document)


class _Life:
    """A server and all around it made, changed in every way the settings allow, and deleted."""

    def __init__(self, policy: str) -> None:
        self.cloud = Cloud(Recorder(), ram=Ram(policy))
        self.endpoint = serve_region(self.cloud)
        package = AlicloudPackage(self.endpoint.address, ACCESS_KEY)
        self.provider = package.configure({"region": REGION})
        self.made: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = []

    def make(self, token: str, **inputs: Any) -> str:
        kind = self.provider.kind(token)
        checked, _ = kind.check({}, {**inputs})
        id, outputs = kind.create(checked, 0)
        self.made.append((token, id, checked, outputs))
        return id

    def change(self, at: int, **changes: Any) -> None:
        token, id, inputs, outputs = self.made[at]
        wanted = {**inputs, **changes}
        outputs = self.provider.kind(token).update(id, inputs, outputs, wanted, 0)
        self.made[at] = (token, id, wanted, outputs)

    def live(self) -> None:
        tags = {"lab": "x", "old": "y"}
        zone = self._ask()
        vpc = self.make("alicloud:vpc/network:Network", cidrBlock="172.16.0.0/16", tags=tags)
        self.make(
            "alicloud:vpc/switch:Switch",
            vpcId=vpc,
            zoneId=zone,
            cidrBlock="172.16.0.0/24",
            tags=tags,
        )
        group = self.make("alicloud:ecs/securityGroup:SecurityGroup", vpcId=vpc, tags=tags)
        self.make(
            "alicloud:ecs/securityGroupRule:SecurityGroupRule",
            securityGroupId=group,
            type="ingress",
            ipProtocol="tcp",
            nicType="intranet",
            portRange="22/22",
            cidrIp="198.18.0.5/32",
        )
        for name in ("lab", "other"):
            key = {"keyPairName": name, "publicKey": "ssh-rsa AAAA", "tags": tags}
            self.make("alicloud:ecs/ecsKeyPair:EcsKeyPair", **key)
        server = self._rent(group)
        self.change(0, vpcName="new", tags={"lab": "x"})
        self.change(1, vswitchName="new", tags={"lab": "x"})
        self.change(2, innerAccessPolicy="Drop", securityGroupName="new")
        self._change_server()
        eip = self.make("alicloud:ecs/eipAddress:EipAddress", bandwidth="100", tags=tags)
        self.make("alicloud:ecs/eipAssociation:EipAssociation", allocationId=eip, instanceId=server)
        self.change(7, addressName="new")
        while self.made:
            token, id, inputs, outputs = self.made.pop()
            self.provider.kind(token).delete(id, inputs, outputs, 0)
        assert self.cloud.inventory() == []

    def _ask(self) -> str:
        self.provider.invoke("alicloud:ecs/getImages:getImages", {"owners": "system"})
        token = "alicloud:ecs/getInstanceTypes:getInstanceTypes"
        found = self.provider.invoke(token, {"instanceType": market.REFERENCE_TYPE})
        return str(found["instanceTypes"][0]["availabilityZones"][0])

    def _rent(self, group: str) -> str:
        return self.make(
            "alicloud:ecs/instance:Instance",
            imageId=PLAIN_IMAGE,
            instanceType=market.REFERENCE_TYPE,
            vswitchId=self.made[1][1],
            securityGroups=[group],
            keyName="lab",
            systemDiskSize=100,
            systemDiskCategory="cloud_essd",
            internetMaxBandwidthOut=100,
            httpTokens="required",
            httpEndpoint="enabled",
            tags={"lab": "x", "old": "y"},
            volumeTags={"lab": "x"},
        )

    def _change_server(self) -> None:
        self.cloud.set_stock("ecs.gn7i-c8g1.2xlarge", market.gpu_zone(REGION), 1)
        for changes in (
            {"instanceType": "ecs.gn7i-c8g1.2xlarge"},
            {"instanceName": "new", "tags": {"lab": "x"}},
            {"systemDiskSize": 200},
            {"autoReleaseTime": "2028-01-01T10:37:00Z"},
            {"keyName": "other"},
            {"keyName": None},
            {"internetMaxBandwidthOut": 0},
        ):
            self.change(6, **changes)

    def close(self) -> None:
        self.endpoint.stop()
        self.cloud.close()


def _lived(policy: str) -> str:
    """The action that was missed, "" if none was."""
    life = _Life(policy)
    try:
        life.live()
    except ApiError as error:
        return str(error)
    finally:
        life.close()
    return ""


def test_the_policy_of_the_readme_is_enough() -> None:
    assert _lived(POLICY) == ""


@pytest.mark.parametrize("action", _allowed())
def test_each_action_taken_away_is_missed_or_said_not_to_be_needed(action: str) -> None:
    missed = _lived(_without(action))
    if action in NOT_NEEDED:
        assert missed == "", f"{action} is needed: {missed}"
    else:
        assert "Forbidden.RAM" in missed, f"{action} is granted and never needed"


def test_what_is_denied_is_denied_whatever_is_allowed() -> None:
    with pytest.raises(Refusal, match="Forbidden"):
        Ram(POLICY).check("ecs:ModifyInstanceChargeType")
    with pytest.raises(ValueError, match="no resources in a policy"):
        Ram(json.dumps({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "acs:ecs"}]}))


def test_a_refused_call_names_what_is_missing() -> None:
    cloud = Cloud(Recorder(), ram=Ram(_without("ecs:RunInstances")))
    asked = {"Action": "RunInstances", "Version": "2014-05-26", "AccessKeyId": ACCESS_KEY}
    status, body = rpc.answer(cloud, frozenset({ACCESS_KEY}), asked)
    cloud.close()
    assert (status, body["Code"]) == (403, "Forbidden.RAM")
    assert "ecs:RunInstances" in body["Message"]
