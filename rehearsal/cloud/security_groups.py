"""Security groups and their rules (docs/facts/alicloud.md §6)."""

import ipaddress
import re

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.described import shown
from rehearsal.cloud.refusals import refusal
from rehearsal.cloud.rpc import Answer, Request, action
from rehearsal.cloud.state import Group, Rule


@action("ecs:CreateSecurityGroup")
def _create(cloud: Cloud, request: Request) -> Answer:
    made = Group(
        **request.fresh(cloud, "sg", "SecurityGroupName"),
        vpc=request.named("VpcId", cloud.vpcs).id,
    )
    cloud.groups[made.id] = made
    cloud.tags[made.id] = request.tags()
    return {"SecurityGroupId": made.id}


@action("ecs:DescribeSecurityGroupAttribute")
def _describe(cloud: Cloud, request: Request) -> Answer:
    group = _group(cloud, request)
    rules = [
        {**shown("Permission", rule), "SecurityGroupRuleId": f"sgr-{group.serial}{number:02d}"}
        for number, rule in enumerate(group.rules)
    ]
    return {**shown("SecurityGroupAttribute", group), "Permissions": {"Permission": rules}}


@action("ecs:ModifySecurityGroupAttribute")
def _modify(cloud: Cloud, request: Request) -> None:
    group = _group(cloud, request)
    group.name = request.text("SecurityGroupName", group.name)


@action("ecs:ModifySecurityGroupPolicy")
def _modify_policy(cloud: Cloud, request: Request) -> None:
    _group(cloud, request).inner_access = request.needed("InnerAccessPolicy").capitalize()


@action("ecs:DeleteSecurityGroup")
def _delete(cloud: Cloud, request: Request) -> None:
    """Refused while a server is in it."""
    group = _group(cloud, request)
    if any(group.id in instance.groups for instance in cloud.instances.values()):
        raise refusal("DependencyViolation")
    del cloud.groups[group.id]


@action("ecs:AuthorizeSecurityGroup")
def _authorize(cloud: Cloud, request: Request) -> None:
    """An equal rule is the same rule. Its parts come in a list, from older clients flat."""
    prefix = "Permissions.1." if request.text("Permissions.1.IpProtocol") else ""
    group, rule = _group(cloud, request), _rule(request, prefix)
    if rule not in group.rules:
        group.rules.append(rule)


@action("ecs:RevokeSecurityGroup")
def _revoke(cloud: Cloud, request: Request) -> None:
    group, rule = _group(cloud, request), _rule(request)
    group.rules = [other for other in group.rules if other != rule]


def _group(cloud: Cloud, request: Request) -> Group:
    return request.named("SecurityGroupId", cloud.groups)


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
        request.text(f"{prefix}IpProtocol").upper(),
        (int(ports[1]), int(ports[2])),
        source,
        request.text(f"{prefix}Policy", "accept").capitalize(),
        request.number(f"{prefix}Priority", 1),
    )
