"""What can be bought, and what it costs per hour. Every price is an estimate from a list.

`market.json` has both. Compute: `docs/facts/alicloud.md §2.2` (mainland list prices in CNY,
pay-as-you-go, undated, about 2024). Disks, by category and performance level: the smallest in GiB
(`docs/facts/alicloud.md §2.3`), and the list price per GiB and month divided by 730 hours, from
memory and not checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from provisioning.regions import MAINLAND_REGIONS
from provisioning.settings import Settings

_AS_OF = "2024"


class Disk(BaseModel):
    """One kind of disk: the smallest in GiB, and CNY per GiB and hour."""

    smallest: int
    price: float


class _Market(BaseModel):
    compute: dict[str, float]
    disks: dict[str, dict[str, Disk]]


_MARKET = _Market.model_validate_json(Path(__file__).with_name("market.json").read_bytes())

DISKS = _MARKET.disks
"""Category to performance level, empty where it has none, to the disk."""


@dataclass(frozen=True)
class Price:
    """The price per hour.

    Attributes:
        total: the sum, or None when a part is not known.
        currency: of all amounts.
        parts: what it is made of, each None where it is not known.
        note: how far to trust it, and what comes on top.
    """

    total: float | None
    currency: str
    parts: dict[str, float | None]
    note: str


def list_price(settings: Settings) -> float | None:
    """CNY per hour for the server alone; None where it is not known."""
    known = _MARKET.compute if settings.region in MAINLAND_REGIONS else {}
    return known.get(settings.instance_type)


def disk_level(settings: Settings) -> str:
    """The disk's performance level; empty where its category has none."""
    return settings.disk_performance_level if settings.disk_category == "cloud_essd" else ""


def hourly_price(settings: Settings) -> Price:
    """The estimated price of a running lab per hour, without traffic."""
    compute, level = list_price(settings), disk_level(settings)
    known = DISKS if settings.region in MAINLAND_REGIONS else {}
    kind = known.get(settings.disk_category, {}).get(level)
    disk = None if kind is None else round(kind.price * settings.disk_size_gib, 2)
    size = f"{settings.disk_size_gib} GiB {settings.disk_category} {level}".strip()
    spot = " (spot: at most)" if settings.spot else ""
    parts = {f"{settings.instance_type}{spot}": compute, size: disk}
    total = None if compute is None or disk is None else round(compute + disk, 2)
    return Price(total, "CNY", parts, " ".join(_notes(settings, compute, disk)))


def _notes(settings: Settings, compute: float | None, disk: float | None) -> Iterator[str]:
    yield f"Estimate from list prices of about {_AS_OF}, may be out of date."
    if settings.region not in MAINLAND_REGIONS:
        yield "Prices outside the mainland are not in the table: see the buy page."
    elif compute is None:
        yield f"The price of {settings.instance_type} is not in the table: see the buy page."
    elif disk is None:
        yield "The price of this disk is not in the table: see the buy page."
    if settings.spot:
        yield "Spot follows the market, up to the pay-as-you-go price."
    yield "Outbound traffic is paid per GB on top; a stopped server still pays its disk."
