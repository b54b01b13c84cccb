"""The lab's services: its containers, and when those that are seeded can be."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_docker as docker

from provisioning import remote
from provisioning.containers import CERTIFICATE, CERTIFICATE_KEY, seeded
from provisioning.plan import Plan
from provisioning.ports import FASTGPT_PORT
from provisioning.settings import Settings
from provisioning.tunnel import ssh_options
from stack.containers import Containers
from stack.host import Host
from stack.part import part
from stack.passwords import Passwords
from stack.resources.declaration import Lab
from stack.resources.server.containers_ready import ServerContainersReady
from stack.server import USER, Server
from stack.storage import make_storage
from stack.told import look_after_failure

_LONGEST_WAIT_SECONDS = 900


@dataclass(frozen=True)
class Services:
    """The running services.

    Attributes:
        healthy: by name, what others seed, with all it needs; Xinference only where used.
        relay_key: FastGPT's key for OneAPI, with `sk-`, secret.
    """

    healthy: Mapping[str, ServerContainersReady]
    passwords: Passwords
    relay_key: pulumi.Output[str]


def run_services(
    plan: Plan, server: Server, host: Host, passwords: Passwords, lab: pulumi.Resource
) -> Services:
    """Create every container; each is healthy when this is done."""
    parent = part("Services", lab)
    settings = plan.settings
    # The provider dials as soon as it is configured, so its address waits for Docker.
    address = pulumi.Output.all(server.address, host.docker_ready.stdout).apply(
        lambda known: f"ssh://{USER}@{known[0]}:{settings.ssh_port}"
    )
    provider = docker.Provider(
        "docker",
        host=address,
        ssh_opts=server.host_key.apply(lambda key: ssh_options(settings.private_key_file, key)),
        opts=pulumi.ResourceOptions(parent=parent),
    )
    opts = pulumi.ResourceOptions(parent=parent, provider=provider)
    memory, files = server.instance.memory.apply(int), _certificate(settings)
    pages = {"page": server.page(FASTGPT_PORT), "share_page": server.share_page()}
    known = {**pages, **make_storage(plan, server)}
    _tell_why_down(server, settings)
    containers = Containers(host, passwords, known, _networks(plan, opts), memory, opts, files)
    for name, container in plan.containers.items():
        containers.run(name, container)
    healthy = {
        service: ServerContainersReady(
            f"{service}-healthy",
            endpoint=server.login,
            containers={
                name: containers.running[name].id for name in needs if name in containers.running
            },
            wait_seconds=_LONGEST_WAIT_SECONDS,
            opts=pulumi.ResourceOptions(parent=parent),
        )
        for service, needs in seeded(plan.edition).items()
        if service in containers.running
    }
    parent.register_outputs({})
    return Services(healthy, passwords, relay_key=passwords.fill("sk-{relay_token}"))


def _tell_why_down(server: Server, settings: Settings) -> None:
    """Of a container that does not become healthy in the run that makes it."""
    known: dict[str, Any] = {}
    pulumi.Output.all(**server.login).apply(known.update)
    way = Lab()
    way.ssh_key_file = settings.private_key_file

    def look(name: str) -> str:
        (one,) = remote.containers(way.server(known), [name])
        return f"{one}; `pulumi up` then goes on." if one.cause else ""

    look_after_failure("docker:index/container:Container", look)


def _networks(plan: Plan, opts: pulumi.ResourceOptions) -> dict[str, docker.Network]:
    return {
        name: docker.Network(
            f"network-{name}",
            name=f"ai-lab-{name}",
            driver="bridge",
            internal=not container.online,
            opts=opts,
        )
        for name, container in plan.containers.items()
    }


def _certificate(settings: Settings) -> dict[str, dict[str, pulumi.Output[str]]]:
    """The operator's own, for Caddy."""
    if not settings.certificate_file:
        return {}
    files = {
        CERTIFICATE: settings.certificate_file,
        CERTIFICATE_KEY: settings.certificate_key_file,
    }
    read = {place: Path(name).expanduser().read_text() for place, name in files.items()}
    return {"caddy": {place: pulumi.Output.secret(text) for place, text in read.items()}}
