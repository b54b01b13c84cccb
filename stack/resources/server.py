"""What the lab knows about its server beside the cloud's own resources: host key and lease."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi.dynamic import Resource

from stack.resources.base import LabProvider


class ServerHostKeyProvider(LabProvider):
    """Reads the SSH host key at the first contact."""


class ServerHostKey(Resource, module="lab", name="ServerHostKey"):
    """The server's SSH host key, as seen at the first contact and held to from then on.

    Args:
        host, port: of the SSH server; a changed address alone is only written down.
        instance_id: the cloud's id; another machine has another key, so a change replaces this.

    Outputs: `host_key`, e.g. `ssh-ed25519 AAAA...`.
    """

    host_key: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        host: pulumi.Input[str],
        port: pulumi.Input[int] = 22,
        instance_id: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            ServerHostKeyProvider(),
            resource_name,
            {"host": host, "port": port, "instance_id": instance_id, "host_key": None},
            opts,
        )


class LeaseProvider(LabProvider):
    """Computes when the server ends, once."""


class Lease(Resource, module="lab", name="Lease"):
    """When the cloud releases the server by itself.

    Computed once at create. Changed hours count from the original start; a lease that has ended, or
    has less than 40 minutes left, is renewed from now by the next `up`.

    Args:
        hours: length; 0 for no lease.

    Outputs: `started_at`, `ends` (`yyyy-MM-ddTHH:mm:00Z`, or "" without a lease).
    """

    hours: pulumi.Output[float]
    started_at: pulumi.Output[str]
    ends: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        hours: pulumi.Input[float],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            LeaseProvider(),
            resource_name,
            {"hours": hours, "started_at": None, "ends": None},
            opts,
        )


class ServerChoiceProvider(LabProvider):
    """Chooses zone and image, once."""


class ServerChoice(Resource, module="lab", name="ServerChoice"):
    """Where the server stands and from which image, chosen once from what is on offer.

    What is on offer later never changes the choice; only another `generation` chooses anew.

    Args:
        generation: any number; a change of it means another server.
        zones: zones with stock, the preferred one first.
        images: image ids, the preferred one first.
        wanted: what is looked for, for the error: `ecs.gn7i-c16g1.4xlarge in cn-hangzhou`.

    Outputs: `zone`, `image`.
    """

    zone: pulumi.Output[str]
    image: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        generation: pulumi.Input[int],
        zones: pulumi.Input[Sequence[pulumi.Input[str]]],
        images: pulumi.Input[Sequence[pulumi.Input[str]]],
        wanted: pulumi.Input[str] = "the server",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            ServerChoiceProvider(),
            resource_name,
            {
                "generation": generation,
                "zones": zones,
                "images": images,
                "wanted": wanted,
                "zone": None,
                "image": None,
            },
            opts,
        )
