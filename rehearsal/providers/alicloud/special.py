"""What of the resource types no table tells (docs/facts/alicloud.md §1 and §6)."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from rehearsal.providers.alicloud.client import at, tags_in
from rehearsal.providers.alicloud.kinds import ApiKind
from rehearsal.providers.base import Failure, ProviderError
from rehearsal.providers.values import UNKNOWN, Properties, Value


class Network(ApiKind):
    """alicloud_vpc: its route table is asked for apart."""

    def describe(self, id: str) -> Any | None:  # noqa: ANN401
        found = super().describe(id)
        if found is not None:
            tables = self.call("DescribeRouteTableList", VpcId=id)
            first = at(tables, "RouterTableList.RouterTableListType")[0]
            found["RouteTableId"] = first["RouteTableId"]
        return found


class EcsKeyPair(ApiKind):
    """alicloud_ecs_key_pair: a changed key is silently not applied."""

    def target(self, id: str) -> dict[str, Any]:
        return {"KeyPairNames": json.dumps([id])}


class SecurityGroup(ApiKind):
    """alicloud_security_group: who may talk within it is said by calls of their own."""

    def settle(self, id: str, inputs: Properties) -> None:
        if inputs.get("innerAccessPolicy"):
            self.modify(id, {"innerAccessPolicy"}, inputs)

    def modify(self, id: str, changed: set[str], inputs: Properties) -> None:
        super().modify(id, changed, inputs)
        if "innerAccessPolicy" in changed:
            policy = inputs.get("innerAccessPolicy", "Accept")
            self.call("ModifySecurityGroupPolicy", SecurityGroupId=id, InnerAccessPolicy=policy)

    def describe(self, id: str) -> Any | None:  # noqa: ANN401
        found = super().describe(id)
        if found is not None:
            attributes = self.call("DescribeSecurityGroupAttribute", SecurityGroupId=id)
            found["InnerAccessPolicy"] = attributes["InnerAccessPolicy"]
        return found

    def outputs(self, id: str, found: Any, known: Properties) -> Properties:  # noqa: ANN401
        open_inside = found["InnerAccessPolicy"] == "Accept"
        return {**super().outputs(id, found, known), "innerAccess": open_inside}


class EipAssociation(ApiKind):
    """alicloud_eip_association: its id names the address and the server."""

    def named(self, answer: Any, inputs: Properties) -> str:  # noqa: ANN401
        return f"{inputs['allocationId']}:{inputs['instanceId']}"

    def describe(self, id: str) -> Any | None:  # noqa: ANN401
        """Gone when the address is free, or another server's."""
        address, _, instance = id.partition(":")
        found = super().describe(address)
        return found if found and found["InstanceId"] == instance else None

    def target(self, id: str) -> dict[str, Any]:
        address, _, instance = id.partition(":")
        return {"AllocationId": address, "InstanceId": instance}


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
        said = [str(filled[name]) for name in (*names, "policy", "priority")]
        id = ":".join(said)
        permission = {f"Permissions.1.{name}": value for name, value in _said(id).items()}
        self.call(self.table.actions[0], SecurityGroupId=said[0], **permission)
        return id, self._present(id, inputs)

    def describe(self, id: str) -> Any | None:  # noqa: ANN401
        """The one of the group's rules that says the same, a network without bits behind it."""
        answer = super().describe(id.split(":")[0])
        said = _said(id)
        said["SourceCidrIp"] = str(ipaddress.IPv4Network(said["SourceCidrIp"], strict=False))
        rows = at(answer, "Permissions.Permission") if answer else []
        same = (row for row in rows if all(str(row[k]).lower() == v for k, v in said.items()))
        return next(same, None)

    def outputs(self, id: str, found: Any, known: Properties) -> Properties:  # noqa: ANN401
        group, direction, protocol, ports, _, _, policy, priority = id.split(":")
        return {
            **super().outputs(id, found, known),
            "cidrIp": found["SourceCidrIp"],
            "ipProtocol": protocol,
            "policy": policy,
            "portRange": ports,
            "priority": int(priority),
            "securityGroupId": group,
            "type": direction,
        }

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """A group that has gone took its rules with it."""
        if self.describe(id) is not None:
            self.call(self.table.actions[3], SecurityGroupId=id.split(":")[0], **_said(id))


def _said(id: str) -> dict[str, str]:
    names = ("IpProtocol", "PortRange", "NicType", "SourceCidrIp", "Policy", "Priority")
    return dict(zip(names, id.split(":")[2:], strict=True))


