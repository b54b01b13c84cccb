"""What the cloud has on offer right now: zones with stock, images that fit.

Asked in previews too, within a time limit: without a network this would hang for minutes
(`docs/facts/engine.md`).
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Any, TypeVar

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
    asked = alicloud.vpc.get_switches_output(ids=[wanted])
    found = await answered(f"where {wanted} is", asked, "leave vswitchId out of the settings")
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


Offer = dict[str, Any]
"""What can be bought of one type: `{type, zones, elsewhere, images}`; `zones` have it in stock and
fit the settings, `elsewhere` have it and do not; images as `images_on_offer` sorts them."""


async def offers(settings: Settings, minimum_driver: int, only: str = "") -> list[Offer]:
    """What each type of the settings has on offer right now, `instanceType` first; in the zone
    `only` where the vSwitch is given."""
    types = (settings.instance_type, *settings.instance_types)
    return await asyncio.gather(*(_offer(settings, one, minimum_driver, only) for one in types))


async def _offer(settings: Settings, wanted: str, minimum_driver: int, only: str) -> Offer:
    stock = await zones_in_stock(settings, wanted)
    fitting = [zone for zone in stock if settings.zone in ("", zone) and only in ("", zone)]
    images = [settings.image_id] if settings.image_id else []
    return {
        "type": wanted,
        "zones": fitting,
        "elsewhere": sorted(set(stock) - set(fitting)),
        "images": images or await images_on_offer(settings, wanted, minimum_driver),
    }


async def zones_in_stock(settings: Settings, wanted: str) -> list[str]:
    """Zones that have the instance type in stock right now; empty if it is sold out.

    `get_zones` does not look at the stock of one type (`docs/facts/alicloud.md §1.3`).
    """
    found = await answered(
        "which zones have the server",
        alicloud.ecs.get_instance_types_output(
            instance_type=wanted,
            system_disk_category=settings.disk_category,
            spot_strategy="SpotAsPriceGo" if settings.spot else "NoSpot",
        ),
    )
    return sorted(found.instance_types[0].availability_zones) if found.instance_types else []


async def images_on_offer(settings: Settings, wanted: str, minimum_driver: int) -> list[str]:
    """Images for a server of that type, the best first.

    The newest whose NVIDIA driver is known to be new enough, then plain Ubuntu, which gets its
    driver from us. One that does not say its driver comes last: a wrong one shows only once the
    server is paid for, and is not replaced in place.
    """
    with_driver = await _newest(wanted, _DRIVER_IMAGE) if settings.gpus else []
    fitting = [image for image in with_driver if _driver_of(image) >= minimum_driver]
    silent = [image for image in with_driver if not _driver_of(image)]
    plain = await _newest(wanted, _PLAIN_IMAGE)
    return [image.id for image in fitting[:1] + plain[:1] + silent[:1]]


async def _newest(wanted: str, name: str) -> list[_Image]:
    found = await answered(
        "which images fit the server",
        alicloud.ecs.get_images_output(owners="system", name_regex=name, instance_type=wanted),
    )
    return sorted(found.images, key=lambda image: image.creation_time, reverse=True)


def _driver_of(image: _Image) -> int:
    """Major version of the NVIDIA driver that an image says it has; 0 where it does not say."""
    texts = (image.name, image.description, image.os_name, image.os_name_en)
    said = _DRIVER.search(" ".join(text or "" for text in texts))
    return int(said[1]) if said else 0


async def answered(what: str, answer: pulumi.Output[T], instead: str = "try again later") -> T:
    """What the cloud answers, within a time limit. Raises MarketError: nothing came."""
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
            f"network and the credentials, or {instead}"
        )
    return found
