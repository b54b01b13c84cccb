"""The rented server's settings: what the cloud would refuse, and what the lab could not use.

Tags: Alibaba Cloud's manual of TagResources.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from provisioning.cards import Gpus, gpus_of, type_problem
from provisioning.ports import names
from provisioning.prices import DISKS, disk_level, list_price
from provisioning.problems import Problem, nearest, repeated
from provisioning.settings import Settings

OWN_TAG = "ai-lab"
"""The tag by which a lab's things are known; its value is the stack's name."""

_DEFAULT_LEVEL = "PL1"
# Families that entry disks are made for; others may refuse them when the server is bought.
_ENTRY_FAMILIES = ("ecs.e-", "ecs.u1-", "ecs.u2")
# Driver, Docker, images and one small model need this much before anything is stored.
_SMALLEST_DISK, _SMALLEST_GPU_DISK, _LARGEST_DISK = 40, 100, 2048
# The manual of encrypted disks (docs/facts/alicloud.md §2.3): where there are none, and where none
# with a key of one's own.
_UNENCRYPTED_FAMILIES = ("ebmg5", "ebmi3", "ebmc4", "ebmhfg5", "sccg5", "scch5")
_UNENCRYPTED_REGIONS = ("ap-northeast-2", "cn-nanjing")
_WITHOUT_OWN_KEYS = ("ap-southeast-7", "cn-fuzhou")
_LONGEST_TAG = 128
_MOST_TAGS = 20 - 1  # the lab has one of its own
_WEB = ("http://", "https://")


def server_problems(settings: Settings) -> Iterator[Problem]:
    """What is wrong with the order of a server, but for its region and who may reach it."""
    if wrong_type := type_problem(settings.instance_type, settings.wants_gpu):
        yield wrong_type
    for index, other in enumerate(settings.instance_types):
        yield from _other_type_problems(f"instanceTypes[{index}]", settings, other)
    yield from repeated("instanceTypes", settings.instance_types)
    yield from _disk_problems(settings)
    yield from _encryption_problems(settings)
    image, port = settings.image_id, settings.ssh_port
    if image and not re.match(r"m-|ubuntu_2[24]_04_(?!arm64)", image):
        wrong = f"{image} is no Ubuntu 22.04 or 24.04 for x64, and the lab is built on nothing else"
        right = "leave it out, or name one such as ubuntu_22_04_x64_20G_alibase_20240926.vhd"
        yield Problem("imageId", wrong, right)
    if taken := names(settings).get(port):
        wrong = f"{port} is {taken}'s port"
        yield Problem("sshPort", wrong, "use the port of the server's sshd, which is 22")
    limit, price = settings.spot_price_limit, list_price(settings)
    if limit and not settings.spot:
        right = "set spot: true, or leave the limit out"
        yield Problem("spotPriceLimit", "it has no effect without spot", right)
    # Spot is advertised as down to a tenth of the list price.
    elif limit and price is not None and float(limit) < price / 10:
        wrong = f"{limit} is less than a tenth of the list price ({price}), so nothing may be sold"
        right = "raise it, or leave it out to pay the market's price"
        yield Problem("spotPriceLimit", wrong, right, warning=True)
    if len(settings.tags) > _MOST_TAGS:
        yield Problem("tags", f"{len(settings.tags)} are too many", f"keep {_MOST_TAGS} or fewer")
    for key, value in settings.tags.items():
        yield from _tag_problems(key, value)


def zone_problems(settings: Settings) -> Iterator[Problem]:
    """Whether a zone is one of its region: `cn-hangzhou-i`, `ap-southeast-1a`."""
    zone, region = settings.zone, settings.region
    between = "" if region[-1:].isdigit() else "-"
    if zone and not re.fullmatch(rf"{re.escape(region)}{between}[a-z]", zone):
        right = f"write it like {region}{between}b, or leave it out to take one that has stock"
        yield Problem("zone", f"{zone} is no zone of {region}", right)


def _other_type_problems(path: str, settings: Settings, other: str) -> Iterator[Problem]:
    """Of one that is rented where `instanceType` is sold out: the lab on it has to be the same."""
    if other == settings.instance_type:
        yield Problem(path, f"{other} is instanceType already", "leave it out of this list")
    elif wrong := type_problem(other, settings.wants_gpu):
        yield replace(wrong, path=path)
    elif gpus_of(other) != settings.gpus:
        has, planned = _cards(gpus_of(other)), _cards(settings.gpus)
        wrong_cards = f"{other} has {has}, {settings.instance_type} {planned}"
        right = "name types with the same GPUs: the models are planned for those"
        yield Problem(path, wrong_cards, right)


def _cards(gpus: Gpus | None) -> str:
    return f"{gpus.count} x {gpus.card}" if gpus else "no GPU"


def _disk_problems(settings: Settings) -> Iterator[Problem]:
    category, level = settings.disk_category, settings.disk_performance_level
    levels = DISKS.get(category)
    if levels is None:
        wrong = f"there is no category {category!r} for this lab"
        yield Problem("diskCategory", wrong, nearest(category, DISKS))
        return
    disk = levels.get(disk_level(settings))
    if disk is None:
        right = f"use one of {', '.join(levels)}"
        yield Problem("diskPerformanceLevel", f"there is no level {level!r}", right)
        return
    if not disk_level(settings) and level != _DEFAULT_LEVEL:
        wrong = f"{level} has no effect with {category}"
        right = "leave it out, or set diskCategory: cloud_essd"
        yield Problem("diskPerformanceLevel", wrong, right, warning=True)
    if category == "cloud_essd_entry" and not settings.instance_type.startswith(_ENTRY_FAMILIES):
        wrong = f"entry disks are for small families, and {settings.instance_type} may not take one"
        yield Problem("diskCategory", wrong, "use cloud_essd or cloud_auto", warning=True)
    low = max(disk.smallest, _SMALLEST_GPU_DISK if settings.gpus else _SMALLEST_DISK)
    if not low <= settings.disk_size_gib <= _LARGEST_DISK:
        kind = f"{category} {disk_level(settings)}".strip()
        wrong = f"{settings.disk_size_gib} GiB is out of range for {kind} in this lab"
        yield Problem("diskSizeGiB", wrong, f"set it to {low} to {_LARGEST_DISK}")


def _encryption_problems(settings: Settings) -> Iterator[Problem]:
    region, family = settings.region, settings.instance_type.split(".")[1:2]
    own_key = settings.disk_kms_key_id
    if not settings.disk_encryption:
        if own_key:
            right = "set diskEncryption: true, or leave the key out"
            yield Problem("diskKmsKeyId", "it has no effect without diskEncryption", right)
    elif set(family) & set(_UNENCRYPTED_FAMILIES):
        wrong = f"{settings.instance_type} takes no encrypted system disk"
        yield Problem("diskEncryption", wrong, "choose another instanceType, or leave it out")
    elif region in _UNENCRYPTED_REGIONS:
        right = "choose another region, or leave it out"
        yield Problem("diskEncryption", f"{region} makes no encrypted disks", right)
    elif own_key and region in _WITHOUT_OWN_KEYS:
        wrong = f"{region} encrypts disks with the cloud's own key alone"
        yield Problem("diskKmsKeyId", wrong, "leave it out, or choose another region")


def _tag_problems(key: str, value: str) -> Iterator[Problem]:
    path = f"tags.{key}" if key else "tags"
    if not key.strip():
        yield Problem(path, "a tag has no name", "give it one, or leave it out")
    elif key.lower() == OWN_TAG:
        yield Problem(path, f"{key} is the lab's own tag", "choose another name")
    elif key.lower().startswith(("acs:", "aliyun")):
        wrong = "Alibaba Cloud keeps names that begin with acs: or aliyun to itself"
        yield Problem(path, wrong, "choose another name")
    elif any(part in key for part in _WEB):
        yield Problem(path, "the name of a tag cannot hold http:// or https://", "leave that out")
    if any(part in value for part in _WEB):
        wrong = "Alibaba Cloud may refuse a value with http:// or https://"
        yield Problem(path, wrong, "leave that part out", warning=True)
    if max(len(key), len(value)) > _LONGEST_TAG:
        right = f"keep name and value within {_LONGEST_TAG} characters"
        yield Problem(path, "it is too long", right)
