"""One account: its clock, stock, bill and servers' power; what it holds of each kind.

What can be asked of it over the API is in the module of each kind. Servers run in a data centre,
which only has to switch them on and off.
"""

import ipaddress
import itertools
import threading
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from rehearsal.addresses import OPERATOR
from rehearsal.cloud import market
from rehearsal.cloud.bill import Bill
from rehearsal.cloud.ram import Ram
from rehearsal.cloud.refusals import not_found
from rehearsal.cloud.state import Eip, Group, Instance, KeyPair, Switch, Vpc

if TYPE_CHECKING:
    from rehearsal.data_centre import Servers


class Cloud:
    """The whole account. Handlers of the API change it under `lock`; the methods take it."""

    def __init__(self, data_centre: "Servers", ram: Ram | None = None) -> None:
        """`data_centre`: where its servers run; `ram`: what its user may do; everything if None."""
        self.lock = threading.RLock()
        self.data_centre = data_centre
        self.ram = ram or Ram()
        self.balance = 1000.0
        self.quota_cores = 512
        self.gpu_images = True
        self.vpcs: dict[str, Vpc] = {}
        self.switches: dict[str, Switch] = {}
        self.groups: dict[str, Group] = {}
        self.key_pairs: dict[tuple[str, str], KeyPair] = {}
        self.instances: dict[str, Instance] = {}
        self.eips: dict[str, Eip] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.bill = Bill(self.now)
        self._stock: dict[tuple[str, str], int] = {}
        self._numbers = itertools.count(1)
        self._ahead = timedelta()
        self._clock_changed = threading.Condition(self.lock)
        self._ended = False
        threading.Thread(target=self._release_what_is_due, daemon=True).start()

    # --- time, stock and what a test can change -------------------------------------------------

    def now(self) -> datetime:
        """The cloud's clock, in UTC; `advance` moves it."""
        return datetime.now(timezone.utc) + self._ahead

    def advance(self, seconds: float) -> None:
        """Let time pass: leases that end meanwhile are enforced at once."""
        with self.lock:
            self._ahead += timedelta(seconds=seconds)
            self._clock_changed.notify_all()

    def leases_changed(self) -> None:
        """Look again when the next lease ends."""
        with self.lock:
            self._clock_changed.notify_all()

    def stock(self, type_name: str, zone: str) -> int:
        """How many servers of that type the zone can still sell."""
        with self.lock:
            return self._stock.get((type_name, zone), market.stock_at_first(type_name, zone))

    def set_stock(self, type_name: str, zone: str, count: int) -> None:
        with self.lock:
            self._stock[type_name, zone] = count

    def sells(self, type_name: str, zone: str) -> bool:
        """Whether the zone ever had such a server, sold out now or not."""
        known = (type_name, zone) in self._stock
        return known or market.stock_at_first(type_name, zone) > 0

    def new_id(self, prefix: str) -> str:
        """An id that nothing has had yet."""
        return f"{prefix}-bp1{next(self._numbers):017x}"

    def images(self) -> list[market.Image]:
        with_driver = market.GPU_IMAGES if self.gpu_images else ()
        return market.newest([*market.PLAIN_IMAGES, *with_driver])

    def inventory(self) -> list[str]:
        """Ids of all that exists in the account, free of charge or not."""
        with self.lock:
            kinds = (self.vpcs, self.switches, self.groups, self.instances, self.eips)
            names = [name for _, name in self.key_pairs]
            return [*itertools.chain.from_iterable(kinds), *names]

    def close(self) -> None:
        """End the cloud's own thread; servers are the data centre's to end."""
        with self.lock:
            self._ended = True
            self._clock_changed.notify_all()

    # --- servers --------------------------------------------------------------------------------

    def instance(self, id: str) -> Instance:
        """The server called `id`; a Refusal if there is none."""
        with self.lock:
            if id not in self.instances:
                raise not_found("InstanceId")
            return self.instances[id]

    def admits(self, instance_id: str, port: int, source: str | None = None) -> bool:
        """Whether TCP from `source` (the operator, if None) may reach `port` of the server.

        The lowest priority number decides, and drop wins among equals; without any rule, no.
        """
        address = ipaddress.IPv4Address(source or OPERATOR)
        with self.lock:
            instance = self.instances.get(instance_id)
            matching = [
                rule
                for group in (instance.groups if instance else ())
                for rule in self.groups[group].rules
                if rule.covers(port, address)
            ]
        decisive = min(matching, key=lambda r: (r.priority, r.policy != "Drop"), default=None)
        return decisive is not None and decisive.policy == "Accept"

    def power(self, instance: Instance, on: bool) -> None:
        """Switch it on or off; without an address nobody could reach it, so nothing boots."""
        with self.lock:
            address = instance.address
            instance.status = "Running" if on else "Stopped"
            pair = self.key_pairs.get((instance.region, instance.key_name))
        if on and address:
            self.data_centre.switch_on(instance, address, pair.public_key if pair else "")
        elif not on:
            self.data_centre.switch_off(instance)

    def restart(self, instance: Instance) -> None:
        self.power(instance, on=False)
        self.power(instance, on=True)

    def moved(self, instance: Instance, before: str) -> None:
        """A server listens at its address, so another one than `before` means listening anew."""
        if instance.address != before and instance.status == "Running":
            self.restart(instance)

    def release(self, id: str) -> None:
        """It goes, and its disk with it, an EIP stays: on demand, at its lease's end, as spot."""
        with self.lock:
            instance = self.instance(id)
            del self.instances[id]
            self.change_stock(instance, +1)
            self.bill.close(id, instance.disk_id)
            if instance.eip_id:
                self.eips[instance.eip_id].instance = ""
        self.data_centre.switch_off(instance)
        self.data_centre.wipe(instance)

    def change_stock(self, instance: Instance, by: int) -> None:
        """So many more such servers are there to sell in its zone."""
        left = self.stock(instance.type.id, instance.zone)
        self.set_stock(instance.type.id, instance.zone, left + by)

    def _release_what_is_due(self) -> None:
        while True:
            with self.lock:
                if self._ended:
                    return
                ends = {id: one.ends for id, one in self.instances.items() if one.ends}
                due = [id for id, end in ends.items() if end <= self.now()]
                if not due:
                    next_one = min(ends.values(), default=None)
                    wait = (next_one - self.now()).total_seconds() if next_one else None
                    self._clock_changed.wait(wait)
            for id in due:
                self.release(id)
