"""Elastic addresses: rented on their own, and paid for until they are given back."""

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.refusals import not_found, refusal
from rehearsal.cloud.rpc import Answer, Request, action, shown, shown_tags, tagged, to_the_second
from rehearsal.cloud.state import Eip


@action("vpc", "AllocateEipAddress")
def _allocate(cloud: Cloud, request: Request) -> Answer:
    made = Eip(
        id=cloud.new_id("eip"),
        region=request.region,
        name=request.text("Name"),
        address=cloud.data_centre.fresh_address(),
        bandwidth=request.text("Bandwidth", "5"),
        created=cloud.now(),
    )
    cloud.eips[made.id] = made
    cloud.tags[made.id] = request.tags()
    cloud.bill.address(made)
    return {"AllocationId": made.id, "EipAddress": made.address}


@action("vpc", "DescribeEipAddresses")
def _list(cloud: Cloud, request: Request) -> Answer:
    rows = [
        _shown(cloud, eip)
        for eip in cloud.eips.values()
        if eip.region == request.region
        and request.text("AllocationId") in ("", eip.id)
        and request.text("EipAddress") in ("", eip.address)
        and request.text("AssociatedInstanceId") in ("", eip.instance)
        and tagged(cloud, eip.id, request)
    ]
    return request.page("EipAddresses", "EipAddress", rows)


@action("vpc", "ModifyEipAddressAttribute")
def _modify(cloud: Cloud, request: Request) -> Answer:
    eip = _eip(cloud, request)
    eip.name = request.text("Name", eip.name)
    eip.bandwidth = request.text("Bandwidth", eip.bandwidth)
    return {}


@action("vpc", "AssociateEipAddress")
def _associate(cloud: Cloud, request: Request) -> Answer:
    eip, instance = _eip(cloud, request), cloud.instance(request.needed("InstanceId"))
    if eip.instance or instance.public_ip:
        raise refusal("IncorrectEipStatus" if eip.instance else "InvalidAssociation.Duplicated")
    before = cloud.address_of(instance)
    eip.instance = instance.id
    request.later.append(lambda: cloud.moved(instance, before))
    return {}


@action("vpc", "UnassociateEipAddress")
def _unassociate(cloud: Cloud, request: Request) -> Answer:
    eip = _eip(cloud, request)
    left = cloud.instances.get(eip.instance)
    eip.instance = ""
    if left is not None:
        request.later.append(lambda: cloud.moved(left, eip.address))
    return {}


@action("vpc", "ReleaseEipAddress")
def _release(cloud: Cloud, request: Request) -> Answer:
    """Refused while a server has it."""
    eip = _eip(cloud, request)
    if eip.instance:
        raise refusal("IncorrectEipStatus")
    del cloud.eips[eip.id]
    cloud.tags.pop(eip.id, None)
    cloud.bill.close(eip.id)
    return {}


def _eip(cloud: Cloud, request: Request) -> Eip:
    id = request.needed("AllocationId")
    if id not in cloud.eips:
        raise not_found("allocation ID", "InvalidAllocationId.NotFound")
    return cloud.eips[id]


def _shown(cloud: Cloud, eip: Eip) -> Answer:
    return shown(
        "EipAddress",
        AllocationId=eip.id,
        RegionId=eip.region,
        IpAddress=eip.address,
        Status="InUse" if eip.instance else "Available",
        Name=eip.name,
        Bandwidth=eip.bandwidth,
        InternetChargeType="PayByTraffic",
        InstanceId=eip.instance,
        InstanceType="EcsInstance" if eip.instance else "",
        AllocationTime=to_the_second(eip.created),
        Tags=shown_tags(cloud, eip.id),
    )
