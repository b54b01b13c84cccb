"""Where the server stands and what it boots from: chosen once.

Stock moves by the minute and images by the month. Neither may move, wipe or stop a standing server,
so the choice is made when there is none yet and kept from then on.
"""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi import dynamic


class ServerChoiceProvider(dynamic.ResourceProvider):
    """Chooses in `check`, so that a preview already says when everything is sold out."""

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.CheckResult:
        """Keep the standing choice; choose anew only for another generation of the server."""
        generation = int(news["generation"])
        if olds.get("zone") and int(olds.get("generation", 0)) == generation:
            return dynamic.CheckResult(_kept(olds), [])
        failures = [
            dynamic.CheckFailure(kind, advice.format(wanted=news["wanted"]))
            for kind, advice in _NOTHING.items()
            if not news[kind]
        ]
        if failures:
            return dynamic.CheckResult(news, failures)
        chosen = {"zone": news["zones"][0], "image": news["images"][0], "generation": generation}
        return dynamic.CheckResult(chosen, [])

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        """Only another generation is a change."""
        return dynamic.DiffResult(changes=int(olds["generation"]) != int(news["generation"]))

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Nothing to make: the choice is the resource."""
        return dynamic.CreateResult(f"{props['zone']}/{props['image']}", _kept(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        """Take in the new choice."""
        return dynamic.UpdateResult(_kept(news))


_NOTHING = {
    "zones": "{wanted} is sold out in every zone right now. Wait, choose another instanceType or "
    "region, or set spot the other way round; nothing was created",
    "images": "no image for {wanted} was found. Name one with `imageId`; nothing was created",
}


def _kept(props: dict[str, Any]) -> dict[str, Any]:
    return {"zone": props["zone"], "image": props["image"], "generation": int(props["generation"])}


class ServerChoice(dynamic.Resource, module="lab", name="ServerChoice"):
    """Zone and image of the server.

    Attributes:
        zone: availability zone, such as `cn-hangzhou-i`.
        image: image id.
    """

    zone: pulumi.Output[str]
    image: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        generation: int,
        zones: pulumi.Input[list[str]],
        images: pulumi.Input[list[str]],
        wanted: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "generation": generation,
            "zones": zones,
            "images": images,
            "wanted": wanted,
            "zone": None,
            "image": None,
        }
        super().__init__(ServerChoiceProvider(), name, props, opts)
