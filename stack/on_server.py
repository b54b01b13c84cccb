"""What lives on the server, and dies with it."""

from __future__ import annotations

import pulumi


def dies_with(instance: pulumi.Resource) -> pulumi.ResourceTransformation:
    """A transformation for whatever lives on the server: gone with it, made anew with a new one.

    `deleted_with` spares a destroy the dying server; without `replace_with` a new server would be
    left without what the state believes to be there (`facts/engine.md`, measured).
    """

    def transform(
        resource: pulumi.ResourceTransformationArgs,
    ) -> pulumi.ResourceTransformationResult | None:
        is_custom = isinstance(resource.resource, pulumi.CustomResource)
        if not is_custom or isinstance(resource.resource, pulumi.ProviderResource):
            return None
        fate = pulumi.ResourceOptions(deleted_with=instance, replace_with=[instance])
        return pulumi.ResourceTransformationResult(
            resource.props, pulumi.ResourceOptions.merge(resource.opts, fate)
        )

    return transform


class OnServer(pulumi.ComponentResource):
    """Holds all that lives on the server; sets its fate once for everything below it."""

    def __init__(self, name: str, instance: pulumi.Resource) -> None:
        super().__init__(
            "lab:stack:OnServer",
            name,
            opts=pulumi.ResourceOptions(transformations=[dies_with(instance)]),
        )
