"""What `rehearsal.control` can ask of a world."""

import os
import threading
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rehearsal import faults
from rehearsal.children import command_of, descendants
from rehearsal.cloud import Instance, Line, market

if TYPE_CHECKING:
    from rehearsal.world import World


class Commands:
    """What `rehearsal.control` can ask for: the public methods, with their keyword arguments."""

    def __init__(self, world: "World", end: threading.Event) -> None:
        self._world = world
        self._cloud = world.cloud
        self._end = end
        self.stays = False

    def bill(self) -> dict[str, Any]:
        """`{"billable": [{id, what, since, per_hour, until}], "closed": [...], "cost": CNY}`."""
        bill = self._cloud.bill
        return {
            "billable": [_line(line) for line in bill.billable()],
            "closed": [_line(line) for line in bill.lines if line.until is not None],
            "cost": round(bill.cost(), 6),
        }

    def inventory(self) -> list[str]:
        """Ids of everything in the account, free of charge or not."""
        return self._cloud.inventory()

    def servers(self) -> list[dict[str, Any]]:
        """`{id, name, address, status, zone, type, image, ends, folder}` of each server."""
        return [
            {
                "id": instance.id,
                "name": instance.name,
                "address": self._cloud.address_of(instance),
                "status": instance.status,
                "zone": instance.zone,
                "type": instance.type.id,
                "image": instance.image.id,
                "ends": _shown(instance.ends),
                "folder": str(self._world.folder / "servers" / instance.id),
            }
            for instance in list(self._cloud.instances.values())
        ]

    def stock(
        self, type: str = market.REFERENCE_TYPE, region: str = "cn-hangzhou"
    ) -> dict[str, int]:
        """Zone to how many servers of the type it can still sell."""
        return {zone: self._cloud.stock(type, zone) for zone in market.zones(region)}

    def set_stock(self, zone: str, count: int, type: str = market.REFERENCE_TYPE) -> None:
        """Change what a zone has to sell."""
        self._cloud.set_stock(type, zone, count)

    def set_quota(self, cores: int) -> None:
        """Change how many cores the account may rent."""
        self._cloud.quota_cores = cores

    def release(self, server: str = "") -> None:
        """The cloud takes a server back by itself: disk and all."""
        self._cloud.release(self._one(server).id)

    def reboot(self, server: str = "") -> None:
        """Stop a server and start it again."""
        self._cloud.restart(self._one(server))

    def admits(self, port: int, source: str, server: str = "") -> bool:
        """Whether the firewall lets `source` reach a port of a server."""
        return self._cloud.admits(self._one(server).id, port, source)

    def stop_server(self, server: str = "") -> None:
        """Stop a server, as by hand in the console."""
        self._cloud.power(self._one(server), on=False)

    def start_server(self, server: str = "") -> None:
        """Start a stopped server, as by hand in the console."""
        self._cloud.power(self._one(server), on=True)

    def switch_on(self, fault: str, key: str, times: int = faults.ALWAYS) -> None:
        """Let a fault of `rehearsal.faults` strike."""
        faults.switch_on(self._world.faults, fault, key, times)

    def processes(self) -> list[dict[str, Any]]:
        """`{pid, command}` of everything that runs on the servers."""
        outside = self._world.outside
        ours = {outside.pid, *descendants(outside.pid)} if outside else set()
        return [
            {"pid": pid, "command": command}
            for pid in descendants(os.getpid())
            if pid not in ours and (command := command_of(pid))
        ]

    def stay(self) -> None:
        """Do not end with the one who started the world."""
        self.stays = True

    def stop(self) -> None:
        """End the world."""
        self._end.set()

    def _one(self, server: str) -> Instance:
        known = list(self._cloud.instances)
        if not server and len(known) != 1:
            raise ValueError(f"name one of the servers {known}")
        return self._cloud.instance(server or known[0])


def _line(line: Line) -> dict[str, Any]:
    return {**asdict(line), "since": _shown(line.since), "until": _shown(line.until)}


def _shown(when: datetime | None) -> str | None:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when else None
