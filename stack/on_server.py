"""What lives on the server, and dies with it."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from stack.part import part_type


def dies_with(
    what: pulumi.Resource, after: Sequence[pulumi.Resource] = ()
) -> pulumi.ResourceTransformation:
    """A transformation for whatever lives on the server: gone with it, made anew with a new one.

    `deleted_with` spares a destroy the dying server; without `replace_with` a new server would be
    left without what the state believes to be there (`docs/facts/engine.md`, measured).
    """

    def transform(
        resource: pulumi.ResourceTransformationArgs,
    ) -> pulumi.ResourceTransformationResult | None:
        is_custom = isinstance(resource.resource, pulumi.CustomResource)
        if not is_custom or isinstance(resource.resource, pulumi.ProviderResource):
            return None
        fate = pulumi.ResourceOptions(
            deleted_with=what, replace_with=[what], depends_on=list(after)
        )
        return pulumi.ResourceTransformationResult(
            resource.props, pulumi.ResourceOptions.merge(resource.opts, fate)
        )

    return transform


class OnServer(pulumi.ComponentResource):
    """Holds all that lives on the server; sets its fate once for everything below it.

    Args:
        life: what stands in the state for as long as the lab believes in this server. Not the cloud
            instance: a refresh after the lease has ended drops that one, and a destroy would then
            dial the dead server for everything on it, in vain (measured).
        ready: all of it comes after this.
    """

    def __init__(self, name: str, life: pulumi.Resource, ready: pulumi.Resource) -> None:
        super().__init__(
            part_type("OnServer"),
            name,
            opts=pulumi.ResourceOptions(transformations=[dies_with(life, [ready])]),
        )
