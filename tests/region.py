"""The emulated region for tests: its data centre runs nothing, and a whole life goes through it."""

import threading
from typing import Any

from provisioning.server_problems import OWN_TAG
from rehearsal.cloud import ACCESS_KEY, Cloud, Instance, market, serve_region
from rehearsal.cloud.ram import Ram
from rehearsal.providers.alicloud import AlicloudPackage, AlicloudProvider
from rehearsal.providers.base import State

REGION = "cn-hangzhou"
INSTANCE = "alicloud:ecs/instance:Instance"
RULE = "alicloud:ecs/securityGroupRule:SecurityGroupRule"
SSH_RULE = {"type": "ingress", "ipProtocol": "tcp", "nicType": "intranet", "portRange": "22/22"}
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


class Region:
    """An emulated region and a provider configured for it; `made` is what came of it."""

    def __init__(self, policy: str | None = None) -> None:
        self.cloud = Cloud(Recorder(), ram=Ram(policy))
        self.endpoint = serve_region(self.cloud)
        self.package = AlicloudPackage(self.endpoint.address, ACCESS_KEY)
        self.provider: AlicloudProvider = self.package.configure({"region": REGION})
        self.made: list[tuple[str, State]] = []

    def make(self, token: str, **inputs: Any) -> State:
        kind = self.provider.kind(token)
        checked, failures = kind.check({}, inputs)
        assert failures == []
        id, outputs = kind.create(checked, 0)
        self.made.append((token, State(id, checked, outputs)))
        return self.made[-1][1]

    def change(self, at: int, **changes: Any) -> None:
        token, old = self.made[at]
        wanted = {**old.inputs, **changes}
        outputs = self.provider.kind(token).update(old, wanted, 0)
        self.made[at] = (token, State(old.id, wanted, outputs))

    def network(self, zone: str, **tags: Any) -> str:
        """A security group in a network with a subnet; the subnet is made before it."""
        vpc = self.make("alicloud:vpc/network:Network", cidrBlock="172.16.0.0/16", **tags).id
        subnet = {"vpcId": vpc, "zoneId": zone, "cidrBlock": "172.16.0.0/24"}
        self.make("alicloud:vpc/switch:Switch", **subnet, **tags)
        return self.make("alicloud:ecs/securityGroup:SecurityGroup", vpcId=vpc, **tags).id

    def server(self, group: str, **changes: Any) -> State:
        order = {
            "imageId": PLAIN_IMAGE,
            "instanceType": market.REFERENCE_TYPE,
            "vswitchId": self.made[1][1].id,
            "securityGroups": [group],
            "systemDiskSize": 100,
            "systemDiskCategory": "cloud_essd",
            "internetMaxBandwidthOut": 100,
        }
        return self.make(INSTANCE, **{**order, **changes})

    def close(self) -> None:
        self.endpoint.stop()
        self.cloud.close()


class Life(Region):
    """A server and all around it made, changed in every way the settings allow, and deleted."""

    def live(self) -> None:
        tags = {OWN_TAG: "x", "old": "y"}
        group = self.network(self._ask(), tags=tags)
        self.make(RULE, **SSH_RULE, securityGroupId=group, cidrIp="198.18.0.5/32")
        for name in ("lab", "other"):
            key = {"keyPairName": name, "publicKey": "ssh-rsa AAAA", "tags": tags}
            self.make("alicloud:ecs/ecsKeyPair:EcsKeyPair", **key)
        metadata = {"httpTokens": "required", "httpEndpoint": "enabled"}
        of_disk = {"volumeTags": {OWN_TAG: "x"}}
        server = self.server(group, keyName="lab", tags=tags, **metadata, **of_disk).id
        self.change(0, vpcName="new", tags={OWN_TAG: "x"})
        self.change(1, vswitchName="new", tags={OWN_TAG: "x"})
        self.change(2, innerAccessPolicy="Drop", securityGroupName="new")
        self._change_server()
        eip = self.make("alicloud:ecs/eipAddress:EipAddress", bandwidth="100", tags=tags).id
        self.make("alicloud:ecs/eipAssociation:EipAssociation", allocationId=eip, instanceId=server)
        self.change(7, addressName="new")
        while self.made:
            token, state = self.made.pop()
            self.provider.kind(token).delete(state, 0)
        assert self.cloud.inventory() == []

    def _ask(self) -> str:
        self.provider.invoke("alicloud:ecs/getImages:getImages", {"owners": "system"})
        token = "alicloud:ecs/getInstanceTypes:getInstanceTypes"
        found = self.provider.invoke(token, {"instanceType": market.REFERENCE_TYPE})
        return str(found["instanceTypes"][0]["availabilityZones"][0])

    def _change_server(self) -> None:
        self.cloud.set_stock("ecs.gn7i-c8g1.2xlarge", market.gpu_zone(REGION), 1)
        for changes in (
            {"instanceType": "ecs.gn7i-c8g1.2xlarge"},
            {"instanceName": "new", "tags": {OWN_TAG: "x", "new": "z"}},
            {"systemDiskSize": 200},
            {"autoReleaseTime": "2028-01-01T10:37:00Z"},
            {"keyName": "other"},
            {"keyName": None},
            {"internetMaxBandwidthOut": 0},
        ):
            self.change(6, **changes)
