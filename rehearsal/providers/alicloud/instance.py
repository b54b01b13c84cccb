"""alicloud_instance (docs/facts/alicloud.md §1.2)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import Any, ClassVar

from rehearsal.cloud.market import DISK_CATEGORIES
from rehearsal.providers.alicloud.client import at, tags_in
from rehearsal.providers.alicloud.kinds import ApiKind, names, not_one_of
from rehearsal.providers.base import Failure, ProviderError
from rehearsal.providers.values import UNKNOWN, Properties, Value

_BY_LIST = ("DescribeInstanceRamRole", "DescribeInstanceAttachmentAttributes")
_PREPAID_ONLY = frozenset({"autoRenewPeriod", "periodUnit", "renewalStatus", "includeDataDisks"})
_METADATA = ("httpEndpoint", "httpTokens")
_STOPPED_FIRST = frozenset({"imageId", "instanceType"})
_REBOOTS = frozenset({"userData", "keyName", "hostName", "privateIp", "password"})


class EcsInstance(ApiKind):
    """A server: rented by one call, read by eight, changed by one per attribute."""

    resource, product, tag_type = "alicloud_instance", "ecs", "instance"
    actions = ("RunInstances", "DescribeInstances", "ModifyInstanceAttribute", "DeleteInstance")
    id_parameter, rows = "InstanceId", "Instances.Instance"
    sends: ClassVar = {
        "autoReleaseTime": "AutoReleaseTime",
        "availabilityZone": "ZoneId",
        "deletionProtection": "DeletionProtection",
        "description": "Description",
        "hostName": "HostName",
        "httpEndpoint": "HttpEndpoint",
        "httpTokens": "HttpTokens",
        "imageId": "ImageId",
        "instanceChargeType": "InstanceChargeType",
        "instanceName": "InstanceName",
        "instanceType": "InstanceType",
        "internetChargeType": "InternetChargeType",
        "internetMaxBandwidthOut": "InternetMaxBandwidthOut",
        "keyName": "KeyPairName",
        "privateIp": "PrivateIpAddress",
        "securityGroups": "SecurityGroupIds",
        "spotPriceLimit": "SpotPriceLimit",
        "spotStrategy": "SpotStrategy",
        "systemDiskCategory": "SystemDisk.Category",
        "systemDiskPerformanceLevel": "SystemDisk.PerformanceLevel",
        "systemDiskSize": "SystemDisk.Size",
        "vswitchId": "VSwitchId",
    }
    modifies = frozenset(
        {"deletionProtection", "description", "hostName", "instanceName", "securityGroups"}
    )
    shows: ClassVar = {
        "autoReleaseTime": "AutoReleaseTime",
        "availabilityZone": "ZoneId",
        "cpu": "Cpu",
        "createTime": "CreationTime",
        "creditSpecification": "CreditSpecification",
        "deletionProtection": "DeletionProtection",
        "deploymentSetId": "DeploymentSetId",
        "description": "Description",
        "expiredTime": "ExpiredTime",
        "hostName": "HostName",
        "httpEndpoint": "MetadataOptions.HttpEndpoint",
        "httpPutResponseHopLimit": "MetadataOptions.HttpPutResponseHopLimit",
        "httpTokens": "MetadataOptions.HttpTokens",
        "imageId": "ImageId",
        "instanceChargeType": "InstanceChargeType",
        "instanceName": "InstanceName",
        "instanceType": "InstanceType",
        "internetChargeType": "InternetChargeType",
        "internetMaxBandwidthIn": "InternetMaxBandwidthIn",
        "internetMaxBandwidthOut": "InternetMaxBandwidthOut",
        "keyName": "KeyPairName",
        "memory": "Memory",
        "osName": "OSName",
        "osType": "OSType",
        "resourceGroupId": "ResourceGroupId",
        "securityGroups": "SecurityGroupIds.SecurityGroupId",
        "spotDuration": "SpotDuration",
        "spotInterruptionBehavior": "SpotInterruptionBehavior",
        "spotPriceLimit": "SpotPriceLimit",
        "spotStrategy": "SpotStrategy",
        "status": "Status",
        "stoppedMode": "StoppedMode",
        "subnetId": "VpcAttributes.VSwitchId",
        "vpcId": "VpcAttributes.VpcId",
        "vswitchId": "VpcAttributes.VSwitchId",
        "systemDiskCategory": "Disk.Category",
        "systemDiskDescription": "Disk.Description",
        "systemDiskEncrypted": "Disk.Encrypted",
        "systemDiskId": "Disk.DiskId",
        "systemDiskName": "Disk.DiskName",
        "systemDiskPerformanceLevel": "Disk.PerformanceLevel",
        "systemDiskSize": "Disk.Size",
        "networkInterfaceId": "Interface.NetworkInterfaceId",
        "networkInterfaceTrafficMode": "Interface.NetworkInterfaceTrafficMode",
        "primaryIpAddress": "Interface.PrimaryIpAddress",
        "privateIp": "Interface.PrimaryIpAddress",
        "queuePairNumber": "Interface.QueuePairNumber",
        "sourceDestCheck": "Interface.SourceDestCheck",
        "maintenanceAction": "Maintenance.ActionOnMaintenance.Value",
        "maintenanceNotify": "Maintenance.NotifyOnMaintenance",
    }
    constant: ClassVar = {
        "autoRenewPeriod": 0,
        "dedicatedHostId": "",
        "dryRun": False,
        "enableHighDensityMode": False,
        "enableJumboFrame": False,
        "hpcClusterId": "",
        "imageOptions": {"loginAsNonRoot": False},
        "ipv6AddressCount": 0,
        "ipv6Addresses": [],
        "networkInterfaces": None,
        "periodUnit": "",
        "privatePoolOptionsId": "",
        "privatePoolOptionsMatchCriteria": "Open",
        "renewalStatus": "",
        "secondaryPrivateIpAddressCount": 0,
        "secondaryPrivateIps": [],
        "startTime": "",
        "systemDiskAutoSnapshotPolicyId": "",
        "systemDiskKmsKeyId": "",
        "systemDiskProvisionedIops": 0,
        "systemDiskStorageClusterId": "",
    }
    defaults: ClassVar[Properties] = {
        "autoRenewPeriod": 1,
        "includeDataDisks": True,
        "periodUnit": "Month",
        "renewalStatus": "Normal",
    }
    computed = names(
        "id publicIp privateIp primaryIpAddress systemDiskId status cpu memory createTime "
        "hostName osName networkInterfaceId vpcId"
    )
    keeps = names(
        "userData password autoRenewPeriod includeDataDisks periodUnit renewalStatus "
        "forceDelete dryRun instanceMetadataTags securityEnhancementStrategy"
    )
    optional_computed = names(
        "availabilityZone creditSpecification description hostName httpEndpoint "
        "httpPutResponseHopLimit httpTokens imageId instanceChargeType instanceType "
        "keyName privateIp securityGroups spotDuration spotStrategy status stoppedMode "
        "systemDiskCategory systemDiskPerformanceLevel systemDiskSize vswitchId"
    )
    force_new = names(
        "systemDiskCategory spotStrategy spotPriceLimit spotInterruptionBehavior "
        "availabilityZone dataDisks httpPutResponseHopLimit"
    )

    # --- what a change means ----------------------------------------------------------------------

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """The schema's own checks, before anything is asked of the cloud."""
        inputs, failures = super().check(old, new)
        failures += not_one_of(new, "systemDiskCategory", DISK_CATEGORIES)
        failures += not_one_of(new, "instanceChargeType", ("PostPaid", "PrePaid"))
        failures += not_one_of(new, "internetChargeType", ("PayByTraffic", "PayByBandwidth"))
        failures += not_one_of(new, "systemDiskPerformanceLevel", ("", "PL0", "PL1", "PL2", "PL3"))
        bandwidth = new.get("internetMaxBandwidthOut", 0)
        if bandwidth is not UNKNOWN and not 0 <= bandwidth <= 100:
            reason = (
                f"expected internet_max_bandwidth_out to be in the range (0 - 100), got {bandwidth}"
            )
            failures.append(("internetMaxBandwidthOut", reason))
        for name, word in (("imageId", "image_id"), ("instanceType", "instance_type")):
            if not new.get("launchTemplateId") and name not in new:
                failures.append((name, f"{word} is required without a launch template"))
        return inputs, failures

    def suppresses(self, name: str, old: Value, new: Value, inputs: Properties) -> bool:
        """The provider's DiffSuppress functions that matter here."""
        if old is UNKNOWN or new is UNKNOWN:
            return False
        if name == "autoReleaseTime":
            return lease_suppressed(str(old or ""), str(new or ""))
        if name in _PREPAID_ONLY:
            return bool(inputs.get("instanceChargeType") != "PrePaid")
        if name == "userData":
            return _hash(str(old)) == _hash(str(new))
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

    # --- what is done -----------------------------------------------------------------------------

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """Comes back when the server runs, not when anything on it answers."""
        if inputs.get("instanceChargeType") == "PrePaid":
            raise ProviderError("the rehearsal sells nothing by the month (PrePaid)")
        answer = self.call("RunInstances", **self.order(inputs), DryRun=False)
        id = answer["InstanceIdSets"]["InstanceIdSet"][0]
        if inputs.get("volumeTags"):
            self.tag("disk", self._disk(id)["DiskId"], {}, inputs["volumeTags"])
        if any(inputs.get(name) for name in _METADATA):
            self._set_metadata(id, inputs)
        if inputs.get("status") == "Stopped":
            self.call("StopInstance", InstanceId=id)
        return id, self._present(id, inputs)

    def order(self, inputs: Properties) -> dict[str, Any]:
        """User data is sent as base64."""
        data = inputs.get("userData")
        return {**super().order(inputs), "UserData": _encoded(data) if data else None}

    def modify(self, id: str, changed: set[str], inputs: Properties) -> None:
        """One call per changed attribute; for some of them the server is stopped."""
        super().modify(id, changed, inputs)
        if "vswitchId" in changed:
            raise ProviderError("the rehearsal cannot move a server to another vSwitch")
        if changed & {*_METADATA}:
            self._set_metadata(id, inputs)
        if "volumeTags" in changed:
            disk = self._disk(id)
            self.tag("disk", disk["DiskId"], tags_in(disk), inputs.get("volumeTags") or {})
        for name in ("internetMaxBandwidthOut", "autoReleaseTime", "systemDiskSize", "userData"):
            if name in changed:
                self._set(id, name, inputs.get(name))
        if "keyName" in changed:
            self._set_key(id, inputs.get("keyName"))
        self._stopped_for(id, changed, inputs)

    def target(self, id: str) -> dict[str, Any]:
        """A running one too."""
        return {"InstanceId": id, "Force": True}

    def _set(self, id: str, name: str, value: Value) -> None:
        if name == "internetMaxBandwidthOut":
            mbps = int(value or 0)
            self.call("ModifyInstanceNetworkSpec", InstanceId=id, InternetMaxBandwidthOut=mbps)
        elif name == "autoReleaseTime":
            time = str(value or "")
            self.call("ModifyInstanceAutoReleaseTime", InstanceId=id, AutoReleaseTime=time)
        elif name == "systemDiskSize":
            self.call("ResizeDisk", DiskId=self._disk(id)["DiskId"], NewSize=int(value or 0))
        else:
            data = _encoded(str(value or ""))
            self.call("ModifyInstanceAttribute", InstanceId=id, UserData=data)

    def _set_key(self, id: str, name: str | None) -> None:
        ids = json.dumps([id])
        if name:
            self.call("AttachKeyPair", InstanceIds=ids, KeyPairName=name)
        else:
            self.call("DetachKeyPair", InstanceIds=ids)

    def _stopped_for(self, id: str, changed: set[str], inputs: Properties) -> None:
        """Off for another image or type, off and on for what the next boot reads."""
        off = inputs.get("status") == "Stopped"
        if changed & (_STOPPED_FIRST | _REBOOTS) or ("status" in changed and off):
            self.call("StopInstance", InstanceId=id)
            if "imageId" in changed:
                self.call("ReplaceSystemDisk", InstanceId=id, ImageId=inputs["imageId"])
            if "instanceType" in changed:
                self.call("ModifyInstanceSpec", InstanceId=id, InstanceType=inputs["instanceType"])
            if not off:
                self.call("StartInstance", InstanceId=id)
        elif "status" in changed:
            self.call("StartInstance", InstanceId=id)

    def _set_metadata(self, id: str, inputs: Properties) -> None:
        endpoint, tokens = (inputs.get(name) for name in _METADATA)
        self.call(
            "ModifyInstanceMetadataOptions",
            InstanceId=id,
            HttpEndpoint=endpoint or "enabled",
            HttpTokens=tokens,
        )

    # --- what is read -----------------------------------------------------------------------------

    def describe(self, id: str) -> Any | None:  # noqa: ANN401
        """All that the provider asks at every read: a refusal of any of them fails it."""
        ids = json.dumps([id])
        rows = at(self.call("DescribeInstances", InstanceIds=ids), self.rows)
        if not rows:
            return None
        found = rows[0]
        for action in _BY_LIST:
            self.call(action, InstanceIds=ids)
        self.call("DescribeInstanceAttribute", InstanceId=id)
        maintenance = self.call("DescribeInstanceMaintenanceAttributes", InstanceId=[id])
        interface = at(found, "NetworkInterfaces.NetworkInterface")[0]["NetworkInterfaceId"]
        interfaces = self.call("DescribeNetworkInterfaces", NetworkInterfaceId=[interface])
        return {
            **found,
            "Disk": self._disk(id),
            "UserData": self.call("DescribeUserData", InstanceId=id)["UserData"],
            "Maintenance": at(maintenance, "MaintenanceAttributes.MaintenanceAttribute")[0],
            "Interface": at(interfaces, "NetworkInterfaceSets.NetworkInterfaceSet")[0],
        }

    def outputs(self, id: str, found: Any, known: Properties) -> Properties:  # noqa: ANN401
        """What the provider keeps is not always what it sent."""
        addresses = at(found, "PublicIpAddress.IpAddress")
        return {
            **super().outputs(id, found, {}),
            "publicIp": addresses[0] if addresses else "",
            "userData": _hash(found["UserData"]) if found["UserData"] else "",
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


def _encoded(text: str) -> str:
    """As it is sent; text that happens to be base64 is taken for such."""
    return text if _decoded(text) is not None else base64.b64encode(text.encode()).decode()


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None


def _hash(text: str) -> str:
    """What the state keeps of user data."""
    if re.fullmatch(r"[0-9a-f]{40}", text):
        return text
    data = _decoded(text)
    return hashlib.sha1(text.encode() if data is None else data).hexdigest()
