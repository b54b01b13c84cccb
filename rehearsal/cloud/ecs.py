"""Servers: renting, changing, and giving them back."""

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.orders import check_disk, for_sale, in_network, lease_end, ordered
from rehearsal.cloud.refusals import refusal
from rehearsal.cloud.rpc import Answer, Request, action
from rehearsal.cloud.state import Instance


@action("ecs:RunInstances")
def _run(cloud: Cloud, request: Request) -> Answer:
    """The server is booted when the answer comes."""
    made = ordered(cloud, request)
    if request.flag("DryRun"):
        raise refusal("DryRunOperation")
    cloud.change_stock(made, -1)
    if made.bandwidth:
        made.public_ips = [cloud.data_centre.fresh_address()]
    cloud.instances[made.id] = made
    cloud.tags[made.id] = request.tags()
    cloud.bill.server(made)
    cloud.bill.disk(made)
    cloud.leases_changed()
    request.later.append(lambda: cloud.power(made, on=True))
    return {"InstanceIdSets": {"InstanceIdSet": [made.id]}}


@action("ecs:DeleteInstance")
def _delete(cloud: Cloud, request: Request) -> None:
    """Its disk goes with it; a running one only by force."""
    instance = _instance(cloud, request)
    if instance.status != "Stopped" and not request.flag("Force"):
        raise refusal("IncorrectInstanceStatus")
    request.later.append(lambda: cloud.release(instance.id))


@action("ecs:StopInstance")
def _stop(cloud: Cloud, request: Request) -> None:
    instance = _instance(cloud, request)
    request.later.append(lambda: cloud.power(instance, on=False))


@action("ecs:StartInstance")
def _start(cloud: Cloud, request: Request) -> None:
    instance = _instance(cloud, request)
    request.later.append(lambda: cloud.power(instance, on=True))


@action("ecs:ModifyInstanceAttribute")
def _modify(cloud: Cloud, request: Request) -> None:
    instance = _instance(cloud, request)
    if groups := request.listed("SecurityGroupIds"):
        instance.groups = in_network(cloud, groups, cloud.switches[instance.switch])
    instance.name = request.text("InstanceName", instance.name)


@action("ecs:ModifyInstanceMetadataOptions")
def _modify_metadata(cloud: Cloud, request: Request) -> None:
    metadata = _instance(cloud, request).metadata
    metadata["HttpEndpoint"] = request.needed("HttpEndpoint")
    metadata["HttpTokens"] = request.text("HttpTokens", metadata["HttpTokens"])


@action("ecs:ModifyInstanceAutoReleaseTime")
def _modify_lease(cloud: Cloud, request: Request) -> None:
    """Without a time the lease is cancelled."""
    _instance(cloud, request).ends = lease_end(request.text("AutoReleaseTime"), cloud.now())
    cloud.leases_changed()


@action("ecs:ModifyInstanceNetworkSpec")
def _modify_bandwidth(cloud: Cloud, request: Request) -> None:
    """Above 0 the server has a public address, at 0 none."""
    instance = _instance(cloud, request)
    before = instance.address
    instance.bandwidth = request.number("InternetMaxBandwidthOut")
    if not instance.bandwidth:
        instance.public_ips = []
    elif not instance.public_ips:
        instance.public_ips = [cloud.data_centre.fresh_address()]
    request.later.append(lambda: cloud.moved(instance, before))


@action("ecs:ModifyInstanceSpec")
def _modify_type(cloud: Cloud, request: Request) -> None:
    """Only of a server that is switched off."""
    instance = _instance(cloud, request)
    if instance.status != "Stopped":
        raise refusal("IncorrectInstanceStatus")
    wanted = for_sale(cloud, request.needed("InstanceType"), instance.zone)
    cloud.change_stock(instance, +1)
    cloud.bill.close(instance.id)
    instance.type = wanted
    cloud.change_stock(instance, -1)
    cloud.bill.server(instance)


@action("ecs:ResizeDisk")
def _resize_disk(cloud: Cloud, request: Request) -> None:
    """In place, and only to more."""
    disks = {instance.disk_id: instance for instance in cloud.instances.values()}
    instance, gib = request.named("DiskId", disks), request.number("NewSize")
    if gib < instance.disk_gib:
        raise refusal("InvalidDiskSize.TooSmall")
    check_disk(instance.type, instance.disk_category, instance.disk_level, gib)
    cloud.bill.close(instance.disk_id)
    instance.disk_gib = gib
    cloud.bill.disk(instance)


def _instance(cloud: Cloud, request: Request) -> Instance:
    return request.named("InstanceId", cloud.instances)
