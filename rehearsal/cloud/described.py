"""What is told of servers and their disks, by id, by name and by tag."""

from __future__ import annotations

import base64

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.rpc import Answer, Request, action, shown_tags, tagged, to_the_minute
from rehearsal.cloud.state import Eip, Instance


@action("ecs", "DescribeInstances")
def _list(cloud: Cloud, request: Request) -> Answer:
    rows = [
        _shown(cloud, instance)
        for instance in _asked(cloud, request)
        if request.text("InstanceName") in ("", instance.name)
        and request.text("VpcId") in ("", cloud.switches[instance.switch].vpc)
        and request.text("Status") in ("", instance.status)
        and tagged(cloud, instance.id, request)
    ]
    return request.page("Instances", "Instance", rows)


@action("ecs", "DescribeInstanceAttribute")
def _describe(cloud: Cloud, request: Request) -> Answer:
    return _shown(cloud, cloud.instance(request.needed("InstanceId")))


@action("ecs", "DescribeUserData")
def _user_data(cloud: Cloud, request: Request) -> Answer:
    instance = cloud.instance(request.needed("InstanceId"))
    return {
        "InstanceId": instance.id,
        "UserData": base64.b64encode(instance.user_data.encode()).decode(),
    }


@action("ecs", "DescribeInstanceRamRole")
def _roles(cloud: Cloud, request: Request) -> Answer:
    rows = [{"InstanceId": one.id, "RamRoleName": ""} for one in _asked(cloud, request)]
    return {"InstanceRamRoleSets": {"InstanceRamRoleSet": rows}, "RegionId": request.region}


@action("ecs", "DescribeInstanceMaintenanceAttributes")
def _maintenance(cloud: Cloud, request: Request) -> Answer:
    rows = [
        {
            "InstanceId": instance.id,
            "MaintenanceWindows": {"MaintenanceWindow": []},
            "ActionOnMaintenance": {
                "Value": "AutoRecover",
                "DefaultValue": "AutoRecover",
                "SupportedValues": {"SupportedValue": ["Stop", "AutoRecover"]},
            },
            "NotifyOnMaintenance": False,
        }
        for instance in _asked(cloud, request)
    ]
    return request.page("MaintenanceAttributes", "MaintenanceAttribute", rows)


@action("ecs", "DescribeInstanceAttachmentAttributes")
def _attachments(cloud: Cloud, request: Request) -> Answer:
    rows = [
        {
            "InstanceId": one.id,
            "PrivatePoolOptionsMatchCriteria": "Open",
            "PrivatePoolOptionsId": "",
        }
        for one in _asked(cloud, request)
    ]
    return request.page("Instances", "Instance", rows)


@action("ecs", "DescribeNetworkInterfaces")
def _interfaces(cloud: Cloud, request: Request) -> Answer:
    asked = request.many("NetworkInterfaceId")
    rows = [
        {
            **_interface(instance),
            "InstanceId": instance.id,
            "Status": "InUse",
            "VSwitchId": instance.switch,
            "ZoneId": instance.zone,
            "SecurityGroupIds": {"SecurityGroupId": instance.groups},
            "NetworkInterfaceTrafficMode": "Standard",
            "QueuePairNumber": 0,
            "SourceDestCheck": False,
            "Tags": {"Tag": []},
        }
        for instance in cloud.instances.values()
        if request.text("InstanceId") in ("", instance.id)
        and (not asked or _interface(instance)["NetworkInterfaceId"] in asked)
    ]
    return request.page("NetworkInterfaceSets", "NetworkInterfaceSet", rows)


@action("ecs", "DescribeDisks")
def _disks(cloud: Cloud, request: Request) -> Answer:
    asked = request.listed("DiskIds")
    rows = [
        {
            "DiskId": instance.disk_id,
            "InstanceId": instance.id,
            "RegionId": instance.region,
            "ZoneId": instance.zone,
            "Type": "system",
            "Status": "In_use",
            "Category": instance.disk_category,
            "PerformanceLevel": instance.disk_level,
            "Size": instance.disk_gib,
            "ImageId": instance.image.id,
            "DiskName": "",
            "Description": "",
            "Encrypted": False,
            "DeleteWithInstance": True,
            "Portable": False,
            "DiskChargeType": "PostPaid",
            "CreationTime": to_the_minute(instance.created),
            "Tags": shown_tags(cloud, instance.disk_id, "Tag"),
        }
        for instance in cloud.instances.values()
        if instance.region == request.region
        and request.text("InstanceId") in ("", instance.id)
        and request.text("DiskType", "all") in ("all", "system")
        and (not asked or instance.disk_id in asked)
        and tagged(cloud, instance.disk_id, request)
    ]
    return request.page("Disks", "Disk", rows)


