"""What the emulated cloud sells: instance types, prices, zones, images.

Figures marked (assumed) are not in docs/facts/alicloud.md: they have the right order of magnitude
and serve only to show a bill. Never quote them to a user.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

REFERENCE_TYPE = "ecs.gn7i-c16g1.4xlarge"

DISK_CATEGORIES = (
    "all",
    "cloud",
    "ephemeral_ssd",
    "cloud_essd",
    "cloud_efficiency",
    "cloud_ssd",
    "local_disk",
    "cloud_auto",
    "cloud_essd_entry",
)
_DISK_PER_GIB_HOUR = {  # (assumed)
    "cloud_essd/PL0": 0.00105,
    "cloud_essd/PL1": 0.0021,
    "cloud_essd/PL2": 0.0042,
    "cloud_essd/PL3": 0.0084,
    "cloud_auto": 0.0014,
    "cloud_essd_entry": 0.0008,
    "cloud_efficiency": 0.0005,
    "cloud_ssd": 0.0014,
}
EIP_PER_HOUR = 0.02  # (assumed)
SPOT_SHARE = 0.4  # (assumed): spot floats, and no source has a figure
_CPU_PER_CORE_HOUR = 0.25  # (assumed)
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


_A10 = Gpu("NVIDIA A10", 22731)
_T4 = Gpu("Tesla T4", 15360)
_A100 = Gpu("NVIDIA A100-SXM4-80GB", 81920)
_L20 = Gpu("NVIDIA L20", 46068)

# gn7i from docs/facts/alicloud.md 2.1 and 2.2; prices beyond the five known ones and the other
# families are (assumed).
_GPU_TYPES: dict[str, tuple[int, int, tuple[Gpu, ...], float]] = {
    "ecs.gn7i-c8g1.2xlarge": (8, 30, (_A10,), 9.53),
    REFERENCE_TYPE: (16, 60, (_A10,), 10.09),
    "ecs.gn7i-c32g1.8xlarge": (32, 188, (_A10,), 13.30),
    "ecs.gn7i-c48g1.12xlarge": (48, 310, (_A10,), 17.94),
    "ecs.gn7i-c56g1.14xlarge": (56, 346, (_A10,), 19.50),
    "ecs.gn7i-2x.8xlarge": (32, 128, (_A10,) * 2, 20.20),
    "ecs.gn7i-c32g1.16xlarge": (64, 376, (_A10,) * 2, 26.61),
    "ecs.gn7i-4x.8xlarge": (32, 128, (_A10,) * 4, 38.00),
    "ecs.gn7i-4x.16xlarge": (64, 256, (_A10,) * 4, 40.40),
    "ecs.gn7i-c32g1.32xlarge": (128, 752, (_A10,) * 4, 53.22),
    "ecs.gn7i-8x.16xlarge": (64, 256, (_A10,) * 8, 75.00),
    "ecs.gn7i-8x.32xlarge": (128, 512, (_A10,) * 8, 80.80),
    "ecs.gn6i-c4g1.xlarge": (4, 15, (_T4,), 11.63),
    "ecs.gn6i-c8g1.2xlarge": (8, 31, (_T4,), 14.00),
    "ecs.gn7e-c16g1.4xlarge": (16, 125, (_A100,), 34.70),
    "ecs.gn8is.4xlarge": (16, 128, (_L20,), 16.00),
}
_CPU_FAMILY = re.compile(r"^ecs\.(?P<family>[cgru]\d+[a-z]*|e|u1|t6)-?(?P<detail>[a-z0-9]*)\.")
_CPU_SIZE = re.compile(r"\.(?P<times>\d*)(?P<size>large|xlarge)$")
_FAMILIES = ("c6", "c7", "c8i", "g6", "g7", "g8i", "r6", "r7", "r8i", "u1")
_SIZES = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge")
_GIB_PER_CORE = {"c": 2, "g": 4, "r": 8, "u": 4, "e": 2, "t": 2}

_ZONES = {
    "cn-hangzhou": "bghijk",
    "cn-shanghai": "bfglmn",
    "cn-beijing": "fghijkl",
    "cn-shenzhen": "cdef",
    "cn-hongkong": "bcd",
    "ap-southeast-1": "abc",
}

PLAIN_IMAGES = (
    Image("ubuntu_22_04_x64_20G_alibase_20240926.vhd", "Ubuntu 22.04 64bit", 20, "2024-09-29"),
    Image("ubuntu_22_04_x64_20G_alibase_20241016.vhd", "Ubuntu 22.04 64bit", 20, "2024-10-18"),
    Image("ubuntu_24_04_x64_20G_alibase_20241016.vhd", "Ubuntu 24.04 64bit", 20, "2024-10-18"),
    Image("debian_12_8_x64_20G_alibase_20241203.vhd", "Debian 12.8 64bit", 20, "2024-12-04"),
    Image("aliyun_3_x64_20G_alibase_20241218.vhd", "Alibaba Cloud Linux 3", 20, "2024-12-20"),
)
# The exact names are not known (docs/facts/alicloud.md 2.4): (assumed), after the console's
# wording.
GPU_IMAGES = (
    Image(
        "ubuntu_22_04_x64_40G_with_gpu_driver_580.126.09_alibase_20260601.vhd",
        "Ubuntu 22.04 64bit with NVIDIA GPU driver",
        40,
        "2026-06-02",
        driver="580.126.09",
    ),
    Image(
        "ubuntu_24_04_x64_40G_with_gpu_driver_580.126.09_alibase_20260815.vhd",
        "Ubuntu 24.04 64bit with NVIDIA GPU driver, CUDA and Docker",
        40,
        "2026-08-17",
        driver="580.126.09",
        docker=True,
    ),
    # The newest is not the one with the newest driver.
    Image(
        "ubuntu_22_04_x64_40G_with_gpu_driver_570.195.03_alibase_20261020.vhd",
        "Ubuntu 22.04 64bit with NVIDIA GPU driver",
        40,
        "2026-10-22",
        driver="570.195.03",
    ),
)


def instance_type(name: str) -> InstanceType | None:
    """The type called `name`, or None if the cloud has no such type."""
    if name in _GPU_TYPES:
        cores, memory, gpus, price = _GPU_TYPES[name]
        family = name.split("-")[0] if "-" in name else name.rsplit(".", 1)[0]
        return InstanceType(name, family, cores, memory, gpus, price, _GPU_DISKS)
    return _cpu_type(name)


def known_types() -> list[InstanceType]:
    """All that is on the list."""
    names = [*_GPU_TYPES, *(f"ecs.{family}.{size}" for family in _FAMILIES for size in _SIZES)]
    return [found for name in names if (found := instance_type(name))]


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
    return [
        f"{region}-{letter}" if region.startswith("cn-") else f"{region}{letter}"
        for letter in _ZONES.get(region, "ab")
    ]


def gpu_zone(region: str) -> str:
    """The one zone of a region that has GPU servers in stock when a rehearsal begins."""
    found = zones(region)
    return found[min(3, len(found) - 1)]


def image(name: str) -> Image | None:
    """The image with the id `name`, or None."""
    return next((found for found in (*PLAIN_IMAGES, *GPU_IMAGES) if found.id == name), None)


def disk_per_hour(category: str, level: str, gib: int) -> float:
    """What a disk costs per hour in CNY."""
    key = f"{category}/{level}" if category == "cloud_essd" else category
    return _DISK_PER_GIB_HOUR.get(key, _DISK_PER_GIB_HOUR["cloud_essd/PL1"]) * gib


def disk_range(category: str, level: str) -> range:
    """Sizes in GiB that a system disk of this category may have (docs/facts/alicloud.md 2.3)."""
    smallest = {"PL0": 1, "PL1": 20, "PL2": 461, "PL3": 1261}
    if category == "cloud_essd":
        return range(smallest.get(level, 20), 2049)
    return range(1 if category == "cloud_auto" else 20, 2049)


def newest(images: Iterable[Image]) -> list[Image]:
    """`images`, the newest first."""
    return sorted(images, key=lambda found: found.created, reverse=True)


def _cpu_type(name: str) -> InstanceType | None:
    family, size = _CPU_FAMILY.match(name), _CPU_SIZE.search(name)
    if not family or not size:
        return None
    cores = 2 if size["size"] == "large" else 4 * int(size["times"] or 1)
    memory = cores * _GIB_PER_CORE[family["family"][0]]
    price = round(cores * _CPU_PER_CORE_HOUR, 4)
    disks = _GPU_DISKS | {"cloud_efficiency", "cloud_ssd"}
    return InstanceType(name, name.rsplit(".", 1)[0], cores, memory, (), price, disks)
