"""How every container of the lab is made: pinned image, health check, own network, log rotation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_docker as docker

from provisioning.channels import XINFERENCE_KEY
from provisioning.containers import Container, Health, memory_left
from stack.host import Host
from stack.passwords import Passwords

# Who may come in is the security group's business: Docker's ports bypass any host firewall.
_ANY, _HOME = "0.0.0.0", "127.0.0.1"  # noqa: S104
# As Xinference's compose file: Docker's 64 MiB can be too little (docs/facts/xinference.md §1).
_SHARED_MEMORY_MIB = 8192
# Each is awaited, and comes back by itself.
_COMMON: dict[str, Any] = {
    "wait": True,
    "must_run": True,
    "restart": "unless-stopped",
    "log_driver": "json-file",
}


@dataclass(frozen=True)
class Containers:
    """Makes containers on one host, each in its own network and in those it reaches, by name.

    Keeps those that run, by name. `known` is what templates may name beside passwords; `files` are
    the operator's own, beside the plan's, by container.
    """

    host: Host
    passwords: Passwords
    known: Mapping[str, pulumi.Output[str]]
    networks: Mapping[str, docker.Network]
    server_mib: pulumi.Output[int]
    opts: pulumi.ResourceOptions
    files: Mapping[str, Mapping[str, pulumi.Output[str]]]
    running: dict[str, docker.Container] = field(default_factory=dict)

    def run(self, name: str, one: Container) -> None:
        """Create the container, after all that it needs, and wait until it is healthy."""
        pulled = docker.RemoteImage(
            f"{name}-image",
            name=one.image,
            keep_locally=True,  # removing 10 GB on every replacement helps nobody
            opts=self._after(self.host.pulled[name]),
        )
        on_host = (self._on_host(name, need) for need in one.needs)
        memory = self.server_mib.apply(memory_left) if one.rest_of_memory else one.memory_mib
        self.running[name] = docker.Container(
            name,
            name=name,
            image=pulled.image_id,
            command=list(one.command) or None,
            envs=self._filled(one.environment) if one.environment else None,
            ports=_ports(one),
            networks_advanced=self._joined(name, one),
            volumes=self._volumes(name, one),
            uploads=self._uploads(name, one),
            healthcheck=_health_check(one.health),
            wait_timeout=one.wait_seconds,
            destroy_grace_seconds=one.grace_seconds,
            memory=memory,
            memory_swap=memory,
            gpus="all" if one.gpu else None,
            shm_size=_SHARED_MEMORY_MIB if one.gpu else None,
            log_opts=_log(one.log_mib),
            opts=self._after(*on_host, *(self.running[other] for other in one.after)),
            **_COMMON,
            **_confined(one),
        )

    def _on_host(self, name: str, need: str) -> pulumi.Resource:
        found: pulumi.Resource | Mapping[str, pulumi.Resource] = getattr(self.host, need)
        return found[name] if isinstance(found, Mapping) else found

    def _filled(self, templates: Mapping[str, str]) -> pulumi.Output[list[str]]:
        values = {
            name: self.passwords.fill(template, **self.known)
            for name, template in templates.items()
        }
        return pulumi.Output.secret(
            pulumi.Output.all(**values).apply(
                lambda known: [f"{name}={value}" for name, value in sorted(known.items())]
            )
        )

    def _joined(self, name: str, one: Container) -> list[docker.ContainerNetworksAdvancedArgs]:
        told = docker.ContainerNetworksAdvancedArgs
        own = told(name=self.networks[name].name, aliases=[name, f"{name}.own"])
        return [own, *(told(name=self.networks[other].name) for other in one.reaches)]

    def _uploads(self, name: str, one: Container) -> list[docker.ContainerUploadArgs]:
        files: dict[str, pulumi.Input[str]] = {
            path: self._with_key(content) for path, content in one.files.items()
        }
        told = docker.ContainerUploadArgs
        return [
            told(file=path, content=content, permissions="0644")
            for path, content in (files | {**self.files.get(name, {})}).items()
        ]

    def _with_key(self, content: str) -> pulumi.Input[str]:
        if XINFERENCE_KEY not in content:
            return content
        key = self.passwords.xinference_key
        return key.apply(lambda known: content.replace(XINFERENCE_KEY, known))

    def _volumes(self, name: str, one: Container) -> list[docker.ContainerVolumeArgs]:
        told = docker.ContainerVolumeArgs
        mounted = [
            told(host_path=there, container_path=here, read_only=True)
            for there, here in one.mounts.items()
        ]
        if not one.data:
            return mounted
        made = docker.Volume(f"{name}-data", name=f"ai-lab-{name}", opts=self.opts)
        return [*mounted, told(volume_name=made.name, container_path=one.data)]

    def _after(self, *needs: pulumi.Resource) -> pulumi.ResourceOptions:
        more = pulumi.ResourceOptions(depends_on=list(needs))
        return pulumi.ResourceOptions.merge(self.opts, more)


def _ports(one: Container) -> list[docker.ContainerPortArgs]:
    told = docker.ContainerPortArgs
    return [
        told(
            internal=inside,
            external=out,
            ip=_HOME if out in one.at_home else _ANY,
            protocol="tcp",
        )
        # Docker gives them back by the port inside.
        for out, inside in sorted(one.published.items(), key=lambda port: port[1])
    ]


def _confined(one: Container) -> dict[str, Any]:
    """What its processes may not do, whatever gets in."""
    confined: dict[str, Any] = {
        "security_opts": ["no-new-privileges:true"],
        # Docker 20.10 and later give them back with the prefix, so they are told with it.
        "capabilities": {"adds": list(one.capabilities), "drops": ["ALL"]},
        "user": one.user,
    }
    if one.processes:
        confined["ulimits"] = [{"name": "nproc", "soft": one.processes, "hard": one.processes}]
    if one.read_only is not None:
        confined |= {"read_only": True, "tmpfs": dict.fromkeys(one.read_only, "")}
    return confined


def _log(mib: int | None) -> dict[str, str]:
    return {"max-size": f"{mib or 50}m", "max-file": "1" if mib else "3"}


def _health_check(health: Health) -> docker.ContainerHealthcheckArgs:
    return docker.ContainerHealthcheckArgs(
        tests=list(health.tests),
        interval="10s",
        timeout=health.timeout,
        retries=3,
        start_period=f"{health.start_minutes}m0s",
        start_interval="1s",
    )
