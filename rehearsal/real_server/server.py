"""Servers as containers, and the mirror that stands beside them in a network of their own."""

import io
import os
import secrets
import tarfile
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import docker
import httpx
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from requests import RequestException

from rehearsal.real_server.engine import NoEngine
from rehearsal.real_server.images import CONTEXT, NAME

REGISTRY_PORT = 5000
_OWNER = f"{NAME}.process"
_STOP_SECONDS = 60
_START_SECONDS = 60

# What systemd and an engine of its own need. Not `privileged`: that fails where this machine itself
# is short of a capability (docs/facts/engine.md).
_CAPABILITIES = ["SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE", "MKNOD", "SYSLOG"]
_LEGACY_CGROUPS = ["SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1", "systemd.unified_cgroup_hierarchy=0"]


class Grounds:
    """Where servers stand: a network, and the mirror of packages and images in it.

    The mirror's cache outlives it, so that packages are fetched and images pushed once. `images`
    are those that `images.ready` tells. Nothing is made before `open`.
    """

    mirror: Container

    def __init__(self, client: docker.DockerClient, images: Mapping[str, str]) -> None:
        self.client = client
        self.images = images
        # Not by the process alone: its number comes again while a removal is still on its way.
        self.name = f"{NAME}-{os.getpid()}-{secrets.token_hex(2)}"
        self.labels = {_OWNER: str(os.getpid())}

    def open(self) -> None:
        """Make the network and start the mirror. What a dead process left behind goes first."""
        sweep(self.client)
        self.client.networks.create(self.name, labels=self.labels)
        aliases = (CONTEXT / "names").read_text().split()
        self.mirror = self.client.containers.create(
            self.images["mirror"],
            name=f"{self.name}-mirror",
            labels=self.labels,
            network=self.name,
            networking_config={self.name: self.client.api.create_endpoint_config(aliases=aliases)},
            ports={f"{REGISTRY_PORT}/tcp": ("127.0.0.1", 0)},
            volumes=[f"{NAME}-mirror:/cache"],
        )
        self.mirror.start()
        self.mirror.reload()
        self._wait()

    @property
    def registry(self) -> str:
        """The mirror's registry, as this machine's engine reaches it (`127.0.0.1:32768`)."""
        bound = self.mirror.attrs["NetworkSettings"]["Ports"][f"{REGISTRY_PORT}/tcp"][0]
        return f"{bound['HostIp']}:{bound['HostPort']}"

    def publish(self, image: str, reference: str) -> None:
        """Let the mirror have an image under the name that a lab pulls. Raises NoEngine: the
        registry does not take it."""
        host, _, path = reference.rpartition(":")[0].partition("/")
        if not path or not ("." in host or ":" in host):
            # Docker Hub's, whose own images have no owner.
            path = f"{host}/{path}" if path else f"library/{host}"
        tag = reference.rpartition(":")[2]
        here = f"{self.registry}/{path}"
        self.client.images.get(image).tag(here, tag)
        try:
            for told in self.client.images.push(here, tag, stream=True, decode=True):
                if "error" in told:
                    raise NoEngine(f"the mirror does not take {reference}: {told['error']}")
        finally:
            self.client.images.remove(f"{here}:{tag}")

    def _wait(self) -> None:
        last = "nothing"
        for _ in range(_START_SECONDS * 5):
            try:
                httpx.get(f"http://{self.registry}/v2/", trust_env=False).raise_for_status()
                return
            except httpx.HTTPError as error:
                last = str(error)
            time.sleep(0.2)
        raise NoEngine(
            f"waited {_START_SECONDS} s for the mirror's registry; last seen: {last}; "
            f"see `docker logs {self.mirror.name}`"
        )

    def close(self) -> None:
        _remove(self.client, str(os.getpid()))


class RealServer:
    """One rented server. Its disk is the container's, with a volume for Docker's data."""

    def __init__(
        self, grounds: Grounds, name: str, key: str, published: Mapping[int, tuple[str, int]]
    ) -> None:
        """Made, not started. `name`: also its host name; unique among the grounds' servers; `key`:
        the only one that opens root's login; `published`: port of the server to address and port of
        this machine."""
        legacy = grounds.client.info().get("CgroupVersion") != "2"
        self._container = grounds.client.containers.create(
            grounds.images["server"],
            command=_LEGACY_CGROUPS if legacy else None,
            name=f"{grounds.name}-{name}",
            hostname=name,
            labels=grounds.labels,
            network=grounds.name,
            ports={f"{port}/tcp": place for port, place in published.items()},
            environment={"container": "docker"},
            cap_add=_CAPABILITIES,
            security_opt=["seccomp=unconfined", "apparmor=unconfined"],
            cgroupns="host",
            tmpfs={"/run": "", "/tmp": ""},
            volumes=["/sys/fs/cgroup:/sys/fs/cgroup:rw", "/var/lib/docker", "/var/lib/containerd"],
            # A container that reboots only ends.
            restart_policy={"Name": "always"},
        )
        text = f"{key.strip()}\n".encode()
        folder = tarfile.TarInfo(".ssh")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o700
        file = tarfile.TarInfo(".ssh/authorized_keys")
        file.size, file.mode = len(text), 0o600
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.addfile(folder)
            archive.addfile(file, io.BytesIO(text))
        self._container.put_archive("/root", packed.getvalue())

    def start(self) -> None:
        """Boot; comes back when it is on its way, not when sshd answers."""
        self._container.start()

    def stop(self) -> None:
        """Switch it off as a power button does: systemd ends what runs."""
        self._container.stop(timeout=_STOP_SECONDS)

    def reboot(self) -> None:
        # Not Docker's own restart: the restart policy may get in first.
        self.stop()
        self.start()

    def destroy(self) -> None:
        _remove_container(self._container)


def sweep(client: docker.DockerClient) -> None:
    """Remove what processes left behind that are no more. What does not go is told and left: its
    names are nobody else's."""
    containers = _labelled(client, _OWNER)
    networks = client.networks.list(filters={"label": _OWNER})
    owners = {container.labels[_OWNER] for container in containers}
    owners |= {network.attrs["Labels"][_OWNER] for network in networks}
    for owner in (owner for owner in owners if not Path(f"/proc/{owner}").exists()):
        try:
            _remove(client, owner)
        except (NoEngine, APIError) as error:
            print(f"process {owner} left a server behind: {error}")


def _remove(client: docker.DockerClient, owner: str) -> None:
    label = f"{_OWNER}={owner}"
    for container in _labelled(client, label):
        _remove_container(container)
    for network in client.networks.list(filters={"label": label}):
        with suppress(NotFound):
            network.remove()


def _labelled(client: docker.DockerClient, label: str) -> list[Container]:
    return client.containers.list(all=True, filters={"label": label}, ignore_removed=True)


def _remove_container(container: Container) -> None:
    """Raises NoEngine: somebody else removes it, and that does not end."""
    with suppress(NotFound):
        try:
            container.remove(force=True, v=True)
        except APIError as error:
            if error.status_code != HTTPStatus.CONFLICT:
                raise
            _wait_until_removed(container)


def _wait_until_removed(container: Container) -> None:
    try:
        container.wait(condition="removed", timeout=_STOP_SECONDS)
    except RequestException as error:
        raise NoEngine(
            f"waited {_STOP_SECONDS} s for Docker to remove {container.name}, which it had begun; "
            "restart Docker, and `docker rm --force` it"
        ) from error
