"""Servers: renting, changing, and giving them back."""

from rehearsal.cloud import lease
from rehearsal.cloud.account import Cloud
from rehearsal.cloud.orders import check_disk, for_sale, in_network, ordered
from rehearsal.cloud.refusals import not_found, refusal
from rehearsal.cloud.rpc import Answer, Request, action
from rehearsal.cloud.state import Instance


@action("ecs", "RunInstances")
def _run(cloud: Cloud, request: Request) -> Answer:
    """The server is booted when the answer comes."""
    made = ordered(cloud, request)
    if request.flag("DryRun"):
        raise refusal("DryRunOperation")
    cloud.change_stock(made, -1)
    if made.bandwidth:
        made.public_ip = cloud.data_centre.fresh_address()
    cloud.instances[made.id] = made
    cloud.tags[made.id] = request.tags()
    cloud.bill.server(made)
    cloud.bill.disk(made)
    cloud.leases_changed()
    request.later.append(lambda: cloud.power(made, on=True))
    return {"InstanceIdSets": {"InstanceIdSet": [made.id]}}


@action("ecs", "DeleteInstance")
def _delete(cloud: Cloud, request: Request) -> Answer:
    """Its disk goes with it; a running one only by force."""
    instance = _instance(cloud, request)
    if instance.status != "Stopped" and not request.flag("Force"):
        raise refusal("IncorrectInstanceStatus")
    request.later.append(lambda: cloud.release(instance.id))
    return {}


@action("ecs", "StopInstance")
def _stop(cloud: Cloud, request: Request) -> Answer:
    instance = _instance(cloud, request)
    request.later.append(lambda: cloud.power(instance, on=False))
    return {}


@action("ecs", "StartInstance")
def _start(cloud: Cloud, request: Request) -> Answer:
    instance = _instance(cloud, request)
    request.later.append(lambda: cloud.power(instance, on=True))
    return {}


@action("ecs", "ModifyInstanceAttribute")
def _modify(cloud: Cloud, request: Request) -> Answer:
    instance = _instance(cloud, request)
    if groups := request.many("SecurityGroupIds"):
        instance.groups = in_network(cloud, groups, cloud.switches[instance.switch])
    instance.name = request.text("InstanceName", instance.name)
    return {}


@action("ecs", "ModifyInstanceMetadataOptions")
def _modify_metadata(cloud: Cloud, request: Request) -> Answer:
    metadata = _instance(cloud, request).metadata
    metadata["HttpEndpoint"] = request.needed("HttpEndpoint")
    metadata["HttpTokens"] = request.text("HttpTokens", metadata["HttpTokens"])
    return {}


@action("ecs", "ModifyInstanceAutoReleaseTime")
def _modify_lease(cloud: Cloud, request: Request) -> Answer:
    """Without a time the lease is cancelled."""
    _instance(cloud, request).ends = lease.parse(request.text("AutoReleaseTime"), cloud.now())
    cloud.leases_changed()
    return {}


@action("ecs", "ModifyInstanceNetworkSpec")
def _modify_bandwidth(cloud: Cloud, request: Request) -> Answer:
    """Above 0 the server has a public address, at 0 none."""
    instance = _instance(cloud, request)
    before = cloud.address_of(instance)
    instance.bandwidth = request.number("InternetMaxBandwidthOut")
    if not instance.bandwidth:
        instance.public_ip = ""
    elif not instance.public_ip:
        instance.public_ip = cloud.data_centre.fresh_address()
    request.later.append(lambda: cloud.moved(instance, before))
    return {}


@action("ecs", "ModifyInstanceSpec")
def _modify_type(cloud: Cloud, request: Request) -> Answer:
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
    return {}


@action("ecs", "ResizeDisk")
def _resize_disk(cloud: Cloud, request: Request) -> Answer:
    """In place, and only to more."""
    asked, gib = request.needed("DiskId"), request.number("NewSize")
    instance = next((i for i in cloud.instances.values() if i.disk_id == asked), None)
    if instance is None:
        raise not_found("DiskId", "InvalidDiskId.NotFound")
    if gib < instance.disk_gib:
        raise refusal("InvalidDiskSize.TooSmall")
    check_disk(instance.type, instance.disk_category, instance.disk_level, gib)
    cloud.bill.close(asked)
    instance.disk_gib = gib
    cloud.bill.disk(instance)
    return {}


@action("ecs", "AttachKeyPair")
def _attach_key(cloud: Cloud, request: Request) -> Answer:
    """It gets in at the next boot."""
    name = request.needed("KeyPairName")
    if (request.region, name) not in cloud.key_pairs:
        raise not_found("KeyPairName", "InvalidKeyPair.NotFound")
    for id in request.listed("InstanceIds"):
        cloud.instance(id).key_name = name
    return {}


@action("ecs", "DetachKeyPair")
def _detach_key(cloud: Cloud, request: Request) -> Answer:
    for id in request.listed("InstanceIds"):
        cloud.instance(id).key_name = ""
    return {}


def _instance(cloud: Cloud, request: Request) -> Instance:
    return cloud.instance(request.needed("InstanceId"))
