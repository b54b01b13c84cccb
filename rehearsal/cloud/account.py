"""One account: its clock, stock, bill and servers' power; what it holds of each kind.

What can be asked of it over the API is in the module of each kind. Servers run in a `DataCentre`,
which only has to switch them on and off.
"""

import ipaddress
import itertools
import threading
from datetime import datetime, timedelta, timezone
from typing import Protocol

from rehearsal.cloud import market
from rehearsal.cloud.bill import Bill
from rehearsal.cloud.ram import Ram
from rehearsal.cloud.refusals import Refusal, not_found
from rehearsal.cloud.state import Eip, Group, Instance, KeyPair, Switch, Vpc


class DataCentre(Protocol):
    """Where servers run. Calls come one at a time per server."""

    def fresh_address(self) -> str:
        """A public address that no one has had before in this world."""
        ...

    def switch_on(self, instance: Instance, address: str, authorized_key: str) -> None:
        """Boot the server at `address`; a first boot starts from its image."""
        ...

    def switch_off(self, instance: Instance) -> None:
        """Stop it; its disk stays."""
        ...

    def wipe(self, instance: Instance) -> None:
        """Forget its disk; the next boot starts from its image."""
        ...


class Cloud:
    """The whole account. Handlers of the API change it under `lock`; the methods take it."""

    def __init__(
        self, data_centre: DataCentre, operator: str = "198.18.0.5", ram: Ram | None = None
    ) -> None:
        """
        Args:
            data_centre: where its servers run.
            operator: the public address that the operator's computer appears to have.
            ram: what its user may do; everything if None.
        """
        self.lock = threading.RLock()
        self.data_centre = data_centre
        self.operator = operator
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
        self._refuse: dict[str, tuple[Refusal, int]] = {}
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
        """Change what the zone has to sell."""
        with self.lock:
            self._stock[type_name, zone] = count

    def sells(self, type_name: str, zone: str) -> bool:
        """Whether the zone ever had such a server, sold out now or not."""
        known = (type_name, zone) in self._stock
        return known or market.stock_at_first(type_name, zone) > 0

    def refuse(self, action: str, code: str, message: str, times: int = 1) -> None:
        """Let the next `times` calls of the API's `action` (`RunInstances`) fail with `code`."""
        with self.lock:
            self._refuse[action] = (Refusal(403, code, message), times)

    def may(self, action: str) -> None:
        """Raise what `refuse` set up for `action`, if anything."""
        with self.lock:
            refusal, times = self._refuse.get(action, (None, 0))
            if refusal is not None and times:
                self._refuse[action] = (refusal, times - 1)
                raise refusal

    def new_id(self, prefix: str) -> str:
        """An id that nothing has had yet."""
        return f"{prefix}-bp1{next(self._numbers):017x}"

    def images(self) -> list[market.Image]:
        """The images there are, the newest first."""
        return market.newest(
            [*market.PLAIN_IMAGES, *(market.GPU_IMAGES if self.gpu_images else ())]
        )

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
        """The server called `id`.

        Raises:
            Refusal: there is none.
        """
        with self.lock:
            if id not in self.instances:
                raise not_found("InstanceId", "InvalidInstanceId.NotFound")
            return self.instances[id]

    def address_of(self, instance: Instance) -> str:
        """Where the server is reached from outside, "" if nowhere."""
        with self.lock:
            held = (eip.address for eip in self.eips.values() if eip.instance == instance.id)
            return next(held, instance.public_ip)

    def admits(self, instance_id: str, port: int, source: str | None = None) -> bool:
        """Whether TCP from `source` (the operator, if None) may reach `port` of the server.

        The lowest priority number decides, and drop wins among equals; without any rule, no.
        """
        address = ipaddress.IPv4Address(source or self.operator)
        with self.lock:
            instance = self.instances.get(instance_id)
            matching = [
                rule
                for group in (instance.groups if instance else ())
                for rule in self.groups[group].rules
                if rule.covers(port, address)
            ]
        decisive = min(matching, key=lambda r: (r.priority, r.policy != "drop"), default=None)
        return decisive is not None and decisive.policy == "accept"

    def power(self, instance: Instance, on: bool) -> None:
        """Switch it on or off; without an address nobody could reach it, so nothing boots."""
        with self.lock:
            address = self.address_of(instance)
            instance.status = "Running" if on else "Stopped"
            pair = self.key_pairs.get((instance.region, instance.key_name))
        if on and address:
            self.data_centre.switch_on(instance, address, pair.public_key if pair else "")
        elif not on:
            self.data_centre.switch_off(instance)

    def restart(self, instance: Instance, wipe: bool = False) -> None:
        """Off and on again, with `wipe` from its image."""
        self.power(instance, on=False)
        if wipe:
            self.data_centre.wipe(instance)
        self.power(instance, on=True)

    def moved(self, instance: Instance, before: str) -> None:
        """A server listens at its address, so another one than `before` means listening anew."""
        if self.address_of(instance) != before and instance.status == "Running":
            self.restart(instance)

    def release(self, id: str) -> None:
        """It goes, and its disk with it, an EIP stays: on demand, at its lease's end, as spot."""
        with self.lock:
            instance = self.instance(id)
            del self.instances[id]
            self.change_stock(instance, +1)
            self.bill.close(id)
            self.bill.close(instance.disk_id)
            for gone in (id, instance.disk_id):
                self.tags.pop(gone, None)
            for eip in self.eips.values():
                if eip.instance == id:
                    eip.instance = ""
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
