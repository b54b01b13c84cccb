"""The bill of an account: a line for each thing that costs money by the hour."""

from collections.abc import Callable
from datetime import datetime

from rehearsal.cloud import market
from rehearsal.cloud.state import Eip, Instance, Line


class Bill:
    """Lines are opened and closed by the id of what they are for; `now` is the cloud's clock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.lines: list[Line] = []
        self._now = now

    def server(self, instance: Instance) -> None:
        """From now on its compute costs what its type does."""
        share = 1.0 if instance.spot == "NoSpot" else market.SPOT_SHARE
        self._open(instance.id, f"server {instance.type.id}", instance.type.per_hour * share)

    def disk(self, instance: Instance) -> None:
        """From now on its system disk costs what that size and category do."""
        size, category = instance.disk_gib, instance.disk_category
        price = market.disk_per_hour(category, instance.disk_level, size)
        self._open(instance.disk_id, f"disk {category} {size} GiB", price)

    def address(self, eip: Eip) -> None:
        """From now on the address costs its fee, used or not."""
        self._open(eip.id, f"elastic address {eip.address}", market.EIP_PER_HOUR)

    def close(self, id: str) -> None:
        """What is called `id` costs nothing any more."""
        for line in self.billable():
            if line.id == id:
                line.until = self._now()

    def billable(self) -> list[Line]:
        """What costs money right now."""
        return [line for line in self.lines if line.until is None]

    def cost(self) -> float:
        """What everything has cost so far, in CNY."""
        return sum(line.cost(self._now()) for line in self.lines)

    def _open(self, id: str, what: str, per_hour: float) -> None:
        self.lines.append(Line(id, what, self._now(), per_hour))
