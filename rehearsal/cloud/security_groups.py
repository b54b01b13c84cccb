"""Security groups and their rules (docs/facts/alicloud.md §6)."""

import ipaddress
import re

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.refusals import not_found, refusal
from rehearsal.cloud.rpc import Answer, Request, action, shown, shown_tags, tagged, to_the_second
from rehearsal.cloud.state import Group, Rule


@action("ecs", "CreateSecurityGroup")
def _create(cloud: Cloud, request: Request) -> Answer:
    vpc = request.text("VpcId")
    if vpc not in cloud.vpcs:
        raise not_found("VPC", "InvalidVpcId.NotFound")
    made = Group(
        id=cloud.new_id("sg"),
        region=request.region,
        vpc=vpc,
        name=request.text("SecurityGroupName"),
        created=cloud.now(),
    )
    cloud.groups[made.id] = made
    cloud.tags[made.id] = request.tags()
    return {"SecurityGroupId": made.id}


@action("ecs", "DescribeSecurityGroups")
def _list(cloud: Cloud, request: Request) -> Answer:
    rows = [
        shown(
            "SecurityGroup",
            SecurityGroupId=group.id,
            SecurityGroupName=group.name,
            VpcId=group.vpc,
            CreationTime=to_the_second(group.created),
            Tags=shown_tags(cloud, group.id, "Tag"),
        )
        for group in cloud.groups.values()
        if group.region == request.region
        and request.text("SecurityGroupId") in ("", group.id)
        and request.text("VpcId") in ("", group.vpc)
        and tagged(cloud, group.id, request)
    ]
    return request.page("SecurityGroups", "SecurityGroup", rows)


@action("ecs", "DescribeSecurityGroupAttribute")
def _describe(cloud: Cloud, request: Request) -> Answer:
    group = _group(cloud, request)
    rules = [
        shown(
            "Permission",
            Direction="ingress",
            IpProtocol=rule.protocol.upper(),
            PortRange=f"{rule.ports[0]}/{rule.ports[1]}",
            SourceCidrIp=str(rule.source),
            Policy=rule.policy.capitalize(),
            Priority=str(rule.priority),
            SecurityGroupRuleId=f"sgr-{group.id.removeprefix('sg-')}{number:02d}",
        )
        for number, rule in enumerate(group.rules)
    ]
    return {
        "SecurityGroupId": group.id,
        "SecurityGroupName": group.name,
        "VpcId": group.vpc,
        "RegionId": group.region,
        "InnerAccessPolicy": group.inner_access,
        "Permissions": {"Permission": rules},
    }


@action("ecs", "ModifySecurityGroupAttribute")
def _modify(cloud: Cloud, request: Request) -> Answer:
    group = _group(cloud, request)
    group.name = request.text("SecurityGroupName", group.name)
    return {}


@action("ecs", "ModifySecurityGroupPolicy")
def _modify_policy(cloud: Cloud, request: Request) -> Answer:
    _group(cloud, request).inner_access = request.needed("InnerAccessPolicy").capitalize()
    return {}


@action("ecs", "DeleteSecurityGroup")
def _delete(cloud: Cloud, request: Request) -> Answer:
    """Refused while a server is in it."""
    id = _group(cloud, request).id
    if any(id in instance.groups for instance in cloud.instances.values()):
        raise refusal("DependencyViolation")
    del cloud.groups[id]
    cloud.tags.pop(id, None)
    return {}


@action("ecs", "AuthorizeSecurityGroup")
def _authorize(cloud: Cloud, request: Request) -> Answer:
    """An equal rule is the same rule. Its parts come in a list, from older clients flat."""
    prefix = "Permissions.1." if request.given("Permissions.1.IpProtocol") else ""
    group, rule = _group(cloud, request), _rule(request, prefix)
    if rule not in group.rules:
        group.rules.append(rule)
    return {}


@action("ecs", "RevokeSecurityGroup")
def _revoke(cloud: Cloud, request: Request) -> Answer:
    group, rule = _group(cloud, request), _rule(request)
    group.rules = [other for other in group.rules if other != rule]
    return {}


def _group(cloud: Cloud, request: Request) -> Group:
    id = request.needed("SecurityGroupId")
    if id not in cloud.groups:
        raise not_found("security group", "InvalidSecurityGroupId.NotFound")
    return cloud.groups[id]


def _rule(request: Request, prefix: str = "") -> Rule:
    ports = re.fullmatch(r"(-?\d+)/(-?\d+)", request.text(f"{prefix}PortRange"))
    if not ports:
        raise refusal("InvalidIpProtocol.ValueNotSupported")
    cidr = request.text(f"{prefix}SourceCidrIp")
    if not cidr:
        raise refusal("MissingParameter.Source")
    try:
        source = ipaddress.IPv4Network(cidr, strict=False)
    except ValueError:
        raise refusal("InvalidParam.SourceIp") from None
    return Rule(
        request.text(f"{prefix}IpProtocol").lower(),
        (int(ports[1]), int(ports[2])),
        source,
        request.text(f"{prefix}Policy", "accept").lower(),
        request.number(f"{prefix}Priority", 1),
    )
