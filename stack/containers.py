"""How every container of the lab is made: pinned image, health check, one network, log rotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_docker as docker

from provisioning.containers import Container, memory_left
from provisioning.host import LOG_ROTATION, image_pulled
from stack.host import Host
from stack.passwords import Passwords
from stack.server import Server

# Who may come in is the security group's business: Docker's ports bypass any host firewall.
_ANY = "0.0.0.0"  # noqa: S104
# As Xinference's compose file: Docker's 64 MiB can be too little (docs/facts/xinference.md §1).
_SHARED_MEMORY_MIB = 8192
# Each is awaited, and comes back by itself.
_COMMON: dict[str, Any] = {
    "wait": True,
    "must_run": True,
    "restart": "unless-stopped",
    "log_driver": "json-file",
    "log_opts": LOG_ROTATION,
}


class Containers:
    """Makes containers on one host, in one private network.

    Args:
        images: what each runs, by its name.
    """

    def __init__(
        self,
        images: Mapping[str, str],
        server: Server,
        host: Host,
        passwords: Passwords,
        opts: pulumi.ResourceOptions,
    ) -> None:
        self._images = images
        self._server = server
        self._host = host
        self._passwords = passwords
        self._opts = opts
        self._network = docker.Network("network", name="ai-lab", driver="bridge", opts=opts)
        self.running: dict[str, docker.Container] = {}

    def run(self, one: Container) -> None:
        """Create the container, after all that it needs, and wait until it is healthy."""
        image = docker.RemoteImage(
            f"{one.name}-image",
            name=self._images[one.name],
            keep_locally=True,  # removing 10 GB on every replacement helps nobody
            opts=self._after([self._host.done[image_pulled(one.name)]]),
        )
        memory = self._memory(one)
        self.running[one.name] = docker.Container(
            one.name,
            name=one.name,
            image=image.image_id,
            command=list(one.command) or None,
            envs=self._environment(one.environment) if one.environment else None,
            ports=_ports(one),
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(name=self._network.name, aliases=[one.name])
            ],
            volumes=self._volumes(one),
            uploads=_uploads(one),
            healthcheck=_health_check(one),
            wait_timeout=one.wait_seconds,
            destroy_grace_seconds=one.grace_seconds,
            memory=memory,
            memory_swap=memory,
            gpus="all" if one.gpu else None,
            shm_size=_SHARED_MEMORY_MIB if one.gpu else None,
            opts=self._after(
                [
                    *(self._host.done[step] for step in one.steps),
                    *(self.running[name] for name in one.after),
                ]
            ),
            **_COMMON,
        )

    def _memory(self, one: Container) -> pulumi.Input[int] | None:
        if one.rest_of_memory:
            return self._server.instance.memory.apply(lambda mib: memory_left(int(mib)))
        return one.memory_mib

    def _environment(self, templates: Mapping[str, str]) -> pulumi.Output[list[str]]:
        filled = {name: self._passwords.fill(template) for name, template in templates.items()}
        return pulumi.Output.secret(
            pulumi.Output.all(**filled).apply(
                lambda known: [f"{name}={value}" for name, value in sorted(known.items())]
            )
        )

    def _volumes(self, one: Container) -> list[docker.ContainerVolumeArgs]:
        volumes = [
            docker.ContainerVolumeArgs(host_path=there, container_path=here, read_only=True)
            for there, here in one.mounts.items()
        ]
        if one.data:
            made = docker.Volume(f"{one.name}-data", name=f"ai-lab-{one.name}", opts=self._opts)
            volumes.append(
                docker.ContainerVolumeArgs(volume_name=made.name, container_path=one.data)
            )
        return volumes

    def _after(self, needs: Sequence[pulumi.Resource]) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions.merge(
            self._opts, pulumi.ResourceOptions(depends_on=list(needs))
        )


def _ports(one: Container) -> list[docker.ContainerPortArgs]:
    return [
        docker.ContainerPortArgs(internal=inside, external=out, ip=_ANY, protocol="tcp")
        for out, inside in one.published.items()
    ]


def _uploads(one: Container) -> list[docker.ContainerUploadArgs]:
    return [
        docker.ContainerUploadArgs(file=path, content=content, permissions="0644")
        for path, content in one.files.items()
    ]


def _health_check(one: Container) -> docker.ContainerHealthcheckArgs:
    return docker.ContainerHealthcheckArgs(
        tests=list(one.health.tests),
        interval="10s",
        timeout=one.health.timeout,
        retries=3,
        start_period=f"{one.health.start_minutes}m0s",
        start_interval="1s",
    )
