"""A stack beside its region: what bears the lab's tag there and is in no state; what has gone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioning.account import Account
from provisioning.account_api import region_of
from provisioning.account_kinds import Belonging
from provisioning.server_problems import OWN_TAG
from tools.environment import ROOT
from tools.stack_file import CannotRead, config_of, read_stack
from tools.standing import NoLab, Stack, ask_pulumi, no_outputs, no_stack

_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")
_INSTANCE = "alicloud:ecs/instance:Instance"


@dataclass(frozen=True)
class Known:
    """What a state knows: ids of all that it has, to be deleted or half made too; its servers, each
    with its zone."""

    ids: frozenset[str] = frozenset()
    servers: Mapping[str, str] = field(default_factory=dict)

    def has(self, belonging: Belonging) -> bool:
        """A disk or an address that a known server has is the server's."""
        return belonging.id in self.ids or belonging.attached_to in self.ids


@dataclass(frozen=True)
class InCloud:
    """What a look into the account found.

    Attributes:
        leftovers: they bear the lab's tag and are in no state, in the order of removal.
        gone: servers of the state that the region has no more.
    """

    region: str
    leftovers: tuple[Belonging, ...] = ()
    gone: tuple[str, ...] = ()


def look_into(stack: Stack, root: Path = ROOT) -> InCloud:
    """Compare the stack's state with its region.

    Raises:
        NoLab: the stack's settings or its state cannot be read, or name no region.
        ServiceError: the account cannot be looked into.
    """
    account = account_of(stack, root)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(account.belongings, OWN_TAG, tag_of(stack))
        known = known_to(stack, root)
        belongings = found.result()
    # Settings that name another region now say nothing of a server that stands where it was made.
    here = (id for id, zone in known.servers.items() if zone.startswith(account.region) or not zone)
    gone = [server for server in here if not account.standing(server)]
    left = (each for each in belongings if not known.has(each))
    return InCloud(account.region, tuple(left), tuple(gone))


def tag_of(stack: Stack) -> str:
    """The value of the lab's tag: the stack's name without its organization."""
    return stack.name.rpartition("/")[2]


def account_of(stack: Stack, root: Path = ROOT) -> Account:
    """The account as the stack's provider sees it. Raises NoLab: its settings cannot be read."""
    file = ["--config-file", str(stack.config_file)] if stack.config_file else []
    answer = ask_pulumi(stack, root, "config", "--json", "--show-secrets", *file)
    if answer.returncode == 0:
        config = dict(_settings(json.loads(answer.stdout or "{}")))
    elif no_stack(answer.stderr):
        config = _written(stack, root)
    else:
        raise NoLab(no_outputs(stack, answer.stderr, "settings"))
    region = region_of(config, stack.environment)
    if not region:
        raise NoLab(f"alicloud:region is not set in the stack {stack.name}: nowhere to look")
    if stack.rehearsed:
        # The cloud's client asks no NO_PROXY, and no proxy knows the way to this machine.
        for name in _PROXIES:
            os.environ.pop(name, None)
    return Account(region, config, stack.environment)


def known_to(stack: Stack, root: Path = ROOT) -> Known:
    """What the state knows; nothing where there is no such stack. Raises NoLab: not readable."""
    answer = ask_pulumi(stack, root, "stack", "export")
    if answer.returncode == 0:
        return known_in(json.loads(answer.stdout or "{}"))
    if no_stack(answer.stderr):
        return Known()
    raise NoLab(no_outputs(stack, answer.stderr, "state"))


def known_in(exported: Mapping[str, Any]) -> Known:
    """What is in `pulumi stack export`: also what waits to be deleted, and what was begun."""
    deployment = exported.get("deployment") or {}
    begun = [each.get("resource") or {} for each in deployment.get("pending_operations") or []]
    resources: Sequence[Mapping[str, Any]] = [*(deployment.get("resources") or []), *begun]
    ids = frozenset(str(each["id"]) for each in resources if each.get("id"))
    servers = {
        str(each["id"]): str((each.get("outputs") or {}).get("availabilityZone") or "")
        for each in resources
        if each.get("type") == _INSTANCE and each.get("id") and not each.get("delete")
    }
    return Known(ids, servers)


def _settings(told: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Of `pulumi config --json`: the provider's, structures read."""
    for name, each in told.items():
        if name.startswith("alicloud:"):
            yield name, each.get("objectValue", each.get("value"))


def _written(stack: Stack, root: Path) -> dict[str, Any]:
    """As the stack's file says it, where the backend has no such stack to decrypt secrets with."""
    try:
        written = config_of(root / f"Pulumi.{tag_of(stack)}.yaml")
        region = read_stack(root, tag_of(stack)).settings["region"]
    except CannotRead as error:
        raise NoLab(str(error)) from None
    plain = {name: value for name, value in written.items() if "secure" not in str(value)}
    return {"alicloud:region": region} | {
        name: value for name, value in plain.items() if name.startswith("alicloud:")
    }
