"""Networks and their subnets."""

import ipaddress

from rehearsal.cloud import market
from rehearsal.cloud.account import Cloud
from rehearsal.cloud.refusals import dependency, not_found, refusal
from rehearsal.cloud.rpc import Answer, Request, action, shown, shown_tags, tagged, to_the_second
from rehearsal.cloud.state import Switch, Vpc

_PRIVATE = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


@action("vpc", "CreateVpc")
def _create(cloud: Cloud, request: Request) -> Answer:
    cidr = _network(request.text("CidrBlock", "172.16.0.0/12"), 8, 28)
    if not any(cidr.subnet_of(private) for private in _PRIVATE):
        raise refusal("InvalidCidrBlock")
    made = Vpc(
        id=cloud.new_id("vpc"),
        region=request.region,
        name=request.text("VpcName"),
        cidr=cidr,
        created=cloud.now(),
        router=cloud.new_id("vrt"),
        route_table=cloud.new_id("vtb"),
    )
    cloud.vpcs[made.id] = made
    cloud.tags[made.id] = request.tags()
    return {"VpcId": made.id, "VRouterId": made.router, "RouteTableId": made.route_table}


@action("vpc", "DescribeVpcs")
def _list(cloud: Cloud, request: Request) -> Answer:
    asked = request.text("VpcId")
    rows = [
        _shown(cloud, vpc)
        for vpc in cloud.vpcs.values()
        if vpc.region == request.region
        and asked in ("", vpc.id)
        and request.text("VpcName") in ("", vpc.name)
        and tagged(cloud, vpc.id, request)
    ]
    return request.page("Vpcs", "Vpc", rows)


@action("vpc", "DescribeVpcAttribute")
def _describe(cloud: Cloud, request: Request) -> Answer:
    return _shown(cloud, _vpc(cloud, request.needed("VpcId")))


@action("vpc", "DescribeRouteTableList")
def _route_tables(cloud: Cloud, request: Request) -> Answer:
    rows = [
        shown("RouteTable", RouteTableId=vpc.route_table, VpcId=vpc.id, RouterId=vpc.router)
        for vpc in cloud.vpcs.values()
        if vpc.region == request.region and request.text("VpcId") in ("", vpc.id)
    ]
    return request.page("RouterTableList", "RouterTableListType", rows)


@action("vpc", "ModifyVpcAttribute")
def _modify(cloud: Cloud, request: Request) -> Answer:
    vpc = _vpc(cloud, request.needed("VpcId"))
    vpc.name = request.text("VpcName", vpc.name)
    return {}


@action("vpc", "DeleteVpc")
def _delete(cloud: Cloud, request: Request) -> Answer:
    """Refused while something is in it."""
    id = _vpc(cloud, request.needed("VpcId")).id
    if any(switch.vpc == id for switch in cloud.switches.values()):
        raise dependency("VSwitch")
    if any(group.vpc == id for group in cloud.groups.values()):
        raise dependency("SecurityGroup")
    del cloud.vpcs[id]
    cloud.tags.pop(id, None)
    return {}


@action("vpc", "CreateVSwitch")
def _create_switch(cloud: Cloud, request: Request) -> Answer:
    owner = _vpc(cloud, request.needed("VpcId"))
    zone = request.needed("ZoneId")
    if zone not in market.zones(owner.region):
        raise not_found("zone", "InvalidZoneId.NotFound")
    cidr = _network(request.needed("CidrBlock"), 16, 29)
    if not cidr.subnet_of(owner.cidr):
        raise refusal("InvalidCidrBlock")
    others = (other.cidr for other in cloud.switches.values() if other.vpc == owner.id)
    if any(cidr.overlaps(other) for other in others):
        raise refusal("InvalidCidrBlock.Overlapped")
    made = Switch(
        id=cloud.new_id("vsw"),
        vpc=owner.id,
        zone=zone,
        name=request.text("VSwitchName"),
        cidr=cidr,
        created=cloud.now(),
    )
    cloud.switches[made.id] = made
    cloud.tags[made.id] = request.tags()
    return {"VSwitchId": made.id}


@action("vpc", "DescribeVSwitches")
def _list_switches(cloud: Cloud, request: Request) -> Answer:
    rows = [
        _shown_switch(cloud, switch)
        for switch in cloud.switches.values()
        if request.text("VpcId") in ("", switch.vpc)
        and request.text("VSwitchId") in ("", switch.id)
        and tagged(cloud, switch.id, request)
    ]
    return request.page("VSwitches", "VSwitch", rows)


@action("vpc", "DescribeVSwitchAttributes")
def _describe_switch(cloud: Cloud, request: Request) -> Answer:
    return _shown_switch(cloud, _switch(cloud, request))


@action("vpc", "ModifyVSwitchAttribute")
def _modify_switch(cloud: Cloud, request: Request) -> Answer:
    switch = _switch(cloud, request)
    switch.name = request.text("VSwitchName", switch.name)
    return {}


@action("vpc", "DeleteVSwitch")
def _delete_switch(cloud: Cloud, request: Request) -> Answer:
    """Refused while a server is in it."""
    id = _switch(cloud, request).id
    if any(instance.switch == id for instance in cloud.instances.values()):
        raise dependency("NetworkInterface")
    del cloud.switches[id]
    cloud.tags.pop(id, None)
    return {}


def _vpc(cloud: Cloud, id: str) -> Vpc:
    if id not in cloud.vpcs:
        raise not_found("VPC", "InvalidVpcId.NotFound")
    return cloud.vpcs[id]


def _switch(cloud: Cloud, request: Request) -> Switch:
    id = request.needed("VSwitchId")
    if id not in cloud.switches:
        raise not_found("virtual switch", "InvalidVSwitchId.NotFound")
    return cloud.switches[id]


def _shown(cloud: Cloud, vpc: Vpc) -> Answer:
    switches = [switch.id for switch in cloud.switches.values() if switch.vpc == vpc.id]
    return shown(
        "Vpc",
        VpcId=vpc.id,
        RegionId=vpc.region,
        VpcName=vpc.name,
        CreationTime=to_the_second(vpc.created),
        CidrBlock=str(vpc.cidr),
        VRouterId=vpc.router,
        RouteTableId=vpc.route_table,
        VSwitchIds={"VSwitchId": switches},
        Tags=shown_tags(cloud, vpc.id),
    )


def _shown_switch(cloud: Cloud, switch: Switch) -> Answer:
    return shown(
        "VSwitch",
        VSwitchId=switch.id,
        VpcId=switch.vpc,
        ZoneId=switch.zone,
        VSwitchName=switch.name,
        CreationTime=to_the_second(switch.created),
        CidrBlock=str(switch.cidr),
        Tags=shown_tags(cloud, switch.id),
    )


def _network(cidr: str, shortest: int, longest: int) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError:
        raise refusal("InvalidCidrBlock") from None
    if not shortest <= network.prefixlen <= longest:
        raise refusal("InvalidCidrBlock")
    return network
