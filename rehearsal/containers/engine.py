"""The Docker engine of one rehearsed server.

It answers what Docker's API would answer, in its shapes (`Id`, `State.Health.Status`, ...) and with
its texts. It lives in its server's event loop; other threads use `Engine.call`.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rehearsal import faults, images
from rehearsal.containers import toolbox
from rehearsal.containers.container import Container, Place
from rehearsal.containers.inspection import inspect_container, inspect_network, summary
from rehearsal.containers.logs import timestamp
from rehearsal.containers.networks import DEFAULT, Networks
from rehearsal.containers.ports import Admits, PublishedPorts
from rehearsal.containers.processes import Lifeline
from rehearsal.containers.spec import (
    EngineError,
    HealthCheck,
    Json,
    Mount,
    NotFound,
    Port,
    RestartPolicy,
    Spec,
    validate,
)
from rehearsal.server.outside import Reach, reach

VERSION = "29.8.0"
_MIB_PER_SECOND = 20_000.0
_LONGEST_PULL = 0.6

Report = Callable[[str], None]
"""Takes one line of a pull's progress."""


@dataclass(frozen=True)
class Surroundings:
    """What an engine needs of its server.

    Attributes:
        root: the server's file tree.
        address: the server's own; containers get the following ones.
        region: decides which registries answer.
        admits: the server's firewall, asked per connection.
        gpus: the GPUs that containers can get; None where the container toolkit is missing.
        outside: emulated outside hosts, name to address.
        pace: how many times faster than real time health checks and pulls go.
    """

    root: Path
    address: str
    region: str
    admits: Admits
    gpus: Callable[[], list[dict[str, Any]] | None]
    lifeline: Lifeline
    outside: Mapping[str, str] = field(default_factory=dict)
    pace: float = 1.0


@dataclass(frozen=True)
class Local:
    """An image that was pulled, under one of its names."""

    reference: images.Reference
    image: images.Image
    id: str
    digest: str
    created: str


