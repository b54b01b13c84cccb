"""The stage's Docker: containers as local processes; networks, volumes and images as records.

`Records` answers the calls of `rehearsal.docker.engine.Engine`, in the event loop of one server.
Facts of the real engine: docs/facts/engine.md, "The real Docker".
"""

import base64
import ipaddress
import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from rehearsal import images
from rehearsal.docker.container import DATA, Container
from rehearsal.docker.engine import EngineError, Json
from rehearsal.docker.ports import Admits, PublishedPorts
from rehearsal.processes import Lifeline
from rehearsal.reach import why_not
from rehearsal.server.description import Description

_STOP_SECONDS = 10


class Records:
    """The Docker of a server."""

    def __init__(self, server: Description, admits: Admits, lifeline: Lifeline) -> None:
        self._server, self._lifeline = server, lifeline
        self._root = Path(server.root)
        self.ports = PublishedPorts(server.address, admits)
        self._networks: dict[str, Json] = {}
        self._volumes: dict[str, Json] = {}
        self._images: dict[str, images.Reference] = {}
        self.containers: dict[str, Container] = {}
        self._add_network({"Name": "bridge", "Driver": "bridge", "Internal": False})

    # --- containers

    async def create_container(self, name: str, config: Json) -> str:
        if any(container.name == name for container in self.containers.values()):
            raise EngineError(f'Conflict. The container name "/{name}" is already in use.', 409)
        reference = self._local(config["Image"])
        image = images.find(reference)
        assert image is not None
        id = secrets.token_hex(32)
        folder = self._root / "var/lib/docker/containers" / id
        server, lifeline, address = self._server, self._lifeline, self._free_address()
        container = Container(
            id, name, config, image, reference, server, lifeline, folder, address, {"bridge": []}
        )
        container.lay_out({inside: self._source(source) for source, inside in _binds(config)})
        (self._root / DATA).mkdir(parents=True, exist_ok=True)
        self.containers[id] = container
        return id

    async def connect_network(self, network: str, container: str, aliases: list[str]) -> None:
        name = (await self.inspect_network(network))["Name"]
        self.find(container).networks[name] = aliases
        self._tell_names()

    async def disconnect_network(self, network: str, container: str) -> None:
        name = (await self.inspect_network(network))["Name"]
        self.find(container).networks.pop(name, None)
        self._tell_names()

    async def put_file(self, container: str, path: str, content: str, mode: int) -> None:
        """`content` in base64."""
        found = self.find(container)
        if found.config["HostConfig"]["ReadonlyRootfs"]:
            raise EngineError("container rootfs is marked read-only", 400)
        place = found.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(base64.b64decode(content))
        place.chmod(mode)

    async def start_container(self, container: str) -> None:
        found = self.find(container)
        if found.running:
            return
        address, bound = found.address, found.config["HostConfig"]["PortBindings"]
        self._tell_names()
        try:
            for inside, bindings in bound.items():
                port = int(inside.partition("/")[0])
                for binding in bindings:
                    await self.ports.publish(found.id, int(binding["HostPort"]), address, port)
            await found.start()
        except EngineError:
            self.ports.release(found.id)
            raise
        self._tell_names()

    async def stop_container(self, container: str, seconds: int = _STOP_SECONDS) -> None:
        found = self.find(container)
        await found.stop(seconds)
        self.ports.release(found.id)
        self._tell_names()

    async def remove_container(self, container: str, volumes: bool = False) -> None:
        found = self.find(container)
        await self.stop_container(found.id, 0)
        del self.containers[found.id]
        shutil.rmtree(found.folder, ignore_errors=True)

    async def update_container(self, container: str, config: Json) -> None:
        self.find(container).config["HostConfig"].update(config)

    async def inspect_container(self, container: str) -> Json:
        return await self.find(container).inspect()

    # --- networks, volumes, images

    async def create_network(self, config: Json) -> str:
        return self._add_network(config)

    async def inspect_network(self, network: str) -> Json:
        """The one of this name or id."""
        for found in self._networks.values():
            if network in (found["Name"], found["Id"]):
                return found
        raise EngineError(f"network {network} not found", 404)

    async def remove_network(self, network: str) -> None:
        found = await self.inspect_network(network)
        name = found["Name"]
        if any(name in each.networks and each.running for each in self.containers.values()):
            raise EngineError(f"network {name} has active endpoints", 403)
        del self._networks[found["Id"]]

    async def create_volume(self, config: Json) -> Json:
        made = {**config, "Mountpoint": f"/var/lib/docker/volumes/{config['Name']}/_data"}
        return self._volumes.setdefault(config["Name"], made)

    async def inspect_volume(self, volume: str) -> Json:
        if volume not in self._volumes:
            raise EngineError(f"get {volume}: no such volume", 404)
        return self._volumes[volume]

    async def remove_volume(self, volume: str) -> None:
        await self.inspect_volume(volume)
        configs = [container.config for container in self.containers.values()]
        if any(volume == source for config in configs for source, _ in _binds(config)):
            raise EngineError(f"remove {volume}: volume is in use", 409)
        del self._volumes[volume]
        shutil.rmtree(self._source(volume).parent, ignore_errors=True)

    async def pull_image(self, reference: str) -> None:
        wanted = _parsed(reference)
        if images.find(wanted) is None:
            raise EngineError(f"manifest for {reference} not found: manifest unknown", 404)
        self._reach(wanted.registry)
        self._images[images.image_id(wanted)] = wanted

    async def inspect_image(self, reference: str) -> Json:
        return {"Id": images.image_id(self._local(reference))}

    # --- the server's own start and end

    async def come_up(self) -> None:
        """The server has booted: what its policy brings back comes back."""
        for container in list(self.containers.values()):
            if container.status == "exited" and container.comes_back:
                await self.start_container(container.id)

    async def go_down(self) -> None:
        """The server goes off: every process ends."""
        for container in list(self.containers.values()):
            await container.stop(0, by_hand=container.stopped_by_hand)
            self.ports.release(container.id)

    # --- looking things up

    def find(self, name: str) -> Container:
        """The container of this name, or whose id begins so."""
        for container in self.containers.values():
            if name == container.name or (name and container.id.startswith(name)):
                return container
        raise EngineError(f"No such container: {name}", 404)

    def _add_network(self, config: Json) -> str:
        id = secrets.token_hex(32)
        self._networks[id] = {**config, "Id": id}
        return id

    def _local(self, name: str) -> images.Reference:
        if name in self._images:
            return self._images[name]
        wanted = _parsed(name)
        if images.image_id(wanted) not in self._images:
            raise EngineError(f"No such image: {name}", 404)
        return wanted

    def _reach(self, registry: str) -> None:
        """Docker Hub is asked by way of the mirrors, and itself where none answers."""
        place = self._root / "etc/docker/daemon.json"
        config = json.loads(place.read_text()) if place.exists() else {}
        mirrors = config.get("registry-mirrors", []) if registry == images.HUB else []
        hosts = [str(urlsplit(mirror).hostname) for mirror in mirrors]
        found = [why_not(host, self._server.region) for host in (*hosts, registry)]
        if all(found):
            raise EngineError(f'Get "https://{registry}/v2/": {found[-1]}', 500)

    def _source(self, name: str) -> Path:
        if name.startswith("/"):
            return self._root / name.lstrip("/")
        return self._root / "var/lib/docker/volumes" / name / "_data"

    def _free_address(self) -> str:
        taken = {container.address for container in self.containers.values()}
        hosts = ipaddress.IPv4Network(f"{self._server.address}/24", strict=False).hosts()
        free = (str(host) for host in hosts if host > ipaddress.IPv4Address(self._server.address))
        return next(address for address in free if address not in taken)

    def _tell_names(self) -> None:
        """Names resolve to what runs, as Docker's own resolver has it."""
        for container in self.containers.values():
            known: dict[str, str] = {}
            others = (each for each in self.containers.values() if each.running)
            for other in (container, *others):
                for network in container.networks.keys() & other.networks.keys() - {"bridge"}:
                    names = (other.name, other.id[:12], *other.networks[network])
                    known.update(dict.fromkeys(names, other.address))
            container.write_hosts(known)


def _binds(config: Json) -> Iterator[tuple[str, str]]:
    for bind in config["HostConfig"]["Binds"]:
        source, inside = bind.removesuffix(":ro").split(":")
        yield source, inside


def _parsed(reference: str) -> images.Reference:
    try:
        return images.parse(reference)
    except ValueError as error:
        raise EngineError(str(error), 400) from error
