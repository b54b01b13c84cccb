"""The emulated region for tests: its data centre runs nothing, and a whole life goes through it."""

import threading
from typing import Any

from rehearsal.cloud import ACCESS_KEY, Cloud, Instance, market, serve_region
from rehearsal.cloud.ram import Ram
from rehearsal.providers.alicloud import AlicloudPackage

REGION = "cn-hangzhou"
PLAIN_IMAGE = "ubuntu_22_04_x64_20G_alibase_20241016.vhd"


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


class Life:
    """A server and all around it made, changed in every way the settings allow, and deleted."""

    def __init__(self, policy: str | None = None) -> None:
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
