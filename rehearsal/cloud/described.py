"""What is told of servers and their disks, by id, by name and by tag."""

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.rpc import Answer, Request, action, shown, shown_tags, tagged, to_the_minute
from rehearsal.cloud.state import Instance


@action("ecs", "DescribeInstances")
def _list(cloud: Cloud, request: Request) -> Answer:
    rows = [
        _shown(cloud, instance)
        for instance in _asked(cloud, request)
        if request.text("InstanceName") in ("", instance.name)
        and tagged(cloud, instance.id, request)
    ]
    return request.page("Instances", "Instance", rows)


@action("ecs", "DescribeInstanceAttribute")
def _describe(cloud: Cloud, request: Request) -> Answer:
    return _shown(cloud, cloud.instance(request.needed("InstanceId")))


@action("ecs", "DescribeUserData")
def _user_data(cloud: Cloud, request: Request) -> Answer:
    return {"InstanceId": cloud.instance(request.needed("InstanceId")).id, "UserData": ""}


@action("ecs", "DescribeInstanceRamRole")
def _roles(cloud: Cloud, request: Request) -> Answer:
    rows = [{"InstanceId": one.id, "RamRoleName": ""} for one in _asked(cloud, request)]
    return {"InstanceRamRoleSets": {"InstanceRamRoleSet": rows}, "RegionId": request.region}


@action("ecs", "DescribeInstanceMaintenanceAttributes")
def _maintenance(cloud: Cloud, request: Request) -> Answer:
    rows = [shown("MaintenanceAttribute", InstanceId=one.id) for one in _asked(cloud, request)]
    return request.page("MaintenanceAttributes", "MaintenanceAttribute", rows)


@action("ecs", "DescribeInstanceAttachmentAttributes")
def _attachments(cloud: Cloud, request: Request) -> Answer:
    rows = [shown("Attachment", InstanceId=one.id) for one in _asked(cloud, request)]
    return request.page("Instances", "Instance", rows)


@action("ecs", "DescribeNetworkInterfaces")
def _interfaces(cloud: Cloud, request: Request) -> Answer:
    asked = request.many("NetworkInterfaceId")
    rows = [
        {**_interface(instance), "InstanceId": instance.id, "ZoneId": instance.zone}
        for instance in cloud.instances.values()
        if not asked or _interface(instance)["NetworkInterfaceId"] in asked
    ]
    return request.page("NetworkInterfaceSets", "NetworkInterfaceSet", rows)


@action("ecs", "DescribeDisks")
def _disks(cloud: Cloud, request: Request) -> Answer:
    rows = [
        shown(
            "Disk",
            DiskId=instance.disk_id,
            InstanceId=instance.id,
            RegionId=instance.region,
            ZoneId=instance.zone,
            Category=instance.disk_category,
            PerformanceLevel=instance.disk_level,
            Size=instance.disk_gib,
            ImageId=instance.image.id,
            CreationTime=to_the_minute(instance.created),
            Tags=shown_tags(cloud, instance.disk_id, "Tag"),
        )
        for instance in cloud.instances.values()
        if instance.region == request.region
        and request.text("InstanceId") in ("", instance.id)
        and tagged(cloud, instance.disk_id, request)
    ]
    return request.page("Disks", "Disk", rows)


def _asked(cloud: Cloud, request: Request) -> list[Instance]:
    """Those of the region that are named, all if none is; one that has gone is not missed."""
    named = request.listed("InstanceIds") + request.many("InstanceId")
    here = (one for one in cloud.instances.values() if one.region == request.region)
    return [one for one in here if not named or one.id in named]


def _interface(instance: Instance) -> Answer:
    own = {"Primary": True, "PrivateIpAddress": instance.private_ip}
    return shown(
        "NetworkInterface",
        NetworkInterfaceId=instance.id.replace("i-", "eni-", 1),
        PrimaryIpAddress=instance.private_ip,
        PrivateIpSets={"PrivateIpSet": [own]},
        VSwitchId=instance.switch,
        SecurityGroupIds={"SecurityGroupId": instance.groups},
    )


def _shown(cloud: Cloud, instance: Instance) -> Answer:
    type_, running = instance.type, instance.status == "Running"
    return shown(
        "Instance",
        InstanceId=instance.id,
        InstanceName=instance.name,
        HostName=f"iZ{instance.id.removeprefix('i-')}Z",
        Status=instance.status,
        RegionId=instance.region,
        ZoneId=instance.zone,
        InstanceType=type_.id,
        InstanceTypeFamily=type_.family,
        Cpu=type_.cores,
        Memory=type_.memory_gib * 1024,
        GPUAmount=len(type_.gpus),
        GPUSpec=type_.gpus[0].name if type_.gpus else "",
        ImageId=instance.image.id,
        OSName=instance.image.os_name,
        KeyPairName=instance.key_name,
        CreationTime=to_the_minute(instance.created),
        AutoReleaseTime=to_the_minute(instance.ends),
        InternetMaxBandwidthOut=instance.bandwidth,
        InternetMaxBandwidthIn=max(10, instance.bandwidth),
        SpotStrategy=instance.spot,
        SpotPriceLimit=instance.spot_limit,
        StoppedMode="Not-applicable" if running else "KeepCharging",
        # The hop limit is by invitation only: what other accounts send is not kept (assumed).
        MetadataOptions={"HttpPutResponseHopLimit": 0, **instance.metadata},
        PublicIpAddress={"IpAddress": [instance.public_ip] if instance.public_ip else []},
        EipAddress=_shown_eip(cloud, instance),
        VpcAttributes=_place(cloud, instance),
        NetworkInterfaces={"NetworkInterface": [_interface(instance)]},
        SecurityGroupIds={"SecurityGroupId": instance.groups},
        Tags=shown_tags(cloud, instance.id, "Tag"),
    )


def _place(cloud: Cloud, instance: Instance) -> Answer:
    return {
        "VpcId": cloud.switches[instance.switch].vpc,
        "VSwitchId": instance.switch,
        "PrivateIpAddress": {"IpAddress": [instance.private_ip]},
    }


def _shown_eip(cloud: Cloud, instance: Instance) -> Answer:
    eip = next((one for one in cloud.eips.values() if one.instance == instance.id), None)
    id, address = (eip.id, eip.address) if eip else ("", "")
    return {"AllocationId": id, "IpAddress": address, "InternetChargeType": ""}
