"""alicloud_security_group_rule (docs/facts/alicloud.md §6)."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, ClassVar

from rehearsal.providers.alicloud.client import at
from rehearsal.providers.alicloud.kinds import ApiKind, names, not_one_of
from rehearsal.providers.base import Failure, ProviderError
from rehearsal.providers.values import UNKNOWN, Properties


class SecurityGroupRule(ApiKind):
    """It has no name in the cloud: its id is made of what it says."""

    resource, product = "alicloud_security_group_rule", "ecs"
    actions = (
        "AuthorizeSecurityGroup",
        "DescribeSecurityGroupAttribute",
        "ModifySecurityGroupRule",
        "RevokeSecurityGroup",
    )
    id_parameter = "SecurityGroupId"
    sends: ClassVar = {}
    shows: ClassVar = {"description": "Description", "securityGroupRuleId": "SecurityGroupRuleId"}
    constant: ClassVar = {
        "ipv6CidrIp": "",
        "nicType": "intranet",
        "prefixListId": "",
        "sourceGroupOwnerAccount": "",
        "sourceSecurityGroupId": "",
    }
    computed = frozenset({"id", "securityGroupRuleId"})
    force_new = names(
        "type ipProtocol nicType policy portRange priority securityGroupId cidrIp "
        "ipv6CidrIp sourceSecurityGroupId prefixListId"
    )

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """The words that the provider's schema knows."""
        inputs, failures = super().check(old, new)
        for name, known in (
            ("type", ("ingress", "egress")),
            ("ipProtocol", ("tcp", "udp", "icmp", "icmpv6", "gre", "all")),
            ("policy", ("accept", "drop")),
            ("nicType", ("internet", "intranet")),
        ):
            failures += not_one_of(new, name, known)
        priority = new.get("priority", 1)
        if priority is not UNKNOWN and not 1 <= priority <= 100:
            reason = f"expected priority to be in the range (1 - 100): {priority}"
            failures.append(("priority", reason))
        return inputs, failures

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """The answer names nothing; the rule is looked up by what it says."""
        _check(inputs)
        parts = (
            inputs["securityGroupId"],
            inputs["type"],
            inputs["ipProtocol"],
            inputs.get("portRange", "-1/-1"),
            "intranet",
            inputs["cidrIp"],
            inputs.get("policy", "accept"),
            str(inputs.get("priority", 1)),
        )
        id = ":".join(parts)
        said = {**_said(id), "Description": inputs.get("description")}
        self._about(id, self.actions[0], {f"Permissions.1.{k}": v for k, v in said.items()})
        return id, self._present(id, inputs)

    def describe(self, id: str) -> Any | None:  # noqa: ANN401
        """The one of the group's rules that says the same."""
        group, direction, *_ = id.split(":")
        answer = ApiKind.describe(self, group)
        said = _masked(_said(id))
        rows = at(answer, "Permissions.Permission") if answer else []
        return next(
            (
                row
                for row in rows
                if row["Direction"] == direction
                and all(str(row[name]).lower() == value.lower() for name, value in said.items())
            ),
            None,
        )

    def outputs(self, id: str, found: Any, known: Properties) -> Properties:  # noqa: ANN401
        """As the cloud keeps it: a network without the bits behind its mask."""
        group, direction, protocol, ports, _, _, policy, priority = id.split(":")
        return {
            **super().outputs(id, found, known),
            "cidrIp": found["SourceCidrIp"] or found["DestCidrIp"],
            "ipProtocol": protocol,
            "policy": policy,
            "portRange": ports,
            "priority": int(priority),
            "securityGroupId": group,
            "type": direction,
        }

    def modify(self, id: str, changed: set[str], inputs: Properties) -> None:
        """Its description."""
        said = {**_said(id), "Description": inputs.get("description", "")}
        self._about(id, self.actions[2], said)

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """A group that has gone took its rules with it."""
        if self.describe(id) is not None:
            self._about(id, self.actions[3], _said(id))

    def _about(self, id: str, action: str, said: dict[str, Any]) -> None:
        group, direction, *_ = id.split(":")
        if direction == "egress":
            action = action.removesuffix("Rule") + "Egress" + ("Rule" * action.endswith("Rule"))
        self.call(action, SecurityGroupId=group, **said)


def _said(id: str) -> dict[str, Any]:
    _, direction, protocol, ports, nic, cidr, policy, priority = id.split(":")
    return {
        "IpProtocol": protocol,
        "PortRange": ports,
        "NicType": nic,
        "SourceCidrIp" if direction == "ingress" else "DestCidrIp": cidr,
        "Policy": policy,
        "Priority": priority,
    }


def _masked(said: dict[str, Any]) -> dict[str, Any]:
    return {
        name: str(ipaddress.IPv4Network(value, strict=False)) if name.endswith("CidrIp") else value
        for name, value in said.items()
    }


def _check(inputs: Properties) -> None:
    """What the provider looks at itself."""
    if inputs.get("nicType", "internet") != "intranet":
        raise ProviderError(
            "When security group in the vpc or authorizing permission for source/destination "
            "security group, the nic_type must be 'intranet'."
        )
    ports = inputs.get("portRange", "-1/-1")
    if inputs["ipProtocol"] in ("tcp", "udp"):
        found = re.fullmatch(r"(\d+)/(\d+)", ports)
        if not found or not 1 <= int(found[1]) <= int(found[2]) <= 65535:
            raise ProviderError(
                "'tcp' and 'udp' can support port range: [1, 65535]. "
                "Please correct it and try again."
            )
    elif ports != "-1/-1":
        raise ProviderError(
            "'icmp', 'gre' and 'all' only support port range '-1/-1'. "
            "Please correct it and try again."
        )
