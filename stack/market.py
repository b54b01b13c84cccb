"""What the cloud has on offer right now: zones with stock, images that fit.

These are look-ups over the network, made during previews as well; each has a time limit, because
without a network they would hang for minutes (`docs/facts/engine.md`).
"""

from __future__ import annotations

import asyncio
import re
from typing import TypeVar

import pulumi
import pulumi_alicloud as alicloud

from provisioning.settings import Settings

_SECONDS = 60
_DRIVER_IMAGE = r"(?i)^ubuntu_2[24]_04_.*gpu"
_PLAIN_IMAGE = r"^ubuntu_22_04_x64_20G_alibase_\d+\.vhd$"
_DRIVER = re.compile(r"(?<![\d.])(\d{3})\.\d{2,3}(?:\.\d{2})?(?![\d.])")

T = TypeVar("T")
_Image = alicloud.ecs.outputs.GetImagesImageResult


class MarketError(Exception):
    """The cloud could not be asked what it has on offer."""


def zones_in_stock(settings: Settings) -> pulumi.Output[list[str]]:
    """Zones that have the instance type in stock right now; empty if it is sold out.

    Not `get_zones`: that one does not look at the stock of one type (`docs/facts/alicloud.md
    §1.3`).
    """

    async def ask() -> list[str]:
        found = await _answered(
            "which zones have the server",
            alicloud.ecs.get_instance_types_output(
                instance_type=settings.instance_type,
                system_disk_category=settings.disk_category,
                spot_strategy="SpotAsPriceGo" if settings.spot else "NoSpot",
            ),
        )
        types = found.instance_types if found else []
        return sorted(types[0].availability_zones) if types else []

    return pulumi.Output.from_input(ask())


def images_on_offer(settings: Settings, minimum_driver: int) -> pulumi.Output[list[str]]:
    """Images for the server, the best first.

    The newest whose NVIDIA driver is known to be new enough, then plain Ubuntu, which gets its
    driver from us. One that does not say its driver comes last: a wrong one shows only once the
    server is paid for, and is not replaced in place.
    """

    async def newest(name: str) -> list[_Image]:
        found = await _answered(
            "which images fit the server",
            alicloud.ecs.get_images_output(
                owners="system", name_regex=name, instance_type=settings.instance_type
            ),
        )
        images = found.images if found else []
        return sorted(images, key=lambda image: image.creation_time, reverse=True)

    async def ask() -> list[str]:
        with_driver = await newest(_DRIVER_IMAGE) if settings.gpus else []
        fitting = [image for image in with_driver if _driver_of(image) >= minimum_driver]
        silent = [image for image in with_driver if not _driver_of(image)]
        return [i.id for i in fitting[:1] + (await newest(_PLAIN_IMAGE))[:1] + silent[:1]]

    return pulumi.Output.from_input(ask())


def _driver_of(image: _Image) -> int:
    """Major version of the NVIDIA driver that an image says it has; 0 where it does not say."""
    texts = (image.name, image.description, image.os_name, image.os_name_en)
    said = _DRIVER.search(" ".join(text or "" for text in texts))
    return int(said[1]) if said else 0


async def _answered(what: str, answer: pulumi.Output[T]) -> T | None:
    try:
        return await asyncio.wait_for(asyncio.ensure_future(answer.future()), _SECONDS)
    except asyncio.TimeoutError:
        raise MarketError(
            f"waited {_SECONDS} s for the cloud to say {what}, without an answer. Check the "
            "network and the credentials, or name `zone` and `imageId` in the settings"
        ) from None
