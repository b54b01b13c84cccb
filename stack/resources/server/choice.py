"""Which server is rented where and from which image, chosen once from what is on offer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pulumi

from provisioning.account import last_look
from provisioning.editions import EditionName
from stack.resources.base import LabResource, say
from stack.resources.declaration import IGNORED, OUTPUT, REACH, Lab, Props, Thing

_FIRST = (
    "Nothing was rented. Try again later, or another region, zone or instance type; spot and "
    "pay-as-you-go have separate stock"
)
_REPLACING = (
    "The present server stands as before: set serverGeneration back to keep it. To replace it "
    "without a second one, run `pulumi destroy` first and then `pulumi up`; all data on it is "
    "lost, and another customer may get the freed server before you"
)

_MOVING = (
    "a standing server does not move: set vswitchId back to keep it, or raise serverGeneration "
    "too, for a new one; all data on it is lost then"
)

_OTHER_EDITION = (
    "the lab that stands is of edition {old}, and the settings say {new}: a standing lab does not "
    "move. Set edition back to keep it, or raise serverGeneration too, for a new server and an "
    "empty lab; lost are its chats, share links, API keys and all that was made in the web pages"
)

_OTHER_STORAGE = (
    "the lab that stands keeps its files in {old}, and the settings say {new}: nothing carries "
    "them over. Set storage back to keep it, or raise serverGeneration too, for a new server and "
    "an empty lab"
)

_FOR_LIFE = {"edition": _OTHER_EDITION, "storage": _OTHER_STORAGE}

Way = tuple[str, str, str]
"""Type, zone and image of a server."""


@dataclass(frozen=True, kw_only=True)
class Choice(Thing):
    """Type, zone and image of the server; what is on offer later changes nothing.

    Final once there is a server: where an `up` ended before it had one, the next takes the next on
    offer, zone by zone and then type by type.

    Args:
        generation: any number; a change of it chooses anew, and means another server.
        offers: what is on offer of each type (`stack.market.Offer`), the preferred type first.
        held: type, zone and image of the server that stays or is taken in, or only the zone of a
            vSwitch that is; empty where nothing stands.
        lost: id of the server that the region has no more, "" where it stands; chooses anew once.
        settled: whether the last choice came to a server.
        replacing: whether another server of the lab stands.
        switch: id of the vSwitch that it stands in, "" for the lab's own; another one needs another
            generation, because a server does not move.
        edition: which FastGPT the lab has; another one needs another generation, because nothing
            that it stored can be read by the other.
        storage: where FastGPT's files are; the same holds of it.
        refusal: why that vSwitch cannot be stood in, "" where it can.
        wanted: what is looked for, for the error: `a server in cn-hangzhou`.
        region, tag: where the lab is, and the value of its tag: everything rented comes after the
            choice and goes before it, so that it looks last.

    Outputs: `type`, `zone`, `image`; `subnet`: number of the lab's own vSwitch, another in another
    zone, because old and new stand side by side for a while and must not overlap.
    """

    generation: int
    offers: Annotated[Sequence[Mapping[str, Any]] | None, IGNORED]
    held: Annotated[Sequence[str], IGNORED] = ()
    lost: Annotated[str, IGNORED] = ""
    settled: Annotated[bool, IGNORED] = True
    replacing: Annotated[bool, IGNORED] = False
    wanted: Annotated[str, IGNORED] = "the server"
    switch: Annotated[str, IGNORED] = ""
    edition: Annotated[EditionName, IGNORED] = "seeds"  # older states lack it
    storage: Annotated[str, IGNORED] = "minio"  # older states lack it
    refusal: Annotated[str, IGNORED] = ""
    region: Annotated[str, REACH] = ""
    tag: Annotated[str, REACH] = ""
    type: Annotated[str, OUTPUT] = ""
    zone: Annotated[str, OUTPUT] = ""
    image: Annotated[str, OUTPUT] = ""
    subnet: Annotated[int | None, OUTPUT] = None

    def create(self, lab: Lab) -> "Choice":  # noqa: ARG002
        """Take the first of what is on offer."""
        return self._taking(self._ways()[0], self.generation - 1)

    def update(self, lab: Lab, old: "Choice", changed: frozenset[str]) -> "Choice":  # noqa: ARG002
        """Choose anew: after a server that was lost the same zone, if it has one."""
        ways, here = self._ways(), (old.type, old.zone)
        known = [way[:2] for way in ways]
        at = known.index(here) if here in known else -1
        if "generation" in changed:
            way = ways[0]
        elif self.lost not in ("", old.lost):
            way = ways[max(at, 0)]
        else:
            way = ways[(at + 1) % len(ways)]
            before = " in ".join(part for part in here if part)
            say("choice")(f"the last `up` got no server for {before}; now {way[0]} in {way[1]}")
        subnet = old.generation - 1 if old.subnet is None else old.subnet
        return self._taking(way, subnet + (way[1] != old.zone))

    def delete(self, lab: Lab) -> None:
        """Look once more at the region, and say what still costs."""
        if not self.tag:
            return
        if left := last_look(self.region, self.tag, lab.config):
            pulumi.log.warn(left)
        else:
            say("the bill")(f"nothing of this lab is left in {self.region}")

    def drift(self, lab: Lab, wanted: "Choice") -> frozenset[str]:  # noqa: ARG002
        """Whether the choice is to be made again, without another generation."""
        return frozenset({"zone"} if self.is_over(wanted) else ())

    def is_over(self, wanted: "Choice") -> bool:
        """Whether it came to no server, or its server was lost since."""
        return not wanted.settled or wanted.lost not in ("", self.lost)

    @classmethod
    def check(cls, olds: Props, news: Props) -> Iterator[tuple[str, str]]:
        """Refuse, at preview already, to choose where nothing is on offer."""
        old, new = cls.of(olds), cls.of(news)
        if olds and old.generation == new.generation:
            for name, says in _FOR_LIFE.items():
                was, wanted = getattr(old, name), getattr(new, name)
                if was != wanted and not old.is_over(new):
                    yield name, says.format(old=was, new=wanted)
                    return
            if old.switch != new.switch:
                yield "switch", _MOVING
                return
            if not old.is_over(new):
                return
        if "refusal" in news and new.refusal:
            yield "switch", new.refusal
        elif "offers" in news and not any(new.held[:1]):
            yield from new._unavailable(_REPLACING if new.replacing else _FIRST)

    def _unavailable(self, advice: str) -> Iterator[tuple[str, str]]:
        offers = self.offers or ()
        if not any(offer["zones"] for offer in offers):
            there = [f"{zone} has {o['type']}" for o in offers for zone in o["elsewhere"]]
            elsewhere = f" ({', '.join(there)}: another zone than wanted)" if there else ""
            yield "offers", f"{self.wanted}: no zone has it in stock{elsewhere}. {advice}"
        elif not self._ways():
            yield "offers", f"{self.wanted}: no image fits it. {advice}"

    def _ways(self) -> list[Way]:
        """All that may be rented, the preferred one first; the server that is taken in alone."""
        kind, only, image = self.held or ("", "", "")
        if kind:
            return [(kind, only, image)]
        offers = [(o["type"], o["zones"], o["images"]) for o in self.offers or ()]
        found = [(name, zone, i[0]) for name, zones, i in offers if i for zone in zones]
        return [way for way in found if only in ("", way[1])]

    def _taking(self, way: Way, subnet: int) -> "Choice":
        kind, zone, image = way
        return replace(self, type=kind, zone=zone, image=image, subnet=subnet)


class ServerChoice(LabResource, thing=Choice, token="server:Choice"):
    type: pulumi.Output[str]
    zone: pulumi.Output[str]
    image: pulumi.Output[str]
    subnet: pulumi.Output[int | None]
