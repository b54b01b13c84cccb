"""The parts of a lab: components that hold what is built together."""

from __future__ import annotations

import pulumi


def part_type(name: str) -> str:
    """The type token of a part, `ailab:lab:Models`. State format: it may never change."""
    return f"ailab:lab:{name}"


def part(name: str, parent: pulumi.Resource | None = None) -> pulumi.ComponentResource:
    """A part called `Models` is the component `models`; whoever fills it registers its outputs."""
    return pulumi.ComponentResource(
        part_type(name), name.lower(), opts=pulumi.ResourceOptions(parent=parent)
    )
