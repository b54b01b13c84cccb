"""What the emulated cloud sells: instance types, prices, zones, images (`market.json`).

gn7i is from docs/facts/alicloud.md 2.1 and 2.2; prices beyond the five known ones, other families,
disks and the names of images with a driver (§2.4) are assumed: they have the right order of
magnitude and serve only to show a bill. Never quote them to a user.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_SOLD = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
REFERENCE_TYPE = "ecs.gn7i-c16g1.4xlarge"
EIP_PER_HOUR = 0.02
SPOT_SHARE = 0.4
_CPU_PER_CORE_HOUR = 0.25
_GPU_DISKS = frozenset({"cloud_essd", "cloud_auto", "cloud_essd_entry"})


@dataclass(frozen=True)
class Gpu:
    """One card, as `nvidia-smi` names and measures it."""

    name: str
    memory_mib: int


@dataclass(frozen=True)
class InstanceType:
    """What a type is. `per_hour` is the list price in CNY, compute only."""

    id: str
    family: str
    cores: int
    memory_gib: int
    gpus: tuple[Gpu, ...]
    per_hour: float
    disk_categories: frozenset[str]


@dataclass(frozen=True)
class Image:
    """A system image.

    Attributes:
        size_gib: the smallest system disk it fits on.
        driver: version of the NVIDIA driver in it, or None.
        docker: whether Docker and the NVIDIA container toolkit are in it.
    """

    id: str
    os_name: str
    size_gib: int
    created: str
    driver: str | None = None
    docker: bool = False


PLAIN_IMAGES = tuple(Image(**row) for row in _SOLD["plain_images"])
GPU_IMAGES = tuple(Image(**row) for row in _SOLD["gpu_images"])
_CPU_TYPE = re.compile(r"ecs\.(?P<family>[cgr]\d+[a-z]*|u1)(-[a-z0-9]+)?\.(?P<times>\d*)x?large")
_GIB_PER_CORE = {"c": 2, "g": 4, "r": 8, "u": 4}


def instance_type(name: str) -> InstanceType | None:
    """The type called `name`, or None if the cloud has no such type."""
    if name in _SOLD["gpu_types"]:
        cores, memory, card, count, price = _SOLD["gpu_types"][name]
        family = name.split("-")[0] if "-" in name else name.rsplit(".", 1)[0]
        gpus = (Gpu(card, _SOLD["gpu_memory_mib"][card]),) * count
        return InstanceType(name, family, cores, memory, gpus, price, _GPU_DISKS)
    found = _CPU_TYPE.fullmatch(name)
    if not found:
        return None
    cores = 2 if name.endswith(".large") else 4 * int(found["times"] or 1)
    memory = cores * _GIB_PER_CORE[found["family"][0]]
    disks = _GPU_DISKS | {"cloud_efficiency", "cloud_ssd"}
    price = round(cores * _CPU_PER_CORE_HOUR, 4)
    return InstanceType(name, name.rsplit(".", 1)[0], cores, memory, (), price, disks)


def known_types() -> list[InstanceType]:
    """All that is on the list."""
    families = ("c6", "c7", "c8i", "g6", "g7", "g8i", "r6", "r7", "r8i", "u1")
    sizes = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge")
    plain = (f"ecs.{family}.{size}" for family in families for size in sizes)
    return [found for name in (*_SOLD["gpu_types"], *plain) if (found := instance_type(name))]


def stock_at_first(type_name: str, zone: str) -> int:
    """One GPU server in one zone of each region, so that a lab always takes the last one."""
    found = instance_type(type_name)
    if found is None:
        return 0
    if not found.gpus:
        return 20
    region = zone[:-2] if zone[-2] == "-" else zone[:-1]
    return 1 if zone == gpu_zone(region) else 0


def zones(region: str) -> list[str]:
    """The zones of a region; those of a region without an entry are (assumed)."""
    dash = "-" if region.startswith("cn-") else ""
    return [f"{region}{dash}{letter}" for letter in _SOLD["zones"].get(region, "ab")]


def gpu_zone(region: str) -> str:
    """The one zone of a region that has GPU servers in stock when a rehearsal begins."""
    found = zones(region)
    return found[min(3, len(found) - 1)]


def disk_per_hour(category: str, level: str, gib: int) -> float:
    """What a disk costs per hour in CNY."""
    prices: dict[str, float] = _SOLD["disk_per_gib_hour"]
    key = f"{category}/{level}" if category == "cloud_essd" else category
    return prices.get(key, prices["cloud_essd/PL1"]) * gib


def disk_range(category: str, level: str) -> range:
    """Sizes in GiB that a system disk of this category may have (docs/facts/alicloud.md 2.3)."""
    smallest = {"PL0": 1, "PL1": 20, "PL2": 461, "PL3": 1261}
    if category == "cloud_essd":
        return range(smallest.get(level, 20), 2049)
    return range(1 if category == "cloud_auto" else 20, 2049)


def newest(images: Iterable[Image]) -> list[Image]:
    """`images`, the newest first."""
    return sorted(images, key=lambda found: found.created, reverse=True)
