"""Where the emulated cloud's servers run: each is a `Machine` with an address and a folder."""

import ipaddress
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from rehearsal.addresses import Block
from rehearsal.cloud import Instance
from rehearsal.server.description import Description


class Machine(Protocol):
    """A rented server's inside: SSH, file tree, Docker."""

    def start(self) -> None:
        """Boot; comes back when it is on its way, not when sshd answers."""
        ...

    def stop(self) -> None:
        """Switch it off, with every process on it."""
        ...

    def destroy(self) -> None:
        """Switch it off and forget its disk."""
        ...


class EmptyMachine:
    """A server on which nothing runs, for tests of the cloud alone."""

    def __init__(self, description: Description, network: Callable[[int, str], bool]) -> None:
        """Takes what a machine takes, and needs none of it."""

    def start(self) -> None:
        """Nothing to boot."""

    def stop(self) -> None:
        """Nothing to stop."""

    def destroy(self) -> None:
        """Nothing to forget."""


MachineFactory = Callable[[Description, Callable[[int, str], bool]], Machine]
"""A machine from its description and the firewall in front of it."""

Admits = Callable[[str, int, str], bool]
"""Whether the firewall of an instance (id) lets a source address reach a port."""


class Servers:
    """The data centre of `rehearsal.cloud`, over machines made by `factory`."""

    def __init__(
        self,
        folder: Path,
        block: Block,
        factory: MachineFactory,
        operator: str,
        ssh_port: int,
        outside: Callable[[str], dict[str, str]],
    ) -> None:
        """`outside` tells what a server in a region reaches: host name to address."""
        self._folder = folder
        self._block = block
        self._factory = factory
        self._operator = operator
        self._ssh_port = ssh_port
        self._outside = outside
        self._machines: dict[str, tuple[Machine, str]] = {}
        self._keys: dict[str, str] = {}
        self._lock = threading.Lock()
        self.admits: Admits = lambda instance, port, source: False

    def fresh_address(self) -> str:
        """A public address that no server had before."""
        with self._lock:
            return self._block.fresh_server()

    def switch_on(self, instance: Instance, address: str, authorized_key: str) -> None:
        """Boot it at `address`. A machine whose address changed is built anew on the same disk."""
        with self._lock:
            machine, before = self._machines.get(instance.id, (None, ""))
        if machine is not None and before != address:
            machine.stop()
            machine = None
        if machine is None:
            description = Description(
                root=str(self._folder / instance.id),
                address=address,
                region=instance.region,
                ssh_port=self._ssh_port,
                authorized_key=authorized_key,
                gpus=[asdict(gpu) for gpu in instance.type.gpus],
                outside=self._outside(instance.region),
            )
            machine = self._factory(
                description, lambda port, source: self._admitted(instance.id, port, source)
            )
            with self._lock:
                self._machines[instance.id] = (machine, address)
        self._hand_over_key(instance.id, authorized_key)
        machine.start()

    def switch_off(self, instance: Instance) -> None:
        """Switch it off; its disk stays."""
        with self._lock:
            machine, _ = self._machines.get(instance.id, (None, ""))
        if machine is not None:
            machine.stop()

    def wipe(self, instance: Instance) -> None:
        """Forget its disk."""
        with self._lock:
            machine, _ = self._machines.pop(instance.id, (None, ""))
        if machine is not None:
            machine.destroy()
        shutil.rmtree(self._folder / instance.id, ignore_errors=True)

    def addresses(self) -> dict[str, str]:
        """Instance id to address, of what is there."""
        with self._lock:
            return {id: address for id, (_, address) in self._machines.items()}

    def close(self) -> None:
        """Switch everything off."""
        with self._lock:
            machines = [machine for machine, _ in self._machines.values()]
        for machine in machines:
            machine.stop()

    def _hand_over_key(self, instance: str, key: str) -> None:
        """A key pair that was attached to a standing server gets in at its next boot."""
        place = self._folder / instance / "root/.ssh/authorized_keys"
        if place.exists() and self._keys.get(instance) != key:
            place.write_text(f"{key.strip()}\n")
        self._keys[instance] = key

    def _admitted(self, instance: str, port: int, source: str) -> bool:
        """Who comes from no server's address is the operator, with his public address."""
        inside = ipaddress.IPv4Address(source) in ipaddress.IPv4Network(
            f"{self._block.prefix}0.0/16"
        )
        return self.admits(instance, port, source if inside else self._operator)
