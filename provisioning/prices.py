"""What the lab costs per hour. Every number is an estimate from a list, never a bill.

Sources: compute, `docs/facts/alicloud.md §2.2` (mainland list prices, undated, about 2024); disks,
the list price per GiB and month divided by 730 hours, from memory and not checked.
"""

from __future__ import annotations

from dataclasses import dataclass

from provisioning.regions import MAINLAND_REGIONS

PRICES_AS_OF = "2024"

# CNY per hour on the mainland, pay-as-you-go, without disk and traffic.
_COMPUTE: dict[str, float] = {
    "ecs.gn7i-c8g1.2xlarge": 9.53,
    "ecs.gn7i-c16g1.4xlarge": 10.09,
    "ecs.gn7i-c32g1.8xlarge": 13.30,
    "ecs.gn7i-c48g1.12xlarge": 17.94,
    "ecs.gn7i-c32g1.16xlarge": 26.61,
}

# CNY per GiB and hour on the mainland; cloud_essd by performance level.
_DISK: dict[tuple[str, str], float] = {
    ("cloud_essd", "PL0"): 0.00105,
    ("cloud_essd", "PL1"): 0.0021,
    ("cloud_essd", "PL2"): 0.0042,
    ("cloud_essd", "PL3"): 0.0084,
    ("cloud_auto", ""): 0.0021,
    ("cloud_essd_entry", ""): 0.0007,
    ("cloud_efficiency", ""): 0.0007,
    ("cloud_ssd", ""): 0.0020,
}


@dataclass(frozen=True)
class PricePart:
    """One part of the hourly price; `amount` is None where it is not known."""

    name: str
    amount: float | None


@dataclass(frozen=True)
class Price:
    """The price per hour.

    Attributes:
        total: the sum, or None when a part is not known.
        currency: of all amounts.
        parts: what it is made of.
        note: how far to trust it, and what comes on top.
    """

    total: float | None
    currency: str
    parts: tuple[PricePart, ...]
    note: str


def list_price(instance_type: str, region: str) -> float | None:
    """CNY per hour for the server alone; None where it is not known."""
    return _COMPUTE.get(instance_type) if region in MAINLAND_REGIONS else None


def hourly_price(
    instance_type: str,
    disk_gib: int,
    disk_category: str,
    disk_level: str,
    region: str,
    spot: bool,
) -> Price:
    """The estimated price of a running lab per hour, without traffic.

    Args:
        disk_level: PL0 to PL3, counted for `cloud_essd` only.
        region: region id; list prices are known for the mainland only.
        spot: then the compute price is the upper end, the market asks for less.
    """
    mainland = region in MAINLAND_REGIONS
    compute = list_price(instance_type, region)
    level = (disk_level or "PL1") if disk_category == "cloud_essd" else ""
    rate = _DISK.get((disk_category, level)) if mainland else None
    disk = None if rate is None else round(rate * disk_gib, 2)
    parts = (
        PricePart(f"{instance_type}{' (spot: at most)' if spot else ''}", compute),
        PricePart(f"{disk_gib} GiB {disk_category}{f' {level}' if level else ''}", disk),
    )
    total = None if compute is None or disk is None else round(compute + disk, 2)
    return Price(total, "CNY", parts, _note(instance_type, compute, disk, mainland, spot))


def _note(
    instance_type: str, compute: float | None, disk: float | None, mainland: bool, spot: bool
) -> str:
    said = [f"Estimate from list prices of about {PRICES_AS_OF}, may be out of date."]
    if not mainland:
        said.append("Prices outside the mainland are not in the table: see the buy page.")
    elif compute is None:
        said.append(f"The price of {instance_type} is not in the table: see the buy page.")
    elif disk is None:
        said.append("The price of this disk is not in the table: see the buy page.")
    if spot:
        said.append("Spot follows the market, up to the pay-as-you-go price.")
    said.append("Outbound traffic is paid per GB on top; a stopped server still pays its disk.")
    return " ".join(said)
