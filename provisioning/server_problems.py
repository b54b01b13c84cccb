"""The rented server's settings: what the cloud would refuse, and what the lab could not use.

Ranges of disks: `docs/facts/alicloud.md §2.3`; tags: Alibaba Cloud's manual of TagResources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from provisioning.ports import PUBLISHED
from provisioning.prices import list_price
from provisioning.problems import Problem, nearest

OWN_TAG = "ai-lab"
"""The tag by which a lab's things are known; its value is the stack's name."""

_ESSD_SIZES = {"PL0": (1, 2048), "PL1": (20, 2048), "PL2": (461, 2048), "PL3": (1261, 2048)}
_DEFAULT_LEVEL = "PL1"
_DISK_CATEGORIES = ("cloud_essd", "cloud_auto", "cloud_essd_entry")
# Families that entry disks are made for; others may refuse them when the server is bought.
_ENTRY_FAMILIES = ("ecs.e-", "ecs.u1-", "ecs.u2")
# Driver, Docker, images and one small model need this much before anything is stored.
_SMALLEST_DISK, _SMALLEST_GPU_DISK = 40, 100


def disk_problems(
    category: str, level: str, size: int, instance_type: str, gpu: bool
) -> Iterator[Problem]:
    """Whether there is such a disk, and whether the server takes it; `size` in GiB."""
    if category not in _DISK_CATEGORIES:
        known = nearest(category, _DISK_CATEGORIES)
        yield Problem("diskCategory", f"there is no category {category!r} for this lab", known)
        return
    low, high = 20, 2048
    if category == "cloud_essd":
        if level not in _ESSD_SIZES:
            right = f"use one of {', '.join(_ESSD_SIZES)}"
            yield Problem("diskPerformanceLevel", f"there is no level {level!r}", right)
            return
        low, high = _ESSD_SIZES[level]
    elif level != _DEFAULT_LEVEL:
        wrong = f"{level} has no effect with {category}"
        right = "leave it out, or set diskCategory: cloud_essd"
        yield Problem("diskPerformanceLevel", wrong, right, warning=True)
    if category == "cloud_essd_entry" and not instance_type.startswith(_ENTRY_FAMILIES):
        wrong = f"entry disks are for small families, and {instance_type} may not take one"
        yield Problem("diskCategory", wrong, "use cloud_essd or cloud_auto", warning=True)
    low = max(low, _SMALLEST_GPU_DISK if gpu else _SMALLEST_DISK)
    if not low <= size <= high:
        kind = f"{category} {level}" if category == "cloud_essd" else category
        wrong = f"{size} GiB is out of range for {kind} in this lab"
        yield Problem("diskSizeGiB", wrong, f"set it to {low} to {high}")


def zone_problems(zone: str, region: str) -> Iterator[Problem]:
    """Whether a zone is one of its region: `cn-hangzhou-i`, `ap-southeast-1a`."""
    between = "" if region[-1:].isdigit() else "-"
    if zone and not re.fullmatch(rf"{re.escape(region)}{between}[a-z]", zone):
        right = f"write it like {region}{between}b, or leave it out to take one that has stock"
        yield Problem("zone", f"{zone} is no zone of {region}", right)


def image_problems(image_id: str) -> Iterator[Problem]:
    """Whether a server image is an Ubuntu that host preparation knows, or one's own."""
    if not image_id or image_id.startswith("m-"):
        return
    if not re.match(r"ubuntu_2[24]_04_(?!arm64)", image_id):
        wrong = (
            f"{image_id} is no Ubuntu 22.04 or 24.04 for x64, and the lab is built on nothing else"
        )
        right = "leave it out, or name one such as ubuntu_22_04_x64_20G_alibase_20240926.vhd"
        yield Problem("imageId", wrong, right)


def port_problems(ssh_port: int) -> Iterator[Problem]:
    """Whether SSH would have another service's port."""
    if ssh_port in PUBLISHED:
        wrong = f"{ssh_port} is {PUBLISHED[ssh_port]}'s port"
        yield Problem("sshPort", wrong, "use the port of the server's sshd, which is 22")


def spot_problems(spot: bool, limit: str, instance_type: str, region: str) -> Iterator[Problem]:
    """Whether a price limit can ever buy a server; `limit` is a number or empty."""
    if not limit:
        return
    if not spot:
        right = "set spot: true, or leave the limit out"
        yield Problem("spotPriceLimit", "it has no effect without spot", right)
        return
    price = list_price(instance_type, region)
    # Spot is advertised as down to a tenth of the list price.
    if price is not None and float(limit) < price / 10:
        wrong = f"{limit} is less than a tenth of the list price ({price}), so nothing may be sold"
        right = "raise it, or leave it out to pay the market's price"
        yield Problem("spotPriceLimit", wrong, right, warning=True)


_LONGEST_TAG = 128
_MOST_TAGS = 20 - 1  # the lab has one of its own
_WEB = ("http://", "https://")


def tag_problems(tags: Mapping[str, str]) -> Iterator[Problem]:
    """Tags that the cloud does not take, or that would take the lab's own away."""
    if len(tags) > _MOST_TAGS:
        yield Problem("tags", f"{len(tags)} are too many", f"keep {_MOST_TAGS} or fewer")
    for key, value in tags.items():
        yield from _tag_problems(key, value)


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


# 10 GB, the reference lab's models, take a quarter of an hour at 100 Mbit/s.
_HOPELESS_MINUTES = 15


def deadline_problems(minutes: int) -> Iterator[Problem]:
    """Whether models can be downloaded and loaded in that time."""
    if minutes < _HOPELESS_MINUTES:
        wrong = f"models are hardly downloaded and loaded in {minutes} min"
        right = f"set it to {_HOPELESS_MINUTES} or more, or leave it out for two hours"
        yield Problem("modelDeadlineMinutes", wrong, right, warning=True)
