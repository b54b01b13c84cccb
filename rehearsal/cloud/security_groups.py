"""Security groups and their rules (docs/facts/alicloud.md §6)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.refusals import not_found, refusal
from rehearsal.cloud.rpc import Answer, Request, action, shown_tags, tagged, to_the_second
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
        description=request.text("Description"),
        created=cloud.now(),
    )
    cloud.groups[made.id] = made
    cloud.tags[made.id] = request.tags()
    return {"SecurityGroupId": made.id}


@action("ecs", "DescribeSecurityGroups")
def _list(cloud: Cloud, request: Request) -> Answer:
    rows = [
        {
            "SecurityGroupId": group.id,
            "SecurityGroupName": group.name,
            "SecurityGroupType": "normal",
            "Description": group.description,
            "VpcId": group.vpc,
            "CreationTime": to_the_second(group.created),
            "ResourceGroupId": "",
            "Tags": shown_tags(cloud, group.id, "Tag"),
        }
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
        {
            "Direction": rule.direction,
            "IpProtocol": rule.protocol.upper(),
            "PortRange": f"{rule.ports[0]}/{rule.ports[1]}",
            "SourceCidrIp": str(rule.source) if rule.direction == "ingress" else "",
            "DestCidrIp": str(rule.source) if rule.direction == "egress" else "",
            "NicType": "intranet",
            "Policy": rule.policy.capitalize(),
            "Priority": str(rule.priority),
            "Description": description,
            "SecurityGroupRuleId": f"sgr-{group.id.removeprefix('sg-')}{number:02d}",
        }
        for number, (rule, description) in enumerate(group.rules.items())
        if request.text("Direction", "all") in ("all", rule.direction)
    ]
    return {
        "SecurityGroupId": group.id,
        "SecurityGroupName": group.name,
        "Description": group.description,
        "VpcId": group.vpc,
        "RegionId": group.region,
        "InnerAccessPolicy": group.inner_access,
        "Permissions": {"Permission": rules},
    }


@action("ecs", "ModifySecurityGroupAttribute")
def _modify(cloud: Cloud, request: Request) -> Answer:
    group = _group(cloud, request)
    group.name = request.text("SecurityGroupName", group.name)
    group.description = request.text("Description", group.description)
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


def _authorize(direction: str) -> Callable[[Cloud, Request], Answer]:
    def handler(cloud: Cloud, request: Request) -> Answer:
        """An equal rule is the same rule. Its parts come in a list, from older clients flat."""
        prefix = "Permissions.1." if request.given("Permissions.1.IpProtocol") else ""
        rule = _rule(request, direction, prefix)
        group = _group(cloud, request)
        group.rules.setdefault(rule, request.text(f"{prefix}Description"))
        return {}

    return handler


def _modify_rule(direction: str) -> Callable[[Cloud, Request], Answer]:
    def handler(cloud: Cloud, request: Request) -> Answer:
        """Its description; the rest makes another rule of it."""
        group, rule = _group(cloud, request), _rule(request, direction)
        if rule not in group.rules:
            raise not_found("security group rule", "InvalidSecurityGroupRule.RuleNotExist")
        group.rules[rule] = request.text("Description")
        return {}

    return handler


def _revoke(direction: str) -> Callable[[Cloud, Request], Answer]:
    def handler(cloud: Cloud, request: Request) -> Answer:
        _group(cloud, request).rules.pop(_rule(request, direction), None)
        return {}

    return handler


for _direction, _suffix in (("ingress", ""), ("egress", "Egress")):
    action("ecs", f"AuthorizeSecurityGroup{_suffix}")(_authorize(_direction))
    action("ecs", f"ModifySecurityGroup{_suffix}Rule")(_modify_rule(_direction))
    action("ecs", f"RevokeSecurityGroup{_suffix}")(_revoke(_direction))


def _group(cloud: Cloud, request: Request) -> Group:
    id = request.needed("SecurityGroupId")
    if id not in cloud.groups:
        raise not_found("security group", "InvalidSecurityGroupId.NotFound")
    return cloud.groups[id]


def _rule(request: Request, direction: str, prefix: str = "") -> Rule:
    protocol = request.text(f"{prefix}IpProtocol").lower()
    ports = re.fullmatch(r"(-?\d+)/(-?\d+)", request.text(f"{prefix}PortRange"))
    if not ports:
        raise refusal("InvalidIpProtocol.ValueNotSupported")
    cidr = request.text(f"{prefix}{'Source' if direction == 'ingress' else 'Dest'}CidrIp")
    if not cidr:
        raise refusal("MissingParameter.Source")
    try:
        source = ipaddress.IPv4Network(cidr, strict=False)
    except ValueError:
        raise refusal("InvalidParam.SourceIp") from None
    return Rule(
        direction,
        protocol,
        (int(ports[1]), int(ports[2])),
        source,
        request.text(f"{prefix}Policy", "accept").lower(),
        request.number(f"{prefix}Priority", 1),
    )
