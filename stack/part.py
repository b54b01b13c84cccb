"""The parts of a lab: components that hold what is built together, or dies together."""

from collections.abc import Sequence

import pulumi


def part_type(name: str) -> str:
    """The type token of a part, `ailab:lab:Models`. State format: it may never change."""
    return f"ailab:lab:{name}"


def part(name: str, parent: pulumi.Resource | None = None) -> pulumi.ComponentResource:
    """A part called `Models` is the component `models`; whoever fills it registers its outputs."""
    return pulumi.ComponentResource(
        part_type(name), name.lower(), opts=pulumi.ResourceOptions(parent=parent)
    )


def dies_with(
    what: pulumi.Resource, after: Sequence[pulumi.Resource] = ()
) -> pulumi.ResourceTransformation:
    """A transformation for whatever lives on the server: gone with it, made anew with a new one.

    `deleted_with` spares a destroy the dying server; without `replace_with` a new server would be
    left without what the state believes to be there (`docs/facts/engine.md`, measured). That holds
    within one run: where it was killed in between, the trigger tells the next that what the state
    has is the old server's. A state without one takes it in and replaces nothing (measured).
    """
    trigger = getattr(what, "host_key", None) or getattr(what, "id", None)

    def transform(
        resource: pulumi.ResourceTransformationArgs,
    ) -> pulumi.ResourceTransformationResult | None:
        is_custom = isinstance(resource.resource, pulumi.CustomResource)
        if not is_custom or isinstance(resource.resource, pulumi.ProviderResource):
            return None
        fate = pulumi.ResourceOptions(
            deleted_with=what,
            replace_with=[what],
            replacement_trigger=trigger,
            depends_on=list(after),
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
