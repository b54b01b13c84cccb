"""How every container of the lab is made: pinned image, health check, one network, log rotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker

from provisioning.health import Health
from provisioning.images import Image
from stack.host import Host

# Who may come in is the security group's business: Docker's ports bypass any host firewall.
_ANY = "0.0.0.0"  # noqa: S104


@dataclass(frozen=True)
class Service:
    """One container.

    Attributes:
        name: container, network alias and volume prefix.
        envs: environment; values may be secret outputs.
        published: port on the server to port in the container; empty for what nobody outside needs.
        data: where its named volume is mounted.
        files: path in the container to content.
        mounts: path on the server to path in the container, read-only.
        grace_seconds: how long it may take to end when it is replaced; without, it is killed at
            once, and a database has to recover (`docs/facts/measured.md §3`).
        memory_mib: limit, swap included; only where one service could starve the rest.
    """

    name: str
    image: Image
    health: Health
    envs: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    command: Sequence[str] = ()
    published: Mapping[int, int] = field(default_factory=dict)
    data: str | None = None
    files: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    memory_mib: pulumi.Input[int] | None = None
    gpus: str | None = None
    shared_memory_mib: int | None = None
    wait_seconds: int = 300
    grace_seconds: int | None = None


class Containers:
    """Makes containers on one host, in one private network."""

    def __init__(self, host: Host, provider: docker.Provider, parent: pulumi.Resource) -> None:
        self._host = host
        self._opts = pulumi.ResourceOptions(parent=parent, provider=provider)
        self._network = docker.Network("network", name="ai-lab", driver="bridge", opts=self._opts)

    def run(self, service: Service, after: Sequence[pulumi.Resource] = ()) -> docker.Container:
        """Create the container and wait until it is healthy."""
        image = docker.RemoteImage(
            f"{service.name}-image",
            name=service.image.reference,
            keep_locally=True,  # removing 10 GB on every replacement helps nobody
            opts=self._also(depends_on=[self._host.pulled[service.name]]),
        )
        return docker.Container(
            service.name,
            name=service.name,
            image=image.image_id,
            command=list(service.command) or None,
            envs=_environment(service.envs) if service.envs else None,
            ports=[
                docker.ContainerPortArgs(internal=inside, external=out, ip=_ANY, protocol="tcp")
                for out, inside in sorted(service.published.items(), key=lambda pair: pair[1])
            ],
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(
                    name=self._network.name, aliases=[service.name]
                )
            ],
            volumes=self._volumes(service),
            uploads=[
                docker.ContainerUploadArgs(file=path, content=content, permissions="0644")
                for path, content in service.files.items()
            ],
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=service.health.tests,
                interval="10s",
                timeout=service.health.timeout,
                retries=3,
                start_period=f"{service.health.start_minutes}m0s",
                start_interval="1s",
            ),
            wait=True,
            wait_timeout=service.wait_seconds,
            destroy_grace_seconds=service.grace_seconds,
            must_run=True,
            restart="unless-stopped",
            log_driver="json-file",
            log_opts={"max-size": "50m", "max-file": "3"},
            memory=service.memory_mib,
            memory_swap=service.memory_mib,
            gpus=service.gpus,
            shm_size=service.shared_memory_mib,
            opts=self._also(depends_on=list(after)),
        )

    def _volumes(self, service: Service) -> list[docker.ContainerVolumeArgs]:
        volumes = [
            docker.ContainerVolumeArgs(host_path=there, container_path=here, read_only=True)
            for there, here in service.mounts.items()
        ]
        if service.data:
            made = docker.Volume(
                f"{service.name}-data", name=f"ai-lab-{service.name}", opts=self._opts
            )
            volumes.append(
                docker.ContainerVolumeArgs(volume_name=made.name, container_path=service.data)
            )
        return volumes

    def _also(self, depends_on: Sequence[pulumi.Resource]) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions.merge(
            self._opts, pulumi.ResourceOptions(depends_on=list(depends_on))
        )


def _environment(envs: Mapping[str, pulumi.Input[str]]) -> pulumi.Output[list[str]]:
    return pulumi.Output.secret(
        pulumi.Output.all(**envs).apply(
            lambda known: [f"{name}={value}" for name, value in sorted(known.items())]
        )
    )
