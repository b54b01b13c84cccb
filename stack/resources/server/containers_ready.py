"""Whether the containers on the server are healthy."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import pulumi
from typing_extensions import Self

from provisioning import remote
from provisioning.clients.waiting import Waiting, wait_until
from stack.resources.base import LabResource, say
from stack.resources.declaration import OUTPUT, Lab
from stack.resources.server.watched import Watched


@dataclass(frozen=True, kw_only=True)
class ContainersReady(Watched):
    """These containers are healthy, however they were started; who needs them comes after this.

    The Docker provider waits for no container that it starts again (`docs/facts/measured.md §3`).

    Args:
        containers: name to id; another id is another container, and is waited for.
        wait_seconds: for all of them together.
        generation: grows whenever something had to be waited for.
    """

    containers: Mapping[str, str]
    wait_seconds: int
    generation: Annotated[int, OUTPUT] = 1

    def create(self, lab: Lab) -> Self:
        """Wait until all are healthy; what was stopped is started, once."""
        started: set[str] = set()

        def look() -> str | Waiting:
            down = self._down(lab)
            for container in down:
                if container.ended and container.name not in started:
                    started.add(container.name)
                    remote.start_container(lab.server(self.endpoint), container.name)
            return Waiting(", ".join(map(str, down))) if down else "healthy"

        wait_until(
            f"{', '.join(sorted(self.containers))} to be healthy",
            look,
            service="Docker",
            deadline=self.wait_seconds,
            advice="`docker logs NAME` on the server says why; `pulumi up --refresh` makes one "
            "anew that is gone",
            clock=lab.clock,
            progress=say("containers"),
        )
        return replace(self, generation=1)

    def update(self, lab: Lab, old: Self, changed: frozenset[str]) -> Self:  # noqa: ARG002
        """Wait once more, and tell who seeds them that they may have started anew."""
        return replace(self.create(lab), generation=old.generation + 1)

    def amiss(self, lab: Lab) -> str:
        """Which are down."""
        try:
            down = self._down(lab)
        except remote.DockerDown as error:
            return str(error)
        if not down:
            return ""
        gone = any(not container.state for container in down)
        remedy = "up --refresh` makes anew what is gone" if gone else "up` brings them back"
        return f"down on the server: {', '.join(map(str, down))}; `pulumi {remedy}"

    def _down(self, lab: Lab) -> list[remote.Container]:
        found = remote.containers(lab.server(self.endpoint), sorted(self.containers))
        return [container for container in found if not container.healthy]


class ServerContainersReady(LabResource, thing=ContainersReady, token="server:ContainersReady"):
    generation: pulumi.Output[int]
