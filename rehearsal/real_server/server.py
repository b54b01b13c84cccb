"""Servers as containers, and the mirror that stands beside them in a network of their own."""

import io
import os
import tarfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import docker
import httpx
from docker.errors import NotFound
from docker.models.containers import Container

from rehearsal.real_server.engine import NoEngine
from rehearsal.real_server.images import CONTEXT, NAME, Images

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

    The mirror's cache outlives it, so that packages are fetched and images pushed once.
    """

    def __init__(self, client: docker.DockerClient, images: Images) -> None:
        """Nothing is made before `open`."""
        self.client = client
        self.images = images
        self.name = f"{NAME}-{os.getpid()}"
        self.labels = {_OWNER: str(os.getpid())}
        self._mirror: Container | None = None

    @property
    def mirror(self) -> Container:
        """The mirror's container; only after `open`."""
        assert self._mirror is not None, "the grounds are not open"
        return self._mirror

    def open(self) -> None:
        """Make the network and start the mirror. What a dead process left behind goes first."""
        sweep(self.client)
        self.client.networks.create(self.name, labels=self.labels)
        self._mirror = self.client.containers.create(
            self.images.mirror,
            name=f"{self.name}-mirror",
            labels=self.labels,
            network=self.name,
            networking_config={
                self.name: self.client.api.create_endpoint_config(
                    aliases=(CONTEXT / "names").read_text().split()
                )
            },
            ports={f"{REGISTRY_PORT}/tcp": ("127.0.0.1", 0)},
            volumes=[f"{NAME}-mirror:/cache"],
        )
        self._mirror.start()
        self._mirror.reload()
        self._wait()

    @property
    def registry(self) -> str:
        """The mirror's registry, as this machine's engine reaches it (`127.0.0.1:32768`)."""
        bound = self.mirror.attrs["NetworkSettings"]["Ports"][f"{REGISTRY_PORT}/tcp"][0]
        return f"{bound['HostIp']}:{bound['HostPort']}"

    def publish(self, image: str, reference: str) -> None:
        """Let the mirror have an image under the name that a lab pulls.

        Raises:
            NoEngine: the registry does not take it.
        """
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
                answer = httpx.get(f"http://{self.registry}/v2/", trust_env=False)
            except httpx.HTTPError as error:
                last = str(error)
            else:
                if answer.is_success:
                    return
                last = str(answer)
            time.sleep(0.2)
        raise NoEngine(
            f"waited {_START_SECONDS} s for the mirror's registry; last seen: {last}; "
            f"see `docker logs {self.mirror.name}`"
        )

    def close(self) -> None:
        """Remove everything that this process made."""
        _remove(self.client, str(os.getpid()))


class RealServer:
    """One rented server. Its disk is the container's, with a volume for Docker's data."""

    def __init__(
        self,
        grounds: Grounds,
        name: str,
        authorized_key: str,
        published: Mapping[int, tuple[str, int]],
    ) -> None:
        """Made, not started.

        Args:
            name: also its host name; unique among the grounds' servers.
            authorized_key: opens root's login.
            published: port of the server to address and port of this machine.
        """
        legacy = grounds.client.info().get("CgroupVersion") != "2"
        self._container = grounds.client.containers.create(
            grounds.images.server,
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
        self.authorize(authorized_key)

    def authorize(self, key: str) -> None:
        """Let this key in, and no other."""
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
        """Switch it off and on."""
        # Not Docker's own restart: the restart policy may get in first.
        self.stop()
        self.start()

    def destroy(self) -> None:
        """Switch it off and forget its disk."""
        with suppress(NotFound):
            self._container.remove(force=True, v=True)


def sweep(client: docker.DockerClient) -> None:
    """Remove what processes left behind that are no more."""
    containers = client.containers.list(all=True, filters={"label": _OWNER})
    networks = client.networks.list(filters={"label": _OWNER})
    owners = {container.labels[_OWNER] for container in containers}
    owners |= {network.attrs["Labels"][_OWNER] for network in networks}
    for owner in owners:
        if not Path(f"/proc/{owner}").exists():
            _remove(client, owner)


def _remove(client: docker.DockerClient, owner: str) -> None:
    label = f"{_OWNER}={owner}"
    for container in client.containers.list(all=True, filters={"label": label}):
        with suppress(NotFound):
            container.remove(force=True, v=True)
    for network in client.networks.list(filters={"label": label}):
        with suppress(NotFound):
            network.remove()
