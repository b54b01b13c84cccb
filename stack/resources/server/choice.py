"""Where the server stands and from which image, chosen once from what is on offer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import pulumi

from stack.resources.base import LabResource
from stack.resources.declaration import IGNORED, OUTPUT, Lab, Props, Thing

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


@dataclass(frozen=True, kw_only=True)
class Choice(Thing):
    """Zone and image of the server; what is on offer later changes nothing.

    Args:
        generation: any number; a change of it chooses anew, and means another server.
        zones: zones with stock, the preferred one first.
        images: image ids, the preferred one first.
        switch: id of the vSwitch that it stands in, "" for the lab's own; another one needs another
            generation, because a server does not move.
        refusal: why that vSwitch cannot be stood in, "" where it can.
        wanted: what is looked for, for the error: `ecs.gn7i-c16g1.4xlarge in cn-hangzhou`.
    """

    generation: int
    zones: Annotated[Sequence[str], IGNORED]
    images: Annotated[Sequence[str], IGNORED]
    wanted: Annotated[str, IGNORED] = "the server"
    switch: Annotated[str, IGNORED] = ""
    refusal: Annotated[str, IGNORED] = ""
    zone: Annotated[str, OUTPUT] = ""
    image: Annotated[str, OUTPUT] = ""

    def create(self, lab: Lab) -> "Choice":  # noqa: ARG002
        """Take the first of what is on offer."""
        return replace(self, zone=self.zones[0], image=self.images[0])

    @classmethod
    def check(cls, olds: Props, news: Props) -> Iterator[tuple[str, str]]:
        """Refuse, at preview already, to choose where nothing is on offer."""
        old, new = cls.of(olds), cls.of(news)
        if olds and old.generation == new.generation:
            if old.switch != new.switch:
                yield "switch", _MOVING
            return
        if "refusal" in news and new.refusal:
            yield "switch", new.refusal
            return
        advice = _REPLACING if olds else _FIRST
        if "zones" in news and not new.zones:
            yield "zones", f"{new.wanted}: no zone has it in stock. {advice}"
        if "images" in news and not new.images:
            yield "images", f"{new.wanted}: no image fits it. {advice}"


class ServerChoice(LabResource, thing=Choice, token="server:Choice"):
    zone: pulumi.Output[str]
    image: pulumi.Output[str]
