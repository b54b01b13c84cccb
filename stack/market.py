"""What the cloud has on offer right now: zones with stock, images that fit.

Asked in previews too, within a time limit: without a network this would hang for minutes
(`docs/facts/engine.md`).
"""

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


async def zones_in_stock(settings: Settings) -> list[str]:
    """Zones that have the instance type in stock right now; empty if it is sold out.

    `get_zones` does not look at the stock of one type (`docs/facts/alicloud.md §1.3`).
    """
    found = await _answered(
        "which zones have the server",
        alicloud.ecs.get_instance_types_output(
            instance_type=settings.instance_type,
            system_disk_category=settings.disk_category,
            spot_strategy="SpotAsPriceGo" if settings.spot else "NoSpot",
        ),
    )
    return sorted(found.instance_types[0].availability_zones) if found.instance_types else []


async def images_on_offer(settings: Settings, minimum_driver: int) -> list[str]:
    """Images for the server, the best first.

    The newest whose NVIDIA driver is known to be new enough, then plain Ubuntu, which gets its
    driver from us. One that does not say its driver comes last: a wrong one shows only once the
    server is paid for, and is not replaced in place.
    """
    with_driver = await _newest(settings, _DRIVER_IMAGE) if settings.gpus else []
    fitting = [image for image in with_driver if _driver_of(image) >= minimum_driver]
    silent = [image for image in with_driver if not _driver_of(image)]
    plain = await _newest(settings, _PLAIN_IMAGE)
    return [image.id for image in fitting[:1] + plain[:1] + silent[:1]]


async def _newest(settings: Settings, name: str) -> list[_Image]:
    found = await _answered(
        "which images fit the server",
        alicloud.ecs.get_images_output(
            owners="system", name_regex=name, instance_type=settings.instance_type
        ),
    )
    return sorted(found.images, key=lambda image: image.creation_time, reverse=True)


def _driver_of(image: _Image) -> int:
    """Major version of the NVIDIA driver that an image says it has; 0 where it does not say."""
    texts = (image.name, image.description, image.os_name, image.os_name_en)
    said = _DRIVER.search(" ".join(text or "" for text in texts))
    return int(said[1]) if said else 0


async def _answered(what: str, answer: pulumi.Output[T]) -> T:
    try:
        found = await asyncio.wait_for(asyncio.ensure_future(answer.future()), _SECONDS)
    except asyncio.TimeoutError:
        found = None
    if found is None:
        raise MarketError(
            f"waited {_SECONDS} s for the cloud to say {what}, without an answer. Check the "
            "network and the credentials, or name `zone` and `imageId` in the settings"
        )
    return found
