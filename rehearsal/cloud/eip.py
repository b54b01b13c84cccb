"""Elastic addresses: rented on their own, and paid for until they are given back."""

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.refusals import refusal
from rehearsal.cloud.rpc import Answer, Request, action
from rehearsal.cloud.state import Eip


@action("vpc:AllocateEipAddress")
def _allocate(cloud: Cloud, request: Request) -> Answer:
    made = Eip(
        **request.fresh(cloud, "eip", "Name"),
        address=cloud.data_centre.fresh_address(),
        bandwidth=request.text("Bandwidth", "5"),
    )
    cloud.eips[made.id] = made
    cloud.tags[made.id] = request.tags()
    cloud.bill.address(made)
    return {"AllocationId": made.id, "EipAddress": made.address}


@action("vpc:ModifyEipAddressAttribute")
def _modify(cloud: Cloud, request: Request) -> None:
    eip = request.named("AllocationId", cloud.eips)
    eip.name = request.text("Name", eip.name)
    eip.bandwidth = request.text("Bandwidth", eip.bandwidth)


@action("vpc:AssociateEipAddress")
def _associate(cloud: Cloud, request: Request) -> None:
    eip = request.named("AllocationId", cloud.eips)
    instance = request.named("InstanceId", cloud.instances)
    if eip.instance or instance.public_ips:
        raise refusal("IncorrectEipStatus" if eip.instance else "InvalidAssociation.Duplicated")
    before = instance.address
    eip.instance, instance.eip_id, instance.eip_address = instance.id, eip.id, eip.address
    request.later.append(lambda: cloud.moved(instance, before))


@action("vpc:UnassociateEipAddress")
def _unassociate(cloud: Cloud, request: Request) -> None:
    eip = request.named("AllocationId", cloud.eips)
    left = cloud.instances.get(eip.instance)
    eip.instance = ""
    if left is not None:
        left.eip_id = left.eip_address = ""
        request.later.append(lambda: cloud.moved(left, eip.address))


@action("vpc:ReleaseEipAddress")
def _release(cloud: Cloud, request: Request) -> None:
    """Refused while a server has it."""
    eip = request.named("AllocationId", cloud.eips)
    if eip.instance:
        raise refusal("IncorrectEipStatus")
    del cloud.eips[eip.id]
    cloud.bill.close(eip.id)
