"""What the docker package's resources share, and its images, volumes and networks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

from rehearsal.docker.engine import Engine, EngineError, Unreachable
from rehearsal.providers import docker_state as state
from rehearsal.providers.base import Failure, Kind, ProviderError
from rehearsal.providers.values import Properties

_POLL_SECONDS = 0.2
_IN_USE_SECONDS = 5.0


class DockerKind(Kind):
    """What all four share."""

    allowed: ClassVar[frozenset[str]]
    required: ClassVar[tuple[str, ...]] = ("name",)
    defaults: ClassVar[Properties] = {}

    def __init__(self, engine: Engine, cancelled: threading.Event) -> None:
        self._engine, self._cancelled = engine, cancelled

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """Refuse what is missing or unknown; a property the rehearsal lacks is an error too."""
        failures = [
            (name, f"the rehearsal's docker provider has no property {name!r} here")
            for name, value in new.items()
            if name not in self.allowed and not name.startswith("__") and value is not None
        ]
        failures += [
            (n, f"Missing required property '{n}'") for n in self.required if not new.get(n)
        ]
        return state.with_defaults(new, self.defaults), failures

    def planned(self, inputs: Properties, old_outputs: Properties | None) -> Properties:
        bare: Properties = state.bare(super().planned(inputs, old_outputs))
        return bare


def ask(call: Callable[[], Any], lead: str = "") -> Any:  # noqa: ANN401
    """The engine's answer; its refusals in the words of Docker's client.

    Raises:
        ProviderError: it refuses, or cannot be reached.
    """
    try:
        return call()
    except EngineError as error:
        raise ProviderError(f"{lead}Error response from daemon: {error}") from error
    except Unreachable as error:
        raise ProviderError(f"{lead}{error}") from error


def maybe(call: Callable[[], Any]) -> Any:  # noqa: ANN401
    """The engine's answer, or None where it knows no such object."""

    def asked() -> Any:  # noqa: ANN401
        try:
            return call()
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    return ask(asked)


class RemoteImage(DockerKind):
    """A Docker image."""

    force_new: ClassVar[frozenset[str]] = frozenset(
        {"name", "pullTriggers", "triggers", "platform"}
    )
    computed: ClassVar[frozenset[str]] = frozenset({"imageId", "repoDigest"})
    allowed: ClassVar[frozenset[str]] = force_new | {"keepLocally", "forceRemove"}

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """A local copy is taken as it is; else it is pulled, once."""
        name = inputs["name"]
        found = self._local(name)
        if found is None:
            lead = (
                f"Unable to read Docker image into resource: unable to pull image {name}: "
                f"error pulling image {name}: "
            )
            ask(lambda: self._engine.pull_image(name), lead)
            found = ask(lambda: self._engine.inspect_image(name))
        id = f"{found['Id']}{name}"
        return id, state.image(id, inputs, found)

    def _local(self, name: str) -> Any:  # noqa: ANN401
        return maybe(lambda: self._engine.inspect_image(name))

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        found = self._local(outputs.get("name") or inputs["name"])
        if found is None:
            return None, {}, {}
        return id, inputs, state.image(id, {**outputs, **state.bare(inputs)}, found)

    def update(
        self,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        timeout: float,
    ) -> Properties:
        return self.create(new_inputs, timeout)[1]

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        if not outputs.get("keepLocally"):
            force = bool(outputs.get("forceRemove"))
            maybe(lambda: self._engine.remove_image(outputs["name"], force))


class Volume(DockerKind):
    """A Docker volume."""

    force_new: ClassVar[frozenset[str]] = frozenset({"name", "driver", "driverOpts", "labels"})
    computed: ClassVar[frozenset[str]] = frozenset({"mountpoint"})
    allowed = force_new

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        config = {
            "Name": inputs["name"],
            "Driver": inputs.get("driver") or "local",
            "DriverOpts": inputs.get("driverOpts") or {},
            "Labels": state.labels(inputs),
        }
        found = ask(lambda: self._engine.create_volume(config))
        return found["Name"], state.volume(inputs, found)

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        found = maybe(lambda: self._engine.inspect_volume(id))
        if found is None:
            return None, {}, {}
        return id, inputs, {**state.volume(inputs, found), "driverOpts": {}}

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """A volume in use is tried again for a while: its container may be leaving."""
        _until_unused(lambda: self._engine.remove_volume(id), 409)


class Network(DockerKind):
    """A Docker network."""

    allowed: ClassVar[frozenset[str]] = frozenset(
        {"name", "driver", "internal", "labels", "options", "ipamDriver", "attachable", "ipv6"}
    )
    force_new = allowed
    computed: ClassVar[frozenset[str]] = frozenset({"ipamConfigs", "scope", "options"})
    defaults: ClassVar[Properties] = {"ipamDriver": "default"}

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        config = {
            "Name": inputs["name"],
            "Driver": inputs.get("driver") or "bridge",
            "Internal": bool(inputs.get("internal")),
            "Attachable": bool(inputs.get("attachable")),
            "EnableIPv6": bool(inputs.get("ipv6")),
            "Labels": state.labels(inputs),
            "Options": inputs.get("options") or {},
        }
        id: str = ask(lambda: self._engine.create_network(config))
        return id, state.network(inputs, ask(lambda: self._engine.inspect_network(id)))

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        found = maybe(lambda: self._engine.inspect_network(id))
        if found is None:
            return None, {}, {}
        return id, inputs, {**state.network(inputs, found), "ipamOptions": {}}

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """A network in use is tried again for a while: its containers may be leaving."""
        _until_unused(lambda: self._engine.remove_network(id), 403)


def _until_unused(remove: Callable[[], Any], in_use: int) -> None:
    deadline = time.monotonic() + _IN_USE_SECONDS

    def patient() -> None:
        while True:
            try:
                remove()
                return
            except EngineError as error:
                if error.status != in_use or time.monotonic() >= deadline:
                    raise
            time.sleep(_POLL_SECONDS)

    maybe(patient)
