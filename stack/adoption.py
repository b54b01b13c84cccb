"""What the region has of this lab beside what the state knows, so that nothing is rented twice.

An engine that is killed while it creates something leaves it in the cloud and not in the state. It
is taken in (`import`) where it is what would be created now; where it is not, nothing is rented.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pulumi

from provisioning.settings import Settings
from stack.region import (
    ADDRESS,
    DISK,
    FIREWALL,
    JOINED,
    KEY,
    NETWORK,
    SERVER,
    SWITCH,
    TOKENS,
    Belonging,
    State,
    about_to_go,
    belongings,
    read_state,
    server_of,
)
from stack.told import end


@dataclass(frozen=True)
class Standing:
    """What stands of the lab.

    Attributes:
        name: what the server is called: the standing one's, or of the one to be rented.
        type: the instance type of the server that stays; "" where one is rented.
        stays: type, zone and image of the server that stays; empty where one is rented.
        adopted: what is taken in, by kind.
        lost: id of the server that the state has and the region has not, "" for none.
        settled, replacing: as `ServerChoice` wants them.
    """

    name: str
    type: str = ""
    stays: Sequence[str] = ()
    adopted: Mapping[str, Belonging] = field(default_factory=dict)
    lost: str = ""
    settled: bool = True
    replacing: bool = False

    def opts(self, kind: str, ignored: Sequence[str] = ()) -> dict[str, Any]:
        """Resource options that take in what is there of that kind."""
        if kind not in self.adopted:
            return {}
        later = [*ignored, *_LATER.get(kind, ())]
        return {"import_": self.adopted[kind].id, "ignore_changes": later}

    @property
    def held(self) -> list[str]:
        """Type, zone and image of the server that stays or is taken in, else the vSwitch's zone."""
        if self.stays:
            return list(self.stays)
        if server := self.adopted.get(SERVER):
            told = server.told
            return [told.instance_type, told.availability_zone, told.image_id]
        switch = self.adopted.get(SWITCH)
        return ["", switch.told.zone_id, ""] if switch else []


# Taken in as it is, and made what is wanted by the next `up`: an import takes no difference.
_LATER = {
    SERVER: ("autoReleaseTime", "tags", "volumeTags", "internetMaxBandwidthOut", "keyName"),
    ADDRESS: ("tags", "bandwidth"),
    KEY: ("publicKey", "tags"),
    NETWORK: ("tags",),
    SWITCH: ("tags",),
    FIREWALL: ("tags", "innerAccessPolicy"),
}


def what_stands(settings: Settings, name: str, tags: Mapping[str, str], key_pair: str) -> Standing:
    """What stands of the lab called `name`; warns of what was lost or lies about.

    Ends the program where something is there that cannot be taken in and a server would be rented
    beside it.

    Args:
        tags: the one that every lab's belongings bear.
        key_pair: name of the operator's; a server with another one is another operator's.
    """
    state, there = read_state(), belongings(name, tags)
    known = state.outputs(TOKENS[SERVER])
    _check_region(settings.region, known)
    if known and known["id"] not in {each.id for each in there}:
        there += server_of(known["id"])
    if _loose(state, there):
        state = replace(state, going=about_to_go())
    standing, stray = settle(state, there, settings, name, key_pair)
    where = f"{settings.region} (tag {', '.join(f'{k}={v}' for k, v in tags.items())})"
    if stray and not (standing.type or SERVER in standing.adopted):
        end(_STRAY.format(where=where, stray=_listed(stray), **_commands()))
    if stray:
        pulumi.log.warn(_LIES_ABOUT.format(where=where, stray=_listed(stray), **_commands()))
    if standing.adopted:
        taken = _listed(standing.adopted.values())
        pulumi.log.warn(f"{taken}: in {where}, not in the state; taken in, not made twice")
    elif standing.lost:
        pulumi.log.warn(_LOST.format(id=standing.lost, region=settings.region))
    return standing


_STRAY = (
    "{stray}: in {where}, in no state, and not what this `up` would make. Nothing was rented "
    "beside it. If an interrupted run left it, `{sweep}` lists and removes it; if it is another "
    "lab's, of another backend or somebody else's, give this lab a stack of another name"
)
_LIES_ABOUT = (
    "{stray}: in {where}, in no state, and not of this lab; it may cost money. `{sweep}` lists and "
    "removes what an interrupted run left"
)
_LOST = (
    "The server {id} is not in {region} any more: its lease ended, it was released by hand, or "
    "spot took it back. One `pulumi up` rents another and builds the lab anew; what was on its "
    "disk is lost"
)


_ELSEWHERE = (
    "alicloud:region: the server {id} stands in {zone}, and the settings name {region}; set the "
    "region back. To move, run `pulumi destroy` first, and change it then: what is on the server "
    "is lost"
)


