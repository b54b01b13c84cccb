"""What of the resource types no table tells (docs/facts/alicloud.md §1 and §6)."""

import ipaddress
import json
from collections.abc import Sequence
from typing import Any

from rehearsal.providers.alicloud.client import Answer, at, tags_in
from rehearsal.providers.alicloud.kinds import ApiKind
from rehearsal.providers.base import Change, ProviderError, State
from rehearsal.providers.values import UNKNOWN, Properties, Value


class EcsKeyPair(ApiKind):
    """alicloud_ecs_key_pair: a changed key is silently not applied."""

    def target(self, id: str) -> dict[str, Any]:
        return {"KeyPairNames": json.dumps([id])}


class EipAssociation(ApiKind):
    """alicloud_eip_association: its id names the address and the server."""

    def named(self, answer: Answer, inputs: Properties) -> str:
        return f"{inputs['allocationId']}:{inputs['instanceId']}"

    def describe(self, id: str) -> Answer | None:
        """Gone when the address is free, or another server's."""
        found = super().describe(id.split(":")[0])
        return found if found and found["InstanceId"] == id.split(":")[1] else None

    def target(self, id: str) -> dict[str, Any]:
        return dict(zip(("AllocationId", "InstanceId"), id.split(":"), strict=True))


class SecurityGroupRule(ApiKind):
    """alicloud_security_group_rule has no name in the cloud: its id is made of what it says."""

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        if inputs.get("nicType", "internet") != "intranet":
            raise ProviderError(
                "When security group in the vpc or authorizing permission for source/destination "
                "security group, the nic_type must be 'intranet'."
            )
        names = ("securityGroupId", "type", "ipProtocol", "portRange", "nicType", "cidrIp")
        filled = {"policy": "accept", "priority": 1, **inputs}
        id = ":".join(str(filled[name]) for name in (*names, "policy", "priority"))
        permission = {f"Permissions.1.{name}": value for name, value in _said(id).items()}
        self.call(self.table.creates, SecurityGroupId=inputs["securityGroupId"], **permission)
        return id, self._present(id, inputs)

    def describe(self, id: str) -> Answer | None:
        """The one of the group's rules that says the same, a network without bits behind it."""
        answer = super().describe(id.split(":")[0])
        said = _said(id)
        said["SourceCidrIp"] = str(ipaddress.IPv4Network(said["SourceCidrIp"], strict=False))
        rows = at(answer, "Permissions.Permission") if answer else []
        same = (row for row in rows if all(str(row[k]).lower() == v for k, v in said.items()))
        return next(same, None)

    def outputs(self, id: str, found: Answer, known: Properties) -> Properties:
        group, direction, protocol, ports, _, _, policy, priority = id.split(":")
        told = {"securityGroupId": group, "type": direction, "ipProtocol": protocol}
        told |= {"portRange": ports, "policy": policy}
        return {**super().outputs(id, found, known), **told, "priority": int(priority)}

    def delete(self, old: State, timeout: float) -> None:
        """A group that has gone took its rules with it."""
        if self.describe(old.id) is not None:
            group = old.id.split(":")[0]
            self.call(self.table.deletes, SecurityGroupId=group, **_said(old.id))


def _said(id: str) -> dict[str, str]:
    names = ("IpProtocol", "PortRange", "NicType", "SourceCidrIp", "Policy", "Priority")
    return dict(zip(names, id.split(":")[2:], strict=True))