class Engine:
    """Images, networks, volumes and containers of one server."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._folder = surroundings.root / "var/lib/docker"
        self._toolbox = self._folder / "rehearsal-tools"
        self._images: dict[str, Local] = {}
        self._layers: set[tuple[str, int]] = set()
        self._containers: dict[str, Container] = {}
        self._volumes: dict[str, dict[str, Any]] = {}
        self._networks = Networks(surroundings.address)
        self._ports = PublishedPorts(surroundings.address, surroundings.admits)
        self._pulls: dict[str, asyncio.Lock] = {}
        self._config: dict[str, Any] = {}
        self._running = False

    @property
    def running(self) -> bool:
        """Whether the daemon runs."""
        return self._running

    async def start(self, config: dict[str, Any]) -> None:
        """Start the daemon with the content of daemon.json; containers come back by policy."""
        self._config = config
        self._running = True
        if not self._toolbox.exists():
            toolbox.fill(self._toolbox, "REHEARSAL_ROOT", "")
        # Those that live-restore kept are left alone by `start`.
        for container in list(self._containers.values()):
            if container.comes_back_with_engine():
                try:
                    await container.start()
                except EngineError:
                    continue

    async def stop(self, whole_server: bool = False) -> None:
        """Stop the daemon; containers stay up only with live-restore, and not when the server goes
        down."""
        self._running = False
        if self._config.get("live-restore") and not whole_server:
            return
        running = [c for c in self._containers.values() if c.state.running]
        await asyncio.gather(*(c.stop(timeout=3, by_hand=False) for c in running))

    async def call(self, operation: str, arguments: dict[str, Any]) -> Json:
        """Carry out one operation of the API: the method of that name, with these arguments.

        Raises:
            EngineError: what the daemon answers.
        """
        method = getattr(self, f"api_{operation}", None)
        if method is None:
            raise EngineError(f"the rehearsed engine has no operation {operation!r}", 404)
        return await method(**arguments)

    # --- the engine itself

    async def api_version(self) -> dict[str, Any]:
        """`docker version`, the server's half."""
        return {"Version": VERSION, "ApiVersion": "1.54", "Os": "linux", "Arch": "amd64"}

    async def api_info(self) -> dict[str, Any]:
        """`docker info`."""
        running = sum(c.state.status == "running" for c in self._containers.values())
        runtimes = {"runc": {}, **self._config.get("runtimes", {})}
        return {
            "ServerVersion": VERSION,
            "Containers": len(self._containers),
            "ContainersRunning": running,
            "ContainersStopped": len(self._containers) - running,
            "Images": len({local.id for local in self._images.values()}),
            "Driver": "overlay2",
            "LoggingDriver": self._config.get("log-driver", "json-file"),
            "CgroupVersion": "2",
            "LiveRestoreEnabled": bool(self._config.get("live-restore")),
            "DockerRootDir": self._config.get("data-root", "/var/lib/docker"),
            "Runtimes": runtimes,
            "DefaultRuntime": self._config.get("default-runtime", "runc"),
            "RegistryConfig": {"Mirrors": self._config.get("registry-mirrors", [])},
            "OperatingSystem": "Ubuntu 22.04.5 LTS",
            "OSType": "linux",
            "Architecture": "x86_64",
        }

    # --- images

    async def api_image_pull(self, reference: str, report: Report | None = None) -> dict[str, Any]:
        """Pull from a registry or, for Docker Hub, from the first mirror that lives.

        Raises:
            EngineError: not reachable, not there, or cut off midway. What was pulled is kept.
        """
        try:
            parsed = images.parse(reference)
        except ValueError as error:
            raise EngineError(str(error), 400) from error
        say = report or (lambda _: None)
        # A second pull of the same image waits for the first, as the daemon does.
        async with self._pulls.setdefault(parsed.home, asyncio.Lock()):
            return await self._pull(parsed, reference, say)

    async def _pull(self, parsed: images.Reference, given: str, say: Report) -> dict[str, Any]:
        what = parsed.tag or parsed.digest
        image = self._offered(parsed)
        known = self._images.get(self._key(parsed))
        say(f"{what}: Pulling from {parsed.repository}")
        if known is None:
            await self._transfer(parsed, image, given, say)
            known = self._keep(parsed, image)
            word = "Downloaded newer image for"
        else:
            word = "Image is up to date for"
        say(f"Digest: {known.digest}")
        say(f"Status: {word} {given if ':' in given or '@' in given else f'{given}:latest'}")
        return {"Id": known.id, "Digest": known.digest}

    def _offered(self, parsed: images.Reference) -> images.Image:
        """Docker Hub's images come from the first mirror that has them, in the end from itself."""
        image = images.find(parsed)
        there = image is not None and images.has_tag(image, parsed)
        hub = parsed.registry == images.HUB
        if image and hub and there and any(self._mirrors()):
            return image
        self._reach_registry("registry-1.docker.io" if hub else parsed.registry)
        if image is None:
            name = parsed.repository.removeprefix("library/")
            raise NotFound(
                f"pull access denied for {name}, repository does not exist or may require "
                "'docker login'"
            )
        if not there:
            raise NotFound(
                f"manifest for {parsed.familiar} not found: manifest unknown: manifest unknown"
            )
        return image

    def _mirrors(self) -> Iterator[str]:
        """The configured mirrors that serve Docker Hub."""
        for mirror in self._config.get("registry-mirrors", []):
            host = mirror.partition("://")[2].rstrip("/")
            if reach(host, self._around.region) is Reach.OK:
                yield host

    async def api_manifest_inspect(self, reference: str) -> dict[str, Any]:
        """`docker manifest inspect`: asks the registry that is named, a mirror as any other.

        Raises:
            EngineError: it cannot be reached; no such manifest.
        """
        parsed = images.parse(reference)
        self._reach_registry(parsed.registry)
        if reach(parsed.registry, self._around.region) is Reach.REFUSES_HUB:
            raise EngineError("unexpected status code 403")
        if images.find(parsed) is None:
            parsed = replace(parsed, registry=images.HUB)
        image = images.find(parsed)
        if image is None or not images.has_tag(image, parsed):
            raise NotFound(f"no such manifest: {reference}")
        return {"schemaVersion": 2, "digest": images.digest(parsed)}

    def _reach_registry(self, host: str) -> None:
        how = reach(host, self._around.region)
        if how is Reach.NO_SUCH_HOST:
            raise EngineError(
                f'Get "https://{host}/v2/": dial tcp: lookup {host} on 100.100.2.136:53: '
                "no such host"
            )
        if how is Reach.TIMEOUT:
            raise EngineError(
                f'Get "https://{host}/v2/": net/http: request canceled while waiting for '
                "connection (Client.Timeout exceeded while awaiting headers)"
            )
        if how is Reach.RESET:
            raise EngineError(f'Get "https://{host}/v2/": net/http: TLS handshake timeout')

    async def _transfer(
        self, parsed: images.Reference, image: images.Image, given: str, say: Report
    ) -> None:
        key = images.image_id(parsed)
        layers = 3
        for number in range(layers):
            layer = key[7 + 12 * number : 19 + 12 * number]
            if (key, number) in self._layers:
                say(f"{layer}: Already exists")
                continue
            say(f"{layer}: Pulling fs layer")
            seconds = min(image.size_mib / _MIB_PER_SECOND, _LONGEST_PULL) / layers
            await asyncio.sleep(seconds / self._around.pace)
            if number == 1 and (
                faults.take("docker.pull", given) or faults.take("docker.pull", image.name)
            ):
                raise EngineError("unexpected EOF")
            self._layers.add((key, number))
            say(f"{layer}: Pull complete")

    def _keep(self, parsed: images.Reference, image: images.Image) -> Local:
        local = Local(parsed, image, images.image_id(parsed), images.digest(parsed), timestamp())
        self._images[self._key(parsed)] = local
        return local

    @staticmethod
    def _key(parsed: images.Reference) -> str:
        return f"{parsed.home}@{parsed.digest}" if parsed.digest else f"{parsed.home}:{parsed.tag}"

    def _local(self, reference: str) -> Local:
        bare = reference.removeprefix("sha256:")
        if reference.startswith("sha256:") or (len(bare) >= 12 and _is_hex(bare)):
            for local in self._images.values():
                if local.id.removeprefix("sha256:").startswith(bare):
                    return local
        else:
            parsed = images.parse(reference)
            for key in (self._key(parsed), f"{parsed.home}:{parsed.tag}"):
                local_ = self._images.get(key)
                if local_ and (not parsed.digest or local_.digest == parsed.digest):
                    return local_
        raise NotFound(f"No such image: {reference}")

    async def api_image_inspect(self, reference: str) -> dict[str, Any]:
        """`docker image inspect`.

        Raises:
            NotFound: it was not pulled.
        """
        local = self._local(reference)
        image = local.image
        tags = [o.reference.familiar for o in self._images.values() if o.id == local.id]
        name = f"{local.reference.home.removeprefix('docker.io/').removeprefix('library/')}"
        return {
            "Id": local.id,
            "RepoTags": tags,
            "RepoDigests": [f"{name}@{local.digest}"],
            "Created": local.created,
            "Size": image.size_mib * 1024 * 1024,
            "Os": "linux",
            "Architecture": "amd64",
            "Config": {
                "Env": [f"{key}={value}" for key, value in image.env.items()],
                "Cmd": list(image.command) or None,
                "Entrypoint": list(image.entrypoint) or None,
                "WorkingDir": image.working_dir,
                "Volumes": {path: {} for path in image.volumes} or None,
            },
        }

    async def api_image_list(self) -> list[dict[str, Any]]:
        """`docker images`."""
        return [
            {"Id": local.id, "RepoTags": [local.reference.familiar], "Created": local.created}
            for local in self._images.values()
        ]

    async def api_image_remove(self, reference: str, force: bool = False) -> None:
        """`docker rmi`.

        Raises:
            EngineError: a container uses it.
        """
        local = self._local(reference)
        user = next((c for c in self._containers.values() if self._uses(c, local)), None)
        if user is not None and (user.state.running or not force):
            raise EngineError(
                f"conflict: unable to delete {local.id[7:19]} (must be forced) - container "
                f"{user.id[:12]} is using its referenced image {local.id[7:19]}",
                409,
            )
        for key in [key for key, other in self._images.items() if other.id == local.id]:
            del self._images[key]
        self._layers = {(key, n) for key, n in self._layers if key != local.id}

    @staticmethod
    def _uses(container: Container, local: Local) -> bool:
        return images.image_id(container.reference) == local.id

    # --- volumes

    async def api_volume_create(
        self, name: str = "", driver: str = "local", labels: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Make a volume; one that exists is given back."""
        if driver not in ("", "local"):
            raise EngineError(
                f"create {name}: error looking up volume plugin {driver}: plugin "
                f'"{driver}" not found',
                404,
            )
        name = name or secrets.token_hex(32)
        if name not in self._volumes:
            (self._volume_folder(name)).mkdir(parents=True, exist_ok=True)
            self._volumes[name] = {
                "Name": name,
                "Driver": "local",
                "Mountpoint": f"/var/lib/docker/volumes/{name}/_data",
                "Labels": labels or {},
                "Options": {},
                "Scope": "local",
                "CreatedAt": timestamp(),
            }
        return self._volumes[name]

    def _volume_folder(self, name: str) -> Path:
        return self._folder / "volumes" / name / "_data"

    async def api_volume_inspect(self, name: str) -> dict[str, Any]:
        """`docker volume inspect`.

        Raises:
            NotFound: there is none.
        """
        if name not in self._volumes:
            raise NotFound(f"get {name}: no such volume")
        return self._volumes[name]

    async def api_volume_list(self) -> list[dict[str, Any]]:
        """`docker volume ls`."""
        return list(self._volumes.values())

    async def api_volume_remove(self, name: str) -> None:
        """`docker volume rm`.

        Raises:
            EngineError: a container has it.
        """
        await self.api_volume_inspect(name)
        users = [
            c.id for c in self._containers.values() if name in {m.source for m in c.spec.mounts}
        ]
        if users:
            raise EngineError(f"remove {name}: volume is in use - [{', '.join(users)}]", 409)
        del self._volumes[name]
        shutil.rmtree(self._volume_folder(name).parent, ignore_errors=True)

    # --- networks

    async def api_network_create(self, name: str, **settings: Json) -> dict[str, Any]:
        """`docker network create`. Settings: driver, internal, labels, options."""
        return inspect_network(self._networks.create(name, **settings), self._names())

    async def api_network_inspect(self, name: str) -> dict[str, Any]:
        """`docker network inspect`.

        Raises:
            NotFound: there is none.
        """
        return inspect_network(self._networks.find(name), self._names())

    async def api_network_list(self) -> list[dict[str, Any]]:
        """`docker network ls`."""
        return [inspect_network(network, self._names()) for network in self._networks.all()]

    async def api_network_remove(self, name: str) -> None:
        """`docker network rm`."""
        self._networks.remove(name)

    def _names(self) -> dict[str, str]:
        return {c.id: c.spec.name for c in self._containers.values()}

    # --- containers

    async def api_container_create(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Create a container from a `Spec` as plain data (`spec_from`).

        Raises:
            EngineError: as the daemon refuses it.
        """
        wanted = spec_from(spec)
        validate(wanted)
        local = self._local(wanted.image)
        self._refuse_taken_name(wanted.name)
        self._refuse_network_mode(wanted)
        for network in wanted.networks:
            self._networks.find(network)
        container = self._new_container(wanted, local)
        container.lay_out()
        await self._mount(container)
        self._containers[container.id] = container
        return {"Id": container.id, "Warnings": []}

    def _refuse_taken_name(self, name: str) -> None:
        owner = next((c for c in self._containers.values() if c.spec.name == name), None)
        if owner:
            raise EngineError(
                f'Conflict. The container name "/{name}" is already in use by container '
                f'"{owner.id}". You have to remove (or rename) that container to be able to reuse '
                "that name.",
                409,
            )

    @staticmethod
    def _refuse_network_mode(spec: Spec) -> None:
        if spec.network_mode in ("host", "none") or spec.network_mode.startswith("container:"):
            raise EngineError(f"the rehearsal has no network mode {spec.network_mode!r}", 400)

    def _new_container(self, spec: Spec, local: Local) -> Container:
        id = secrets.token_hex(32)
        place = Place(
            folder=self._folder / "containers" / id,
            toolbox=self._toolbox,
            address=self._networks.address_of(id),
            outside=dict(self._around.outside),
            gpus=lambda: self._given_gpus(spec),
            server=self._around.address,
            lifeline=self._around.lifeline,
            pace=self._around.pace,
        )
        return Container(id, spec, local.image, local.reference, place, self._changed)

    def _given_gpus(self, spec: Spec) -> list[dict[str, Any]]:
        available = self._around.gpus()
        if available is None:
            raise EngineError('could not select device driver "" with capabilities: [[gpu]]')
        if not available:
            raise EngineError(
                "failed to create task for container: failed to create shim task: OCI runtime "
                "create failed: runc create failed: unable to start container process: error "
                "during container init: error running prestart hook #0: exit status 1, stdout: , "
                "stderr: Auto-detected mode as 'legacy'\nnvidia-container-cli: initialization "
                "error: nvml error: driver not loaded: unknown"
            )
        return _chosen(spec.gpus, available)

    async def _mount(self, container: Container) -> None:
        given = {mount.target for mount in container.spec.mounts}
        anonymous = [
            Mount(v, secrets.token_hex(32)) for v in container.image.volumes if v not in given
        ]
        for mount in sorted((*container.spec.mounts, *anonymous), key=lambda m: m.target):
            container.tree.mount(mount, await self._source(mount))

    async def _source(self, mount: Mount) -> Path:
        if not mount.is_bind:
            await self.api_volume_create(mount.source)
            return self._volume_folder(mount.source)
        place = self._around.root / mount.source.lstrip("/")
        # Docker makes a missing host path, as a folder.
        if not place.exists():
            place.mkdir(parents=True)
        return place

    def find(self, name: str) -> Container:
        """The container of this name or id, which may be shortened.

        Raises:
            NotFound: there is none.
        """
        bare = name.lstrip("/")
        for container in self._containers.values():
            if container.spec.name == bare or container.id == bare:
                return container
        found = [c for id, c in self._containers.items() if bare and id.startswith(bare)]
        if len(found) != 1:
            raise NotFound(f"No such container: {name}")
        return found[0]

    async def api_container_put(self, id: str, path: str, content: str, mode: int) -> None:
        """Write one file into a container, as `docker cp` does; content in base64."""
        self.find(id).tree.put(path, base64.b64decode(content), mode)

    async def api_container_start(self, id: str) -> None:
        """`docker start`.

        Raises:
            EngineError: as the daemon refuses it; the container stays, with the error.
        """
        container = self.find(id)
        if container.state.running:
            return
        await container.start()
        if container.spec.auto_remove:
            asyncio.get_running_loop().create_task(self._remove_after(container))

    async def _remove_after(self, container: Container) -> None:
        await container.wait()
        await self._forget(container, volumes=True)

    async def api_container_stop(self, id: str, timeout: float | None = None) -> None:
        """`docker stop`."""
        await self.find(id).stop(timeout)

    async def api_container_restart(self, id: str, timeout: float | None = None) -> None:
        """`docker restart`."""
        await self.find(id).stop(timeout)
        await self.api_container_start(id)

    async def api_container_update(
        self,
        id: str,
        restart: dict[str, Any] | None = None,
        memory: int | None = None,
        memory_swap: int | None = None,
    ) -> None:
        """`docker update`: restart policy, memory limits in bytes."""
        container = self.find(id)
        changes: dict[str, Any] = {"memory": memory, "memory_swap": memory_swap}
        if restart is not None:
            changes["restart"] = RestartPolicy(**restart)
        given = {name: value for name, value in changes.items() if value is not None}
        wanted = replace(container.spec, **given)
        validate(wanted)
        container.spec = wanted

    async def api_container_wait(self, id: str) -> int:
        """`docker wait`: the exit code."""
        return await self.find(id).wait()

    async def api_container_remove(
        self, id: str, force: bool = False, volumes: bool = False
    ) -> None:
        """`docker rm`.

        Raises:
            EngineError: it runs, and `force` is not given.
        """
        container = self.find(id)
        if container.state.running and not force:
            raise EngineError(
                f'cannot remove container "/{container.spec.name}": container is running: stop '
                "the container before removing or force remove",
                409,
            )
        await container.kill()
        await self._forget(container, volumes)

    async def _forget(self, container: Container, volumes: bool) -> None:
        self._containers.pop(container.id, None)
        self._networks.disconnect(container.id)
        self._networks.forget(container.id)
        targets = [container.tree.root / v.lstrip("/") for v in container.image.volumes]
        if volumes:
            named = {mount.source for mount in container.spec.mounts}
            for target in targets:
                source = target.resolve().parent.name
                if source not in named and source in self._volumes:
                    await self.api_volume_remove(source)
        shutil.rmtree(container.place.folder, ignore_errors=True)

    async def api_container_inspect(self, id: str) -> dict[str, Any]:
        """`docker inspect`.

        Raises:
            NotFound: there is none.
        """
        container = self.find(id)
        return inspect_container(container, self._networks, images.image_id(container.reference))

    async def api_container_list(self, all: bool = True) -> list[dict[str, Any]]:
        """`docker ps`, newest first."""
        shown = [c for c in self._containers.values() if all or c.state.running]
        return [summary(container) for container in reversed(shown)]

    async def api_container_logs(self, id: str, tail: int | None = None) -> list[list[str]]:
        """Stream and text of each line."""
        lines = [list(line) for line in self.find(id).log.read()]
        return lines if tail is None else lines[len(lines) - tail :] if tail else []

    async def _changed(self, container: Container, starts: bool) -> None:
        if starts:
            await self._publish(container)
            for network, aliases in (container.spec.networks or {DEFAULT: ()}).items():
                self._networks.connect(network, container.id, aliases)
        else:
            self._ports.release(container.id)
            self._networks.disconnect(container.id)
        names = self._names()
        for other in self._containers.values():
            other.write_hosts(self._networks.names(other.id, names))

    async def _publish(self, container: Container) -> None:
        try:
            for port in container.spec.ports:
                await self._ports.publish(container.id, port, container.place.address)
        except EngineError as error:
            self._ports.release(container.id)
            raise EngineError(
                f"failed to set up container networking: driver failed programming external "
                f"connectivity on endpoint {container.spec.name} ({secrets.token_hex(32)}): {error}"
            ) from error


def spec_from(data: Mapping[str, Any]) -> Spec:
    """A `Spec` from plain data: its field names, nested parts as objects.

    Raises:
        EngineError: a field that the rehearsal does not have.
    """
    fields = dict(data)
    parts: dict[str, Callable[[Any], Any]] = {
        "ports": lambda items: tuple(Port(**item) for item in items),
        "mounts": lambda items: tuple(Mount(**item) for item in items),
        "networks": lambda found: {name: tuple(aliases) for name, aliases in found.items()},
        "restart": lambda found: RestartPolicy(**found),
        "health": lambda found: found and HealthCheck(**{**found, "test": tuple(found["test"])}),
        "command": tuple,
        "entrypoint": lambda found: None if found is None else tuple(found),
        "env": tuple,
        "hosts": tuple,
    }
    try:
        return Spec(**{name: parts.get(name, _same)(value) for name, value in fields.items()})
    except TypeError as error:
        raise EngineError(
            f"the rehearsed engine cannot take this container: {error}", 400
        ) from error


def _same(value: Json) -> Json:
    return value


def _chosen(wanted: str, available: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if wanted == "all":
        return available
    if wanted.startswith("device="):
        numbers = wanted.removeprefix("device=").split(",")
        if all(n.isdigit() and int(n) < len(available) for n in numbers):
            return [available[int(n)] for n in numbers]
        raise EngineError(
            "nvidia-container-cli: device error: "
            + f"{wanted.removeprefix('device=')}: unknown device"
        )
    if wanted.isdigit():
        return available[: int(wanted)]
    raise EngineError(f"invalid gpus value: {wanted!r}", 400)


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdef" for c in text)