def _check_region(region: str, known: Mapping[str, Any]) -> None:
    """End where the server stands in another region: here it would look lost, and cost on there."""
    zone = str(known.get("availabilityZone") or region)
    if not zone.startswith(region):
        end(_ELSEWHERE.format(id=known["id"], zone=zone, region=region))


def _commands() -> dict[str, str]:
    return {"sweep": f"make sweep STACK={pulumi.get_stack()}"}


def _listed(belongings: Iterable[Belonging]) -> str:
    return ", ".join(f"{each.kind} {each.id} ({each.name})" for each in belongings)


def settle(
    state: State, there: Sequence[Belonging], settings: Settings, name: str, key_pair: str
) -> tuple[Standing, list[Belonging]]:
    """What stands, and what is there beside it."""
    loose = _loose(state, there)
    known = state.outputs(TOKENS[SERVER])
    last, id = str(known.get("instanceName") or ""), str(known.get("id") or "")
    wanted, alive = f"{name}-{settings.server_generation}", id in _servers(there)
    fits = re.fullmatch(rf"{re.escape(wanted)}(-\d+)?", last)
    if alive and fits:
        types = (settings.instance_type, *settings.instance_types)
        now = str(known.get("instanceType"))
        stays = [now, str(known.get("availabilityZone")), str(known.get("imageId"))]
        kept = Standing(last, now if now in types else settings.instance_type, stays)
        adopted = _adopted(loose, state, settings, name, key_pair, {})
        return replace(kept, adopted=adopted), _beside(loose, adopted)
    called = _successor(last, wanted) if id and not alive and fits else wanted
    adopted = _adopted(loose, state, settings, name, key_pair, {SERVER: called})
    remembered = str(state.outputs("server:HostKey").get("instance_id") or "")
    lost = "" if alive or SERVER in adopted else id or remembered
    chosen = state.outputs("server:Choice")
    standing = Standing(
        called,
        adopted=adopted,
        lost=lost,
        # A choice after the loss of this very server came to none.
        settled=SERVER in adopted or not chosen or (bool(lost) and chosen.get("lost") != lost),
        replacing=alive,
    )
    return standing, _beside(loose, adopted)


def _servers(there: Iterable[Belonging]) -> set[str]:
    return {each.id for each in there if each.kind == SERVER}


def _loose(state: State, there: Sequence[Belonging]) -> list[Belonging]:
    """What no state knows; a server's disks are the server's."""
    servers = _servers(there)
    return [
        each
        for each in there
        if each.id not in state.ids and not (each.kind == DISK and each.told.instance_id in servers)
    ]


def _beside(loose: Sequence[Belonging], adopted: Mapping[str, Belonging]) -> list[Belonging]:
    taken = {each.id for each in adopted.values()}
    return [each for each in loose if each.id not in taken]


def _successor(last: str, wanted: str) -> str:
    """`lab-1-2` after `lab-1`, whose server was lost; another name is another server."""
    number = int(last.removeprefix(wanted).lstrip("-") or 1)
    return f"{wanted}-{number + 1}"


def _adopted(
    loose: Sequence[Belonging],
    state: State,
    settings: Settings,
    name: str,
    key_pair: str,
    names: Mapping[str, str],
) -> dict[str, Belonging]:
    """What is taken in: the one of its name, where the state has none and all fit each other."""
    names = {NETWORK: name, SWITCH: name, FIREWALL: name, KEY: key_pair, **names}
    names |= {ADDRESS: name} if settings.elastic_ip else {}
    if settings.vswitch_id:
        names = {kind: names[kind] for kind in names if kind not in (NETWORK, SWITCH)}
    found: dict[str, Belonging] = {}
    for kind, wanted in names.items():
        if kind != SERVER and state.outputs(TOKENS[kind]):
            continue
        same = [each for each in loose if each.kind == kind and each.name == wanted]
        same = [each for each in same if _fits(each, found, state, settings, key_pair)]
        if len(same) == 1:
            found[kind] = same[0]
    address = found.get(ADDRESS)
    if address and address.told.instance_id:
        pair = f"{address.id}:{address.told.instance_id}"
        found[JOINED] = Belonging(JOINED, pair, name, address.told)
    return found


def _fits(
    each: Belonging,
    found: Mapping[str, Belonging],
    state: State,
    settings: Settings,
    key_pair: str,
) -> bool:
    def place(kind: str) -> str:
        known = state.outputs(TOKENS[kind]).get("id")
        return found[kind].id if kind in found else str(known or "")

    if each.kind == SERVER:
        types = (settings.instance_type, *settings.instance_types)
        there = each.told.vswitch_id == (settings.vswitch_id or place(SWITCH))
        return there and each.told.key_name == key_pair and each.told.instance_type in types
    if each.kind in (SWITCH, FIREWALL) and not settings.vswitch_id:
        return bool(each.told.vpc_id == place(NETWORK))
    return True