class Instance(ApiKind):
    """alicloud_instance: rented by one call, read by eight, changed by one per attribute."""

    def diff(self, old: State, new: Properties, ignore: Sequence[str]) -> Change:
        """A key that nobody asked for is a change too: it is optional, and not computed."""
        key = "systemDiskKmsKeyId"
        if told := old.outputs.get(key):
            old = old._replace(inputs={key: told, **old.inputs})
        return super().diff(old, new, ignore)

    def suppresses(self, name: str, old: Value, new: Value) -> bool:
        """The provider's DiffSuppress functions that matter here."""
        if old is UNKNOWN or new is UNKNOWN:
            return False
        if name == "autoReleaseTime":
            return lease_suppressed(str(old or ""), str(new or ""))
        if name == "securityGroups":
            return sorted(old or []) == sorted(new or [])
        return super().suppresses(name, old, new)

    def planned(self, inputs: Properties, old_outputs: Properties | None) -> Properties:
        """A public address comes and goes with the bandwidth."""
        found = super().planned(inputs, old_outputs)
        if old_outputs is not None:
            before = bool(old_outputs.get("internetMaxBandwidthOut"))
            after = inputs.get("internetMaxBandwidthOut", 0)
            if after is UNKNOWN or bool(after) != before:
                found["publicIp"] = UNKNOWN
        return found

    def named(self, answer: Answer, inputs: Properties) -> str:
        return str(answer["InstanceIdSets"]["InstanceIdSet"][0])

    def modify(self, id: str, changed: set[str], old: Properties, new: Properties) -> None:
        """One call per changed attribute; for some of them the server is stopped."""
        if "httpTokens" in changed:
            changed = {*changed, "httpEndpoint"}  # one call needs both
        super().modify(id, changed, old, new)
        if "volumeTags" in changed:
            before = old.get("volumeTags") or {}
            self.tag("disk", self._disk(id)["DiskId"], before, new.get("volumeTags") or {})
        if "systemDiskSize" in changed:
            self.call("ResizeDisk", DiskId=self._disk(id)["DiskId"], NewSize=new["systemDiskSize"])
        if "keyName" in changed:
            action = "AttachKeyPair" if new.get("keyName") else "DetachKeyPair"
            self.call(action, InstanceIds=json.dumps([id]), KeyPairName=new.get("keyName"))
        if changed & {"instanceType", "keyName"}:
            self.call("StopInstance", InstanceId=id)
            if "instanceType" in changed:
                self.call("ModifyInstanceSpec", InstanceId=id, InstanceType=new["instanceType"])
            self.call("StartInstance", InstanceId=id)

    def target(self, id: str) -> dict[str, Any]:
        return {"InstanceId": id, "Force": True}

    def describe(self, id: str) -> Answer | None:
        """All that the provider asks at every read: a refusal of any of them fails it."""
        ids = json.dumps([id])
        rows = at(self.call(self.table.describes, InstanceIds=ids), self.table.rows)
        if not rows:
            return None
        for action in ("DescribeInstanceRamRole", "DescribeInstanceAttachmentAttributes"):
            self.call(action, InstanceIds=ids)
        for action in self.table.also_asks:
            self.call(action, InstanceId=id)
        maintenance = self.call("DescribeInstanceMaintenanceAttributes", InstanceId=[id])
        interface = at(rows[0], "NetworkInterfaces.NetworkInterface")[0]["NetworkInterfaceId"]
        interfaces = self.call("DescribeNetworkInterfaces", NetworkInterfaceId=[interface])
        disk = self._disk(id)
        return {
            **rows[0],
            "Disk": disk,
            "VolumeTags": tags_in(disk),
            "Maintenance": at(maintenance, "MaintenanceAttributes.MaintenanceAttribute")[0],
            "Interface": at(interfaces, "NetworkInterfaceSets.NetworkInterfaceSet")[0],
            "PublicIp": "".join(at(rows[0], "PublicIpAddress.IpAddress")),
        }

    def _disk(self, id: str) -> Answer:
        disks = at(self.call("DescribeDisks", InstanceId=id, DiskType="system"), "Disks.Disk")
        return dict(disks[0])


def lease_suppressed(old: str, new: str) -> bool:
    """Whether the provider takes the lease's end `new` for no change of `old`.

    Its `HasPrefix(new, Trim(old, ":00Z"))` trims a set of characters, not a suffix, so a time that
    ends in a zero loses more than meant, and later times of the same hours count as equal
    (docs/facts/alicloud.md §8).
    """
    return bool(old) and bool(new) and new.startswith(old.strip(":0Z"))


SPECIAL: dict[str, type[ApiKind]] = {
    kind.__name__: kind for kind in (EcsKeyPair, EipAssociation, SecurityGroupRule, Instance)
}
"""By the last part of their tokens."""
