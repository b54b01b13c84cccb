"""Networks and addresses of one engine: each container gets an address of its own in 127/8."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field

from rehearsal.containers.spec import EngineError, NotFound

DEFAULT = "bridge"


@dataclass
class Endpoint:
    """A container in a network. `aliases` resolve there beside its name and short id."""

    container: str
    address: str
    aliases: tuple[str, ...]


@dataclass
class Network:
    """One network. `endpoints` by container id."""

    name: str
    id: str
    subnet: str
    gateway: str
    driver: str = "bridge"
    internal: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)


class Networks:
    """All networks of one engine. The engine's server is at `address`, its containers beside it."""

    def __init__(self, address: str) -> None:
        self._server = ipaddress.IPv4Address(address)
        self._range = ipaddress.IPv4Network(f"{address}/24", strict=False)
        self._taken: dict[str, str] = {}
        self._networks: dict[str, Network] = {}
        for name in (DEFAULT, "host", "none"):
            self.create(name, driver={"host": "host", "none": "null"}.get(name, "bridge"))

    def create(
        self,
        name: str,
        driver: str = "bridge",
        internal: bool = False,
        labels: dict[str, str] | None = None,
        options: dict[str, str] | None = None,
    ) -> Network:
        """A new network.

        Raises:
            EngineError: the name is taken, or the driver unknown.
        """
        if any(network.name == name for network in self._networks.values()):
            raise EngineError(f"network with name {name} already exists", 409)
        if driver not in ("bridge", "host", "null"):
            raise EngineError(
                f"could not find plugin {driver} in v1 plugin registry: "
                f'plugin "{driver}" not found',
                404,
            )
        number = len(self._networks)
        network = Network(
            name=name,
            id=secrets.token_hex(32),
            # What is shown is Docker's usual range; the containers' addresses are in 127/8.
            subnet=f"172.{17 + number}.0.0/16" if driver == "bridge" else "",
            gateway=f"172.{17 + number}.0.1" if driver == "bridge" else "",
            driver=driver,
            internal=internal,
            labels=labels or {},
            options=options or {},
        )
        self._networks[network.id] = network
        return network

    def find(self, name: str) -> Network:
        """The network of this name or id, which may be shortened.

        Raises:
            NotFound: there is none.
        """
        for network in self._networks.values():
            if network.name == name:
                return network
        found = [network for network in self._networks.values() if network.id.startswith(name)]
        if len(found) == 1 and name:
            return found[0]
        raise NotFound(f"network {name} not found")

    def all(self) -> list[Network]:
        """Every network, the built-in ones first."""
        return list(self._networks.values())

    def remove(self, name: str) -> None:
        """Remove a network.

        Raises:
            EngineError: it is built in, or a container is in it.
        """
        network = self.find(name)
        if network.name in (DEFAULT, "host", "none"):
            raise EngineError(f"{network.name} is a pre-defined network and cannot be removed", 403)
        if network.endpoints:
            raise EngineError(
                f"error while removing network: network {network.name} has active endpoints "
                f"(name:{_names(network)})",
                403,
            )
        del self._networks[network.id]

    def address_of(self, container: str) -> str:
        """The container's own address, the same in all its networks and for all its life.

        Raises:
            EngineError: all addresses are taken.
        """
        if container not in self._taken:
            free = next(
                (
                    str(host)
                    for host in self._range.hosts()
                    if host > self._server and str(host) not in self._taken.values()
                ),
                None,
            )
            if free is None:
                raise EngineError("no available IPv4 addresses on this network's address pools")
            self._taken[container] = free
        return self._taken[container]

    def forget(self, container: str) -> None:
        """Free the container's address."""
        self._taken.pop(container, None)

    def connect(self, name: str, container: str, aliases: tuple[str, ...]) -> None:
        """Put a running container into a network."""
        endpoint = Endpoint(container, self.address_of(container), aliases)
        self.find(name).endpoints[container] = endpoint

    def disconnect(self, container: str) -> None:
        """Take a container out of all its networks."""
        for network in self._networks.values():
            network.endpoints.pop(container, None)

    def names(self, container: str, label: dict[str, str]) -> dict[str, str]:
        """Name to address, as the container's resolver knows them: only user-defined networks have
        names.

        Args:
            label: id to name of all containers.
        """
        found: dict[str, str] = {}
        for network in self._networks.values():
            if network.name == DEFAULT or container not in network.endpoints:
                continue
            for endpoint in network.endpoints.values():
                names = (label[endpoint.container], endpoint.container[:12], *endpoint.aliases)
                found.update(dict.fromkeys(names, endpoint.address))
        return found


def _names(network: Network) -> str:
    return ", ".join(endpoint.container[:12] for endpoint in network.endpoints.values())
