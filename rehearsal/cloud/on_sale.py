"""What can be bought now: zones, types and images."""

from rehearsal.cloud import market
from rehearsal.cloud.account import Cloud
from rehearsal.cloud.described import shown
from rehearsal.cloud.rpc import Answer, Request, action


@action("ecs:DescribeAvailableResource")
def _available(cloud: Cloud, request: Request) -> Answer:
    """Of types, which is all that a lab asks for."""
    kind, zones = request.needed("DestinationResource"), []
    for zone in market.zones(request.region):
        types = {"SupportedResource": _in_zone(cloud, request, zone)}
        resources = {"AvailableResource": [{"Type": kind, "SupportedResources": types}]}
        place = {"RegionId": request.region, "ZoneId": zone, "AvailableResources": resources}
        zones.append({**place, **_status(in_stock=True)})
    return {"AvailableZones": {"AvailableZone": zones}}


def _in_zone(cloud: Cloud, request: Request, zone: str) -> list[Answer]:
    category = request.text("SystemDiskCategory")
    return [
        {"Value": found.id, **_status(cloud.stock(found.id, zone) > 0)}
        for found in market.TYPES.values()
        if category in ("", *found.disk_categories) and cloud.sells(found.id, zone)
    ]


def _status(in_stock: bool) -> Answer:
    status, category = ("Available", "WithStock") if in_stock else ("SoldOut", "WithoutStock")
    return {"Status": status, "StatusCategory": category}


@action("ecs:DescribeInstanceTypes")
def _types(_cloud: Cloud, _request: Request) -> Answer:
    rows = [shown("InstanceType", found) for found in market.TYPES.values()]
    return {"InstanceTypes": {"InstanceType": rows}, "NextToken": ""}


@action("ecs:DescribeImages")
def _images(cloud: Cloud, request: Request) -> Answer:
    """Those with a driver are not for a type without a GPU."""
    named = market.TYPES.get(request.text("InstanceType"))
    plain = named is not None and not named.gpu_count
    rows = [shown("Image", image) for image in cloud.images() if not (plain and image.driver)]
    return request.page("Images.Image", rows)
