"""What can be bought now: zones, types and images; and who asks."""

from rehearsal.cloud import market
from rehearsal.cloud.account import Cloud
from rehearsal.cloud.rpc import Answer, Request, action, shown

ACCOUNT_ID = "1234567890123456"


@action("ecs", "DescribeZones")
def _zones(cloud: Cloud, request: Request) -> Answer:
    """The static list: being in it proves no stock."""
    rows = [{"ZoneId": zone, "LocalName": zone} for zone in market.zones(request.region)]
    return {"Zones": {"Zone": rows}}


@action("ecs", "DescribeAvailableResource")
def _available(cloud: Cloud, request: Request) -> Answer:
    kind = request.needed("DestinationResource")
    zones = [
        shown(
            "Zone",
            RegionId=request.region,
            ZoneId=zone,
            AvailableResources={
                "AvailableResource": [
                    {
                        "Type": kind,
                        "SupportedResources": {"SupportedResource": _in_zone(cloud, request, zone)},
                    }
                ]
            },
        )
        for zone in market.zones(request.region)
    ]
    return {"AvailableZones": {"AvailableZone": zones}}


def _in_zone(cloud: Cloud, request: Request, zone: str) -> list[Answer]:
    if request.text("DestinationResource") == "Zone":
        return [_resource(zone, True)]
    category = request.text("SystemDiskCategory")
    return [
        _resource(found.id, cloud.stock(found.id, zone) > 0)
        for found in market.known_types()
        if request.text("InstanceType") in ("", found.id)
        and category in ("", *found.disk_categories)
        and cloud.sells(found.id, zone)
    ]


def _resource(value: str, in_stock: bool) -> Answer:
    status, category = ("Available", "WithStock") if in_stock else ("SoldOut", "WithoutStock")
    return {"Value": value, "Status": status, "StatusCategory": category}


@action("ecs", "DescribeInstanceTypes")
def _types(cloud: Cloud, request: Request) -> Answer:
    asked = request.many("InstanceTypes")
    rows = [
        shown(
            "InstanceType",
            InstanceTypeId=found.id,
            InstanceTypeFamily=found.family,
            CpuCoreCount=found.cores,
            MemorySize=float(found.memory_gib),
            GPUAmount=len(found.gpus),
            GPUSpec=found.gpus[0].name if found.gpus else "",
        )
        for found in market.known_types()
        if not asked or found.id in asked
    ]
    return {"InstanceTypes": {"InstanceType": rows}, "NextToken": ""}


@action("ecs", "DescribeImages")
def _images(cloud: Cloud, request: Request) -> Answer:
    named = market.instance_type(request.text("InstanceType"))
    rows = [
        shown(
            "Image",
            ImageId=image.id,
            ImageName=image.id,
            OSName=image.os_name,
            OSNameEn=image.os_name,
            Platform=image.os_name.split(" ")[0],
            Size=image.size_gib,
            CreationTime=f"{image.created}T06:00:00Z",
        )
        for image in cloud.images()
        if request.text("ImageId") in ("", image.id)
        and not (named and not named.gpus and image.driver)
    ]
    return {**request.page("Images", "Image", rows), "RegionId": request.region}


@action("sts", "GetCallerIdentity")
def _caller(cloud: Cloud, request: Request) -> Answer:
    arn = f"acs:ram::{ACCOUNT_ID}:user/rehearsal"
    return {"AccountId": ACCOUNT_ID, "UserId": "rehearsal", "Arn": arn, "IdentityType": "RAMUser"}
