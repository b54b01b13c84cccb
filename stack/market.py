"""What the cloud has on offer right now: zones with stock, images that fit.

Asked in previews too, within a time limit: without a network this would hang for minutes
(`docs/facts/engine.md`).
"""

import asyncio
import re
from dataclasses import dataclass
from typing import TypeVar

import pulumi
import pulumi_alicloud as alicloud

from provisioning.cloud_errors import explain
from provisioning.problems import Problem
from provisioning.settings import Settings

_SECONDS = 60
_DRIVER_IMAGE = r"(?i)^ubuntu_2[24]_04_.*gpu"
_PLAIN_IMAGE = r"^ubuntu_22_04_x64_20G_alibase_\d+\.vhd$"
_DRIVER = re.compile(r"(?<![\d.])(\d{3})\.\d{2,3}(?:\.\d{2})?(?![\d.])")

T = TypeVar("T")
_Image = alicloud.ecs.outputs.GetImagesImageResult


class MarketError(Exception):
    """The cloud could not be asked what it has on offer."""


@dataclass(frozen=True)
class Switch:
    """A vSwitch that is there: its id, and those of its VPC and zone. `wrong`: why it cannot be
    stood in, "" where it can."""

    id: str
    vpc: str = ""
    zone: str = ""
    wrong: str = ""


async def existing_switch(settings: Settings) -> Switch:
    """The vSwitch `vswitchId`, and whether it is there and in the zone of the settings."""
    wanted = settings.vswitch_id
    found = await _answered(
        f"where {wanted} is", alicloud.vpc.get_switches_output(ids=[wanted]), "leave out vswitchId"
    )
    if not found.vswitches:
        right = "name one of the cloud's console, or leave it out for a network of the lab's own"
        wrong = f"there is no {wanted} in {settings.region}"
        return Switch(wanted, wrong=str(Problem("vswitchId", wrong, right)))
    [switch] = found.vswitches
    problem = ""
    if settings.zone not in ("", switch.zone_id):
        wrong = f"{wanted} lies in {switch.zone_id}, and zone is {settings.zone}"
        right = "leave zone out, or name a vSwitch of that zone"
        problem = str(Problem("vswitchId", wrong, right))
    return Switch(wanted, switch.vpc_id, switch.zone_id, problem)


async def zones_on_offer(settings: Settings, only: str = "") -> list[str]:
    """Zones that the server may stand in: the one of the settings, else all that have it in stock,
    and of them `only` one where the vSwitch is given."""
    zones = [settings.zone] if settings.zone else await zones_in_stock(settings)
    return [zone for zone in zones if only in ("", zone)]


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


async def _answered(
    what: str, answer: pulumi.Output[T], instead: str = "name `zone` and `imageId`"
) -> T:
    try:
        found = await asyncio.wait_for(asyncio.ensure_future(answer.future()), _SECONDS)
    except asyncio.TimeoutError:
        found = None
    except Exception as error:  # The SDK's have no kind of their own.
        said = explain(str(error), pulumi.get_stack()) or str(error)
        raise MarketError(f"the cloud did not say {what}. {said}") from error
    if found is None:
        raise MarketError(
            f"waited {_SECONDS} s for the cloud to say {what}, without an answer. Check the "
            f"network and the credentials, or {instead} in the settings"
        )
    return found
