"""Where the server stands: the lab's own network or a vSwitch that is there; its firewall."""

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_alicloud import ecs, vpc

from provisioning.plan import Plan
from provisioning.settings import Settings
from stack.adoption import Standing
from stack.market import Switch, existing_switch
from stack.region import FIREWALL, NETWORK, SWITCH
from stack.resources.server.choice import ServerChoice

_CIDR = "172.16.0.0/16"

Given = pulumi.Output[Switch]
"""A vSwitch that is not the lab's."""


@dataclass(frozen=True)
class Order:
    """What every part of the server is made with."""

    settings: Settings
    place: pulumi.ComponentResource
    name: str
    tags: dict[str, str]
    key_pair: str
    standing: Standing

    def opts(self, kind: str = "", **more: Any) -> pulumi.ResourceOptions:  # noqa: ANN401
        """Resource options; what is there of that `kind` is taken in."""
        both = {**more, **self.standing.opts(kind, more.get("ignore_changes") or ())}
        return pulumi.ResourceOptions(parent=self.place, **both)


def given_switch(settings: Settings) -> Given | None:
    """The vSwitch that the settings name, once the cloud said that it is there; None for none."""
    if not settings.vswitch_id:
        return None
    return pulumi.Output.from_input(existing_switch(settings))


def network(
    order: Order, choice: ServerChoice, given: Given | None
) -> tuple[pulumi.Output[str], ecs.SecurityGroup]:
    """The id of the vSwitch, and the lab's own firewall beside it."""
    if given is None:
        switch = _own_switch(order, choice)
        switch_id, vpc_id = switch.id, switch.vpc_id
    else:
        # Only once the choice has not refused it.
        accepted = pulumi.Output.all(given, choice.zone).apply(lambda known: known[0])
        switch_id = accepted.apply(lambda switch: switch.id)
        vpc_id = accepted.apply(lambda switch: switch.vpc)
    group = ecs.SecurityGroup(
        "firewall",
        security_group_name=order.name,
        vpc_id=vpc_id,
        inner_access_policy="Drop",
        tags=order.tags,
        opts=order.opts(FIREWALL),
    )
    return switch_id, group


def _own_switch(order: Order, choice: ServerChoice) -> vpc.Switch:
    generation = order.settings.server_generation
    network = vpc.Network(
        "network",
        vpc_name=order.name,
        cidr_block=_CIDR,
        tags=order.tags,
        opts=order.opts(NETWORK, depends_on=[choice]),
    )
    return vpc.Switch(
        "switch",
        vswitch_name=order.name,
        vpc_id=network.id,
        cidr_block=choice.subnet.apply(
            # A choice of an earlier program has none.
            lambda subnet: f"172.16.{(generation - 1 if subnet is None else subnet) % 256}.0/24"
        ),
        zone_id=choice.zone,
        tags=order.tags,
        opts=order.opts(SWITCH),
    )


def open_ports(order: Order, group: ecs.SecurityGroup, plan: Plan) -> list[ecs.SecurityGroupRule]:
    """The firewall's rules: who may reach which port."""
    return [
        ecs.SecurityGroupRule(
            f"open-{port}-{cidr}",
            type="ingress",
            ip_protocol="tcp",
            # Part of the rule's id, and a VPC takes no other (docs/facts/alicloud.md §6).
            nic_type="intranet",
            policy="accept",
            port_range=f"{port}/{port}",
            priority=1,
            security_group_id=group.id,
            cidr_ip=cidr,
            opts=order.opts(),
        )
        for port, networks in plan.open_ports.items()
        for cidr in networks
    ]
