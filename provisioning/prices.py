"""What can be bought, and what it costs per hour. Every price is an estimate from a list.

`market.json` has both. Compute: `docs/facts/alicloud.md §2.2` (mainland list prices in CNY,
pay-as-you-go, undated, about 2024). Disks, by category and performance level: the smallest in GiB
(`docs/facts/alicloud.md §2.3`), and the list price per GiB and month divided by 730 hours, from
memory and not checked.
"""

from dataclasses import dataclass

from pydantic import BaseModel

from provisioning.regions import MAINLAND_REGIONS
from provisioning.settings import Settings
from provisioning.tables import table


class Disk(BaseModel):
    """One kind of disk: the smallest in GiB, and CNY per GiB and hour."""

    smallest: int
    price: float


class _Market(BaseModel):
    compute: dict[str, float]
    disks: dict[str, dict[str, Disk]]


_MARKET = table("market.json", _Market)

DISKS = _MARKET.disks
"""Category to performance level, empty where it has none, to the disk."""


@dataclass(frozen=True)
class Price:
    """The price per hour: each amount None where it is not known, and how far to trust it."""

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


def hourly_price(settings: Settings, instance_type: str = "") -> Price:
    """The estimated price of a running lab per hour, without traffic; on another type of its list
    than the first, if given."""
    if instance_type:
        settings = settings.model_copy(update={"instance_type": instance_type})
    compute, level = list_price(settings), disk_level(settings)
    mainland = settings.region in MAINLAND_REGIONS
    kind = DISKS.get(settings.disk_category, {}).get(level) if mainland else None
    disk = None if kind is None else round(kind.price * settings.disk_size_gib, 2)
    size = f"{settings.disk_size_gib} GiB {settings.disk_category} {level}".strip()
    spot = " (spot: at most)" if settings.spot else ""
    parts = {f"{settings.instance_type}{spot}": compute, size: disk}
    total = None if compute is None or disk is None else round(compute + disk, 2)
    notes = ["Estimate from list prices of about 2024, may be out of date."]
    if not mainland:
        notes.append("Prices outside the mainland are not in the table: see the buy page.")
    elif total is None:
        what = settings.instance_type if compute is None else "this disk"
        notes.append(f"The price of {what} is not in the table: see the buy page.")
    if settings.spot:
        notes.append("Spot follows the market, up to the pay-as-you-go price.")
    notes.append("Outbound traffic is paid per GB on top; a stopped server still pays its disk.")
    return Price(total, "CNY", parts, " ".join(notes))
