"""What can be bought now, and what the cloud looks at before it sells a server (codes:
docs/facts/alicloud.md §8)."""

import itertools
import re
from datetime import datetime, timedelta, timezone

from rehearsal.cloud import market
from rehearsal.cloud.account import Cloud
from rehearsal.cloud.described import shown
from rehearsal.cloud.refusals import Refusal, not_found, refusal
from rehearsal.cloud.rpc import Answer, Request, action
from rehearsal.cloud.state import Instance, Switch

_LOWEST_BALANCE = 100.0
# That disks tell it is assumed: the other answer does no harm (docs/facts/alicloud.md §1.2).
_SERVICE_KEY = "key-rehearsal-of-the-cloud"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?Z")
_SHORTEST = timedelta(minutes=30)
_LONGEST = timedelta(days=3 * 365)


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


def ordered(cloud: Cloud, request: Request) -> Instance:
    """The server that RunInstances asks for, not yet rented. Raises Refusal: the cloud does not
    sell it, or not so, not there, not now, not to this account."""
    switch = request.named("VSwitchId", cloud.switches)
    if request.text("ZoneId", switch.zone) != switch.zone:
        raise refusal("InvalidParameter.Mismatch")
    image = request.named("ImageId", {image.id: image for image in cloud.images()})
    spot = request.text("SpotStrategy", "NoSpot")
    spot_limit = float(request.text("SpotPriceLimit", "0"))
    found = for_sale(cloud, request.needed("InstanceType"), switch.zone)
    category = request.text("SystemDisk.Category", "cloud_essd")
    level = request.text("SystemDisk.PerformanceLevel", "PL1" if category == "cloud_essd" else "")
    gib = request.number("SystemDisk.Size", max(40, image.size_gib))
    check_disk(found, category, level, gib)
    if gib < image.size_gib:
        raise refusal("InvalidSystemDiskSize.LessThanImageSize")
    _check_account(cloud, found)
    _check_spot(found, spot, spot_limit)
    wanted = request.listed("SecurityGroupIds")
    groups = in_network(cloud, wanted or [request.needed("SecurityGroupId")], switch)
    key_name = request.text("KeyPairName")
    if key_name and (request.region, key_name) not in cloud.key_pairs:
        raise refusal("InvalidKeyPair.NotFound")
    return Instance(
        **request.fresh(cloud, "i", "InstanceName"),
        zone=switch.zone,
        type=found,
        image=image,
        vpc=switch.vpc,
        switch=switch.id,
        groups=groups,
        key_name=key_name,
        disk_id=cloud.new_id("d"),
        disk_category=category,
        disk_level=level,
        disk_gib=gib,
        disk_encrypted=request.flag("SystemDisk.Encrypted"),
        disk_key=_disk_key(request),
        bandwidth=request.number("InternetMaxBandwidthOut"),
        spot=spot,
        spot_limit=spot_limit,
        private_ip=_private_ip(cloud, switch),
        metadata={
            "HttpEndpoint": request.text("HttpEndpoint", "enabled"),
            "HttpTokens": request.text("HttpTokens", "optional"),
        },
        ends=lease_end(request.text("AutoReleaseTime"), cloud.now()),
    )


def for_sale(cloud: Cloud, name: str, zone: str) -> market.InstanceType:
    """The type called `name`, which `zone` can sell now. Raises Refusal: there is none, never
    there, or sold out."""
    if name not in market.TYPES:
        raise refusal("InvalidInstanceType.ValueNotSupported")
    if not cloud.sells(name, zone):
        message = f"user order resource type [{name}] not exists in [{zone}]"
        raise Refusal(403, "InvalidResourceType.NotSupported", message)
    if cloud.stock(name, zone) < 1:
        raise refusal("OperationDenied.NoStock")
    return market.TYPES[name]


def check_disk(found: market.InstanceType, category: str, level: str, gib: int) -> None:
    """Raise `Refusal` for a system disk that the type does not take."""
    if category not in found.disk_categories:
        raise refusal("InvalidSystemDiskCategory.ValueNotSupported")
    if gib not in market.disk_range(category, level):
        raise refusal("InvalidSystemDiskSize.ValueNotSupported")


def in_network(cloud: Cloud, groups: list[str], switch: Switch) -> list[str]:
    """`groups`, all of which are in the network of `switch`. Raises Refusal: one is not there, or
    in another network."""
    for group in groups:
        if group not in cloud.groups:
            raise not_found("SecurityGroupId")
        if cloud.groups[group].vpc != switch.vpc:
            raise refusal("InvalidSecurityGroupId.VPCMismatch")
    return groups


def lease_end(text: str, now: datetime) -> datetime | None:
    """When `AutoReleaseTime` ends a server, seconds dropped; None for "" (never). Raises Refusal:
    not that form, not UTC, less than half an hour or more than three years ahead."""
    if not text:
        return None
    malformed = refusal("InvalidAutoReleaseTime.Malformed")
    if not _TIME.fullmatch(text):
        raise malformed
    try:
        end = datetime.fromisoformat(text[:16]).replace(tzinfo=timezone.utc)
    except ValueError:
        raise malformed from None
    if not now + _SHORTEST <= end < now + _LONGEST:
        raise malformed
    return end


def _disk_key(request: Request) -> str:
    service_key = _SERVICE_KEY if request.flag("SystemDisk.Encrypted") else ""
    return request.text("SystemDisk.KMSKeyId", service_key)


def _check_account(cloud: Cloud, found: market.InstanceType) -> None:
    used = sum(instance.type.cores for instance in cloud.instances.values())
    if used + found.cores > cloud.quota_cores:
        raise refusal("QuotaExceed.ElasticQuota")
    if cloud.balance - cloud.bill.cost() < _LOWEST_BALANCE:
        raise refusal("InvalidAccountStatus.NotEnoughBalance")


def _check_spot(found: market.InstanceType, strategy: str, limit: float) -> None:
    if strategy not in ("NoSpot", "SpotAsPriceGo", "SpotWithPriceLimit"):
        raise refusal("InvalidSpotStrategy")
    if strategy == "SpotWithPriceLimit" and limit < found.per_hour * market.SPOT_SHARE:
        raise refusal("OperationDenied.SpotPriceLowerThanPublicPrice")


def _private_ip(cloud: Cloud, switch: Switch) -> str:
    used = {i.private_ip for i in cloud.instances.values() if i.switch == switch.id}
    # The first three hosts of a vSwitch are the cloud's own.
    hosts = itertools.islice(switch.cidr.hosts(), 3, None)
    return next(str(host) for host in hosts if str(host) not in used)
