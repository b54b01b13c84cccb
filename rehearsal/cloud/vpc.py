"""Networks and their subnets."""

import ipaddress

from rehearsal.cloud import market
from rehearsal.cloud.account import Cloud
from rehearsal.cloud.refusals import dependency, not_found, refusal
from rehearsal.cloud.rpc import Answer, Request, action
from rehearsal.cloud.state import Switch, Vpc

_PRIVATE = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


@action("vpc:CreateVpc")
def _create(cloud: Cloud, request: Request) -> Answer:
    cidr = _network(request.text("CidrBlock", "172.16.0.0/12"), 8, 28)
    if not any(cidr.subnet_of(private) for private in _PRIVATE):
        raise refusal("InvalidCidrBlock")
    made = Vpc(
        **request.fresh(cloud, "vpc", "VpcName"),
        cidr=cidr,
        router=cloud.new_id("vrt"),
        route_table=cloud.new_id("vtb"),
    )
    cloud.vpcs[made.id] = made
    cloud.tags[made.id] = request.tags()
    return {"VpcId": made.id, "VRouterId": made.router, "RouteTableId": made.route_table}


@action("vpc:ModifyVpcAttribute")
def _modify(cloud: Cloud, request: Request) -> None:
    vpc = request.named("VpcId", cloud.vpcs)
    vpc.name = request.text("VpcName", vpc.name)


@action("vpc:DeleteVpc")
def _delete(cloud: Cloud, request: Request) -> None:
    """Refused while something is in it."""
    vpc = request.named("VpcId", cloud.vpcs)
    if vpc.switches:
        raise dependency("VSwitch")
    if any(group.vpc == vpc.id for group in cloud.groups.values()):
        raise dependency("SecurityGroup")
    del cloud.vpcs[vpc.id]


@action("vpc:CreateVSwitch")
def _create_switch(cloud: Cloud, request: Request) -> Answer:
    owner, zone = request.named("VpcId", cloud.vpcs), request.needed("ZoneId")
    if zone not in market.zones(owner.region):
        raise not_found("ZoneId")
    cidr = _network(request.needed("CidrBlock"), 16, 29)
    if not cidr.subnet_of(owner.cidr):
        raise refusal("InvalidCidrBlock")
    if any(cidr.overlaps(cloud.switches[other].cidr) for other in owner.switches):
        raise refusal("InvalidCidrBlock.Overlapped")
    made = Switch(
        **request.fresh(cloud, "vsw", "VSwitchName"),
        vpc=owner.id,
        zone=zone,
        cidr=cidr,
    )
    cloud.switches[made.id] = made
    owner.switches.append(made.id)
    cloud.tags[made.id] = request.tags()
    return {"VSwitchId": made.id}


@action("vpc:ModifyVSwitchAttribute")
def _modify_switch(cloud: Cloud, request: Request) -> None:
    switch = request.named("VSwitchId", cloud.switches)
    switch.name = request.text("VSwitchName", switch.name)


@action("vpc:DeleteVSwitch")
def _delete_switch(cloud: Cloud, request: Request) -> None:
    """Refused while a server is in it."""
    switch = request.named("VSwitchId", cloud.switches)
    if any(instance.switch == switch.id for instance in cloud.instances.values()):
        raise dependency("NetworkInterface")
    del cloud.switches[switch.id]
    cloud.vpcs[switch.vpc].switches.remove(switch.id)


def _network(cidr: str, shortest: int, longest: int) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError:
        raise refusal("InvalidCidrBlock") from None
    if not shortest <= network.prefixlen <= longest:
        raise refusal("InvalidCidrBlock")
    return network