class EcsInstance(ApiKind):
    """alicloud_instance: rented by one call, read by eight, changed by one per attribute."""

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """Of the schema's checks the one that a lab's settings could meet."""
        inputs, failures = super().check(old, new)
        mbps = new.get("internetMaxBandwidthOut", 0)
        if mbps is not UNKNOWN and not 0 <= mbps <= 100:
            wrong = f"expected internet_max_bandwidth_out to be in the range (0 - 100), got {mbps}"
            failures.append(("internetMaxBandwidthOut", wrong))
        return inputs, failures

    def suppresses(self, name: str, old: Value, new: Value) -> bool:
        """The provider's DiffSuppress functions that matter here."""
        if old is UNKNOWN or new is UNKNOWN:
            return False
        if name == "autoReleaseTime":
            return lease_suppressed(str(old or ""), str(new or ""))
        if name in self.table.defaults:  # of servers paid by the month
            return True
        return name == "securityGroups" and sorted(old or []) == sorted(new or [])

    def planned(self, inputs: Properties, old_outputs: Properties | None) -> Properties:
        """A public address comes and goes with the bandwidth."""
        found = super().planned(inputs, old_outputs)
        if old_outputs is not None:
            before = bool(old_outputs.get("internetMaxBandwidthOut"))
            after = inputs.get("internetMaxBandwidthOut", 0)
            if after is UNKNOWN or bool(after) != before:
                found["publicIp"] = UNKNOWN
        return found

    def order(self, inputs: Properties) -> dict[str, Any]:
        return {**super().order(inputs), "DryRun": False}

    def named(self, answer: Any, inputs: Properties) -> str:  # noqa: ANN401
        return str(answer["InstanceIdSets"]["InstanceIdSet"][0])

    def settle(self, id: str, inputs: Properties) -> None:
        if inputs.get("volumeTags"):
            self.tag("disk", self._disk(id)["DiskId"], {}, inputs["volumeTags"])
        if inputs.get("httpTokens"):
            self._set_metadata(id, inputs)

    def modify(self, id: str, changed: set[str], inputs: Properties) -> None:
        """One call per changed attribute; for some of them the server is stopped."""
        super().modify(id, changed, inputs)
        if changed & {"httpEndpoint", "httpTokens"}:
            self._set_metadata(id, inputs)
        if "volumeTags" in changed:
            disk = self._disk(id)
            self.tag("disk", disk["DiskId"], tags_in(disk), inputs.get("volumeTags") or {})
        if "internetMaxBandwidthOut" in changed:
            mbps = int(inputs.get("internetMaxBandwidthOut") or 0)
            self.call("ModifyInstanceNetworkSpec", InstanceId=id, InternetMaxBandwidthOut=mbps)
        if "autoReleaseTime" in changed:
            ends = str(inputs.get("autoReleaseTime") or "")
            self.call("ModifyInstanceAutoReleaseTime", InstanceId=id, AutoReleaseTime=ends)
        if "systemDiskSize" in changed:
            size = int(inputs["systemDiskSize"])
            self.call("ResizeDisk", DiskId=self._disk(id)["DiskId"], NewSize=size)
        if "keyName" in changed:
            name = inputs.get("keyName")
            action, pair = (
                ("AttachKeyPair", {"KeyPairName": name}) if name else ("DetachKeyPair", {})
            )
            self.call(action, InstanceIds=json.dumps([id]), **pair)
        if changed & {"instanceType", "keyName"}:
            self._restart(id, changed, inputs)

    def target(self, id: str) -> dict[str, Any]:
        """A running one too."""
        return {"InstanceId": id, "Force": True}

    def _restart(self, id: str, changed: set[str], inputs: Properties) -> None:
        self.call("StopInstance", InstanceId=id)
        if "instanceType" in changed:
            self.call("ModifyInstanceSpec", InstanceId=id, InstanceType=inputs["instanceType"])
        self.call("StartInstance", InstanceId=id)

    def _set_metadata(self, id: str, inputs: Properties) -> None:
        self.call(
            "ModifyInstanceMetadataOptions",
            InstanceId=id,
            HttpEndpoint=inputs.get("httpEndpoint") or "enabled",
            HttpTokens=inputs.get("httpTokens"),
        )

    def describe(self, id: str) -> Any | None:  # noqa: ANN401
        """All that the provider asks at every read: a refusal of any of them fails it."""
        ids = json.dumps([id])
        rows = at(self.call("DescribeInstances", InstanceIds=ids), self.table.rows)
        if not rows:
            return None
        for action in ("DescribeInstanceRamRole", "DescribeInstanceAttachmentAttributes"):
            self.call(action, InstanceIds=ids)
        self.call("DescribeInstanceAttribute", InstanceId=id)
        self.call("DescribeUserData", InstanceId=id)
        maintenance = self.call("DescribeInstanceMaintenanceAttributes", InstanceId=[id])
        interface = at(rows[0], "NetworkInterfaces.NetworkInterface")[0]["NetworkInterfaceId"]
        interfaces = self.call("DescribeNetworkInterfaces", NetworkInterfaceId=[interface])
        return {
            **rows[0],
            "Disk": self._disk(id),
            "Maintenance": at(maintenance, "MaintenanceAttributes.MaintenanceAttribute")[0],
            "Interface": at(interfaces, "NetworkInterfaceSets.NetworkInterfaceSet")[0],
        }

    def outputs(self, id: str, found: Any, known: Properties) -> Properties:  # noqa: ANN401
        addresses = at(found, "PublicIpAddress.IpAddress")
        return {
            **super().outputs(id, found, {}),
            "publicIp": addresses[0] if addresses else "",
            "userData": "",
            "volumeTags": tags_in(found["Disk"]),
        }

    def _disk(self, id: str) -> Any:  # noqa: ANN401
        return at(self.call("DescribeDisks", InstanceId=id, DiskType="system"), "Disks.Disk")[0]


def lease_suppressed(old: str, new: str) -> bool:
    """Whether the provider takes the lease's end `new` for no change of `old`.

    Its `HasPrefix(new, Trim(old, ":00Z"))` trims a set of characters, not a suffix, so a time that
    ends in a zero loses more than meant, and later times of the same hours count as equal
    (docs/facts/alicloud.md §8).
    """
    return bool(old) and bool(new) and new.startswith(old.strip(":0Z"))


SPECIAL: dict[str, type[ApiKind]] = {
    "alicloud:vpc/network:Network": Network,
    "alicloud:ecs/ecsKeyPair:EcsKeyPair": EcsKeyPair,
    "alicloud:ecs/securityGroup:SecurityGroup": SecurityGroup,
    "alicloud:ecs/securityGroupRule:SecurityGroupRule": SecurityGroupRule,
    "alicloud:ecs/eipAssociation:EipAssociation": EipAssociation,
    "alicloud:ecs/instance:Instance": EcsInstance,
}
