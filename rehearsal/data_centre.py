"""Where the emulated cloud's servers run: each is a `Machine` with an address and a folder."""

import functools
import ipaddress
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rehearsal.addresses import OPERATOR, SSH_PORT, Block
from rehearsal.cloud import Instance
from rehearsal.server.description import Description

if TYPE_CHECKING:
    from rehearsal.real_server.server import RealServer
    from rehearsal.server.process import ServerProcess


Machine: TypeAlias = "ServerProcess | RealServer"
"""A rented server's inside: SSH, file tree, Docker."""

MachineFactory: TypeAlias = Callable[[Description, Callable[[int, str], bool]], Machine]
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
        outside: Callable[[str], dict[str, str]],
    ) -> None:
        """`outside` tells what a server in a region reaches: host name to address."""
        self._folder = folder
        self._block = block
        self._factory = factory
        self._outside = outside
        self._machines: dict[str, tuple[Machine, str]] = {}
        self._keys: dict[str, str] = {}
        self.admits: Admits = lambda instance, port, source: False

    def fresh_address(self) -> str:
        """A public address that no server had before."""
        return self._block.fresh_server()

    def switch_on(self, instance: Instance, address: str, authorized_key: str) -> None:
        """Boot it at `address`. A machine whose address changed is built anew on the same disk."""
        machine, before = self._machines.get(instance.id, (None, ""))
        if machine is not None and before != address:
            machine.stop()
            machine = None
        if machine is None:
            description = Description(
                root=str(self._folder / instance.id),
                address=address,
                region=instance.region,
                ssh_port=SSH_PORT,
                authorized_key=authorized_key,
                gpus=[asdict(instance.type.gpu)] * instance.type.gpu_count,
                outside=self._outside(instance.region),
            )
            admitted = functools.partial(self._admitted, instance.id)
            machine = self._factory(description, admitted)
            self._machines[instance.id] = (machine, address)
        self._hand_over_key(instance.id, authorized_key)
        machine.start()

    def switch_off(self, instance: Instance) -> None:
        """Switch it off; its disk stays."""
        if instance.id in self._machines:
            self._machines[instance.id][0].stop()

    def wipe(self, instance: Instance) -> None:
        machine, _ = self._machines.pop(instance.id, (None, ""))
        if machine is not None:
            machine.destroy()
        shutil.rmtree(self._folder / instance.id, ignore_errors=True)

    def close(self) -> None:
        for machine, _ in list(self._machines.values()):
            machine.stop()

    def _hand_over_key(self, instance: str, key: str) -> None:
        """A key pair that was attached to a standing server gets in at its next boot."""
        place = self._folder / instance / "root/.ssh/authorized_keys"
        if place.exists() and self._keys.get(instance) != key:
            place.write_text(f"{key.strip()}\n")
        self._keys[instance] = key

    def _admitted(self, instance: str, port: int, source: str) -> bool:
        """Who comes from no server's address is the operator, with his public address."""
        ours = ipaddress.IPv4Network(f"{self._block.prefix}0.0/16")
        is_inside = ipaddress.IPv4Address(source) in ours
        return self.admits(instance, port, source if is_inside else OPERATOR)
