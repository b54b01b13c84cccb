"""What there is of a lab: what the stack's state holds, and what the region has.

Asked in previews too, at the begin of every run.
"""

import asyncio
import json
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pulumi
from pulumi.runtime.sync_await import _sync_await
from pulumi_alicloud import ecs, vpc

from stack.market import answered

_STATE = "pulumi:pulumi:readStackResourceOutputs"
"""The engine's own answer to what a stack holds, without what it is about to delete."""

SERVER, DISK, ADDRESS, KEY = "server", "disk", "elastic address", "key pair"
NETWORK, SWITCH, FIREWALL = "VPC", "vSwitch", "security group"
JOINED = "address of the server"
_EXPORT_SECONDS = 60
TOKENS = {
    SERVER: "alicloud:ecs/instance:Instance",
    ADDRESS: "alicloud:ecs/eipAddress:EipAddress",
    KEY: "alicloud:ecs/ecsKeyPair:EcsKeyPair",
    NETWORK: "alicloud:vpc/network:Network",
    SWITCH: "alicloud:vpc/switch:Switch",
    FIREWALL: "alicloud:ecs/securityGroup:SecurityGroup",
}


class _Listing(NamedTuple):
    ask: Callable[..., pulumi.Output[Any]]
    answer: str
    name: str
    tagged: bool = True


# The cloud takes the tags of a vSwitch and of an address only once they are there.
_LISTINGS = {
    SERVER: _Listing(ecs.get_instances_output, "instances", "name"),
    DISK: _Listing(ecs.get_ecs_disks_output, "disks", "disk_name"),
    ADDRESS: _Listing(ecs.get_eip_addresses_output, "addresses", "address_name", tagged=False),
    KEY: _Listing(ecs.get_ecs_key_pairs_output, "pairs", "key_pair_name"),
    FIREWALL: _Listing(ecs.get_security_groups_output, "groups", "name"),
    NETWORK: _Listing(vpc.get_networks_output, "vpcs", "vpc_name"),
    SWITCH: _Listing(vpc.get_switches_output, "vswitches", "name", tagged=False),
}


class Belonging(NamedTuple):
    """Something in the region that bears the lab's tags or name; `told` is the cloud's answer."""

    kind: str
    id: str
    name: str
    told: Any


@dataclass(frozen=True)
class State:
    """What the stack's state holds: `(type, outputs)` of each resource; `going`: ids of what it is
    about to delete, as far as they were asked for."""

    resources: Sequence[tuple[str, Mapping[str, Any]]]
    going: frozenset[str] = frozenset()

    def outputs(self, ending: str) -> Mapping[str, Any]:
        """Those of the resource whose type ends so; empty without one."""
        return next((outputs for type, outputs in self.resources if type.endswith(ending)), {})

    @property
    def ids(self) -> set[str]:
        """Of all that it holds."""
        return {str(outputs.get("id")) for _, outputs in self.resources} | self.going


def read_state() -> State:
    """The state as this run found it."""
    place = (pulumi.get_organization(), pulumi.get_project(), pulumi.get_stack())
    stack = "/".join(part for part in place if part)
    told = pulumi.runtime.invoke(_STATE, {"stackName": stack}).value
    rows = dict((told or {}).get("outputs") or {}).values()
    return State([(str(row["type"]), row["outputs"]) for row in rows])


def belongings(name: str, tags: Mapping[str, str]) -> list[Belonging]:
    """All in the region that bears the lab's `tags`, or its `name` where the cloud takes tags late.

    Raises MarketError: the cloud does not answer."""
    return _sync_await(_belongings(name, tags))


async def _belongings(name: str, tags: Mapping[str, str]) -> list[Belonging]:
    found = await asyncio.gather(*(_of_kind(kind, name, tags) for kind in _LISTINGS))
    return [each for rows in found for each in rows]


async def _of_kind(kind: str, name: str, tags: Mapping[str, str]) -> list[Belonging]:
    asked = _LISTINGS[kind]
    by: dict[str, Any] = {"tags": tags} if asked.tagged else {"name_regex": f"^{re.escape(name)}$"}
    told = await answered("what it has of this lab", asked.ask(**by))
    rows = getattr(told, asked.answer)
    return [Belonging(kind, row.id, getattr(row, asked.name), row) for row in rows]


def server_of(id: str) -> list[Belonging]:
    """The server of that id, whatever it bears: only the cloud's own "not there" means gone.

    Raises MarketError: the cloud does not answer."""
    asked = ecs.get_instances_output(ids=[id])
    told = _sync_await(answered(f"whether {id} is there", asked))
    return [Belonging(SERVER, row.id, row.name, row) for row in told.instances]


def about_to_go() -> frozenset[str]:
    """Ids that the state holds, of what is to be deleted as well."""
    command = ["pulumi", "stack", "export", "--stack", pulumi.get_stack(), "--non-interactive"]
    try:
        told = subprocess.run(command, capture_output=True, check=True, timeout=_EXPORT_SECONDS)
        resources = json.loads(told.stdout)["deployment"].get("resources", ())
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return frozenset()
    return frozenset(str(each.get("id")) for each in resources)