def _asked(cloud: Cloud, request: Request) -> list[Instance]:
    """Those of the region that are named, all if none is; one that has gone is not missed."""
    named = request.listed("InstanceIds") + request.many("InstanceId")
    here = (one for one in cloud.instances.values() if one.region == request.region)
    return [one for one in here if not named or one.id in named]


def _interface(instance: Instance) -> Answer:
    return {
        "NetworkInterfaceId": instance.id.replace("i-", "eni-", 1),
        "Type": "Primary",
        "PrimaryIpAddress": instance.private_ip,
        "MacAddress": "00:16:3e:00:00:01",
        "PrivateIpSets": {
            "PrivateIpSet": [{"Primary": True, "PrivateIpAddress": instance.private_ip}]
        },
    }


def _shown(cloud: Cloud, instance: Instance) -> Answer:
    eip = next((one for one in cloud.eips.values() if one.instance == instance.id), None)
    public = [instance.public_ip] if instance.public_ip else []
    return {
        "InstanceId": instance.id,
        "InstanceName": instance.name,
        "Description": instance.description,
        "HostName": instance.host_name,
        "Status": instance.status,
        "RegionId": instance.region,
        "ZoneId": instance.zone,
        "InstanceType": instance.type.id,
        "InstanceTypeFamily": instance.type.family,
        "Cpu": instance.type.cores,
        "CPU": instance.type.cores,
        "Memory": instance.type.memory_gib * 1024,
        "GPUAmount": len(instance.type.gpus),
        "GPUSpec": instance.type.gpus[0].name if instance.type.gpus else "",
        "ImageId": instance.image.id,
        "OSName": instance.image.os_name,
        "OSType": "linux",
        "KeyPairName": instance.key_name,
        "CreationTime": to_the_minute(instance.created),
        "ExpiredTime": "2099-12-31T15:59Z",
        "AutoReleaseTime": to_the_minute(instance.ends),
        "InstanceChargeType": "PostPaid",
        "InstanceNetworkType": "vpc",
        "InternetChargeType": "PayByTraffic",
        "InternetMaxBandwidthOut": instance.bandwidth,
        "InternetMaxBandwidthIn": max(10, instance.bandwidth),
        "SpotStrategy": instance.spot,
        "SpotPriceLimit": instance.spot_limit,
        "SpotDuration": 0,
        "SpotInterruptionBehavior": "",
        "StoppedMode": "Not-applicable" if instance.status == "Running" else "KeepCharging",
        "DeletionProtection": instance.protected,
        "CreditSpecification": "",
        "DeploymentSetId": "",
        "ResourceGroupId": "",
        "MetadataOptions": {
            "HttpEndpoint": instance.http_endpoint,
            "HttpTokens": instance.http_tokens,
            # By invitation only: what other accounts send is not kept (its read-back: assumed).
            "HttpPutResponseHopLimit": 0,
        },
        "ImageOptions": {"LoginAsNonRoot": False},
        "PublicIpAddress": {"IpAddress": public},
        "EipAddress": _shown_eip(eip),
        "VpcAttributes": {
            "VpcId": cloud.switches[instance.switch].vpc,
            "VSwitchId": instance.switch,
            "PrivateIpAddress": {"IpAddress": [instance.private_ip]},
        },
        "NetworkInterfaces": {"NetworkInterface": [_interface(instance)]},
        "SecurityGroupIds": {"SecurityGroupId": instance.groups},
        "OperationLocks": {"LockReason": []},
        "Tags": shown_tags(cloud, instance.id, "Tag"),
    }


def _shown_eip(eip: Eip | None) -> Answer:
    if eip is None:
        return {"AllocationId": "", "IpAddress": "", "InternetChargeType": ""}
    return {
        "AllocationId": eip.id,
        "IpAddress": eip.address,
        "Bandwidth": int(eip.bandwidth),
        "InternetChargeType": eip.charge_type,
    }
