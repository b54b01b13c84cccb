"""What has to be looked at in every `pulumi up`: whether the server answers, what runs, what lies.

The engine's own providers look in a refresh only, so a service that somebody stopped would go
unnoticed until something needs it (`docs/facts/measured.md §3`). These look when they are compared,
in previews too, where they can only say what they see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import pulumi
from pulumi.dynamic import DiffResult, Resource
from typing_extensions import override

from provisioning import remote
from provisioning.clients.http import NotFound, ServiceError, Waiting, wait_until
from provisioning.remote import Container, DockerDown
from stack.resources.base import LabProvider, Login, Props, plain, say, unknown, warn_once

ANSWER_SECONDS = 60.0


class _LookingProvider(LabProvider):
    """Looks whenever it is compared; `previewing` tells that nothing but this look will come."""

    ignored = frozenset({"previewing"})

    def amiss(self, props: Props) -> str:
        """What is wrong and what mends it, as a sentence; "" where all is well."""
        raise NotImplementedError

    @override
    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """Nobody looks at a server that is about to be another one."""
        if unknown(plain(_news).get("endpoint")):
            return DiffResult(changes=True)
        return super().diff(_id, _olds, _news)

    @override
    def drifted(self, olds: Props, news: Props) -> frozenset[str]:
        """`amiss`, where something is; a server that is off is ServerReady's to tell."""
        try:
            wrong = self.amiss(news)
        except ServiceError:
            return frozenset()
        if wrong and news.get("previewing"):
            warn_once((wrong,), wrong)
        return frozenset({"amiss"} if wrong else ())


class ServerReadyProvider(_LookingProvider):
    """Sees whether the server answers."""

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        """Wait until it does, one minute at the most."""
        server = self.server(props["endpoint"])
        wait_until(
            f"the server {server.place} to answer",
            partial(remote.answers, server),
            service="SSH",
            deadline=ANSWER_SECONDS,
            advice="nothing on it was touched; run `pulumi up` again when it answers",
            clock=self.clock,
        )
        return "server", props

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        """Wait once more."""
        return self.make(news)[1]

    @override
    def amiss(self, props: Props) -> str:
        """Why it does not answer."""
        try:
            remote.answers(self.server(props["endpoint"]))
        except ServiceError as error:
            return f"the server does not answer. {error}"
        return ""


class ServerReady(Resource, module="lab", name="ServerReady"):
    """The server answers. All that is on it comes after this, so that one error says everything.

    Args:
        endpoint: its SSH server.
    """

    def __init__(
        self, resource_name: str, *, endpoint: Login, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        inputs = {"endpoint": endpoint, "previewing": pulumi.runtime.is_dry_run()}
        super().__init__(ServerReadyProvider(), resource_name, inputs, opts)


class ContainersReadyProvider(_LookingProvider):
    """Sees what runs, and waits until it is healthy."""

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        """Wait until all are healthy; what was stopped is started, once."""
        server, names = self.server(props["endpoint"]), sorted(props["containers"])
        started: set[str] = set()

        def look() -> str | Waiting:
            down = _down(remote.containers(server, names))
            for container in down:
                if container.ended and container.name not in started:
                    started.add(container.name)
                    remote.start_container(server, container.name)
            return Waiting(_listed(down)) if down else "healthy"

        wait_until(
            f"{', '.join(names)} to be healthy",
            look,
            service="Docker",
            deadline=float(props["wait_seconds"]),
            advice="`docker logs NAME` on the server says why; `pulumi up --refresh` makes one "
            "anew that is gone",
            clock=self.clock,
            progress=say("containers"),
        )
        return "containers", {**props, "generation": 1}

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        """Wait once more, and tell who seeds them that they may have started anew."""
        return {**self.make(news)[1], "generation": int(olds["generation"]) + 1}

    @override
    def amiss(self, props: Props) -> str:
        """Which are down."""
        names = sorted(props["containers"])
        try:
            down = _down(remote.containers(self.server(props["endpoint"]), names))
        except DockerDown as error:
            return str(error)
        if not down:
            return ""
        gone = any(not container.state for container in down)
        remedy = "up --refresh` makes anew what is gone" if gone else "up` brings them back"
        return f"down on the server: {_listed(down)}; `pulumi {remedy}"


def _down(found: Iterable[Container]) -> list[Container]:
    return [container for container in found if not container.healthy]


def _listed(found: Iterable[Container]) -> str:
    return ", ".join(str(container) for container in found)


class ContainersReady(Resource, module="lab", name="ContainersReady"):
    """These containers are healthy, however they were started; who needs them comes after this.

    The Docker provider waits only where it makes a container, not where it starts one that was
    stopped (`docs/facts/measured.md §3`).

    Args:
        endpoint: the server's SSH server.
        containers: name to id; another id is another container, and is waited for.
        wait_seconds: for all of them together.

    Outputs: `generation`, a number that grows whenever something had to be waited for.
    """

    generation: pulumi.Output[int]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: Login,
        containers: Mapping[str, pulumi.Input[str]],
        wait_seconds: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "endpoint": endpoint,
            "containers": dict(containers),
            "wait_seconds": wait_seconds,
            "previewing": pulumi.runtime.is_dry_run(),
            "generation": None,
        }
        super().__init__(ContainersReadyProvider(), resource_name, inputs, opts)


class ServerFileProvider(_LookingProvider):
    """Keeps a file on the server as it should be."""

    identity = frozenset({"path"})
    ignored = frozenset({"previewing", "source"})

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        """Write it, and read back what came."""
        server, path = self.server(props["endpoint"]), str(props["path"])
        remote.put_file(server, path, Path(str(props["source"])).read_bytes())
        found = remote.file_sha256(server, path)
        if found != props["sha256"]:
            said = f"sha256 {found} came, {props['sha256']} was sent; is the disk full?"
            raise remote.UploadDamaged("SSH", f"write {path} on {server.place}", said)
        return path, props

    @override
    def look(self, props: Props) -> Props | None:
        """The hash of what lies there."""
        try:
            found = remote.file_sha256(self.server(props["endpoint"]), str(props["path"]))
        except NotFound:
            return None
        return {**props, "sha256": found}

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        """Write it again."""
        return self.make(news)[1]

    @override
    def amiss(self, props: Props) -> str:
        """Whether it is damaged or gone."""
        seen = self.look(props)
        if seen is not None and seen["sha256"] == props["sha256"]:
            return ""
        return f"{props['path']} on the server is damaged or gone; `pulumi up` brings it back"


class ServerFile(Resource, module="lab", name="ServerFile"):
    """A file on the server that everybody there may read.

    Args:
        endpoint: the server's SSH server.
        path: there, relative to the login's home.
        source: here; where it lies means nothing.
        sha256: of its content.
    """

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: Login,
        path: str,
        source: Path,
        sha256: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "endpoint": endpoint,
            "path": path,
            "source": str(source),
            "sha256": sha256,
            "previewing": pulumi.runtime.is_dry_run(),
        }
        super().__init__(ServerFileProvider(), resource_name, inputs, opts)
