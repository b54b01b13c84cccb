"""The docker package: images, volumes, networks and containers of an engine reached over SSH.

Semantics of pulumi-docker 5.1 as measured (docs/facts/engine.md, "The real Docker, command and
random providers over SSH"; docs/facts/alicloud.md §5), answers in the form of
docs/facts/provider-states.json. Whatever `rehearsal.docker.engine.Engine` it is given does the
work.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from rehearsal.docker import durations
from rehearsal.docker.engine import Engine, Json
from rehearsal.providers import docker_state as state
from rehearsal.providers.base import (
    Change,
    Failure,
    InitFailed,
    Kind,
    ProviderError,
    unknown_token,
)
from rehearsal.providers.docker_kinds import (
    DockerKind,
    Network,
    RemoteImage,
    Volume,
    ask,
    maybe,
)
from rehearsal.providers.values import UNKNOWN, Properties

VERSION = "5.2.0"
_POLL_SECONDS = 0.2
_DEFAULT_WAIT = 60
_SETTINGS = ("host", "sshOpts", "version", "disableDockerDaemonCheck", "__internal")

Connect = Callable[[str, Sequence[str]], Engine]
"""An engine for `ssh://user@address:port` and the options of `ssh`; dials at the first use."""


class DockerPackage:
    """What the world serves as `docker`."""

    name = "docker"
    version = VERSION

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    def configure(self, config: Properties) -> DockerProvider:
        """Settings: `host` (`ssh://user@address:port`) and `sshOpts`."""
        given = {name for name, value in config.items() if value not in (None, "", [])}
        unknown = sorted(given.difference(_SETTINGS))
        if unknown:
            raise ProviderError(f"the rehearsal's docker provider has no {', '.join(unknown)}")
        host = str(config.get("host") or "")
        return DockerProvider(self._connect(host, config.get("sshOpts") or []))


class DockerProvider:
    """One docker.Provider. Nothing is dialled before a resource needs it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cancelled = threading.Event()

    def kind(self, token: str) -> Kind:
        """The four kinds that a lab is made of."""
        if token not in _KINDS:
            raise unknown_token(token)
        return _KINDS[token](self._engine, self._cancelled)

    def invoke(self, token: str, args: Properties) -> Properties:
        """The rehearsal has none of the functions."""
        raise unknown_token(token)

    def cancel(self) -> None:
        """End what waits for a container's health."""
        self._cancelled.set()


class _Container(DockerKind):
    delete_before_replace: ClassVar[bool] = True
    allowed: ClassVar[frozenset[str]] = state.CONTAINER_INPUTS | state.IN_PLACE
    force_new: ClassVar[frozenset[str]] = state.CONTAINER_INPUTS
    required: ClassVar[tuple[str, ...]] = ("name", "image")
    computed: ClassVar[frozenset[str]] = (
        frozenset({"bridge", "containerLogs", "exitCode", "networkDatas"})
        | state.COMPUTED_WHEN_ABSENT
    )
    defaults: ClassVar[Properties] = {
        "containerReadRefreshTimeoutMilliseconds": 15000,
        "mustRun": True,
        "networkMode": "bridge",
        "removeVolumes": True,
        "restart": "no",
        "start": True,
    }

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """Defaults as the bridge notes them (docs/facts/provider-states.json), nested ones
        included."""
        inputs, failures = super().check(old, copy.deepcopy(new))
        if isinstance(inputs.get("healthcheck"), dict):
            zero = {**dict.fromkeys(state.HEALTH_DURATIONS, "0s"), "retries": 0}
            inputs["healthcheck"] = state.with_defaults(inputs["healthcheck"], zero)
            failures += _check_health(inputs["healthcheck"])
        _default_parts(inputs, "ports", {"ip": "0.0.0.0", "protocol": "tcp"})
        for name in ("networksAdvanced", "uploads", "volumes", "labels"):
            _default_parts(inputs, name, {})
        if inputs.get("restart") not in (UNKNOWN, *_RESTARTS):
            failures.append(("restart", f"expected restart to be one of {list(_RESTARTS)}"))
        return inputs, failures

    def diff(
        self,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore: Sequence[str],
    ) -> Change:
        """Wanted inputs against what the last create or refresh found, as Terraform compares."""
        names = _asked(old_inputs) | _asked(new_inputs)
        wanted, found = state.comparable(new_inputs), state.comparable(old_outputs)
        if "memorySwap" not in names and found.get("memorySwap"):
            # The daemon's own limit was read back, and nobody asked for one.
            names = names | {"memorySwap"}
            wanted["memorySwap"] = 0
        names -= {n for n in state.COMPUTED_WHEN_ABSENT if new_inputs.get(n) is None}
        return self.compare(
            {name: found.get(name) for name in names},
            {name: wanted.get(name) for name in names},
            ignore,
        )

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """Create, upload, start, and wait for its health where `wait` is set."""
        config = state.container_config(inputs)
        name = str(inputs["name"])
        id: str = ask(
            lambda: self._engine.create_container(name, config), "Unable to create container: "
        )
        try:
            self._join_networks(id, inputs)
            self._fill_and_start(id, inputs)
            if inputs.get("wait"):
                self._wait_until_healthy(id, float(inputs.get("waitTimeout") or _DEFAULT_WAIT))
        except ProviderError as error:
            raise InitFailed(str(error), id, inputs, self._outputs(id, inputs)) from error
        return id, state.as_created(self._outputs(id, inputs), inputs)

    def _join_networks(self, id: str, inputs: Properties) -> None:
        networks = inputs.get("networksAdvanced") or []
        if networks and inputs.get("networkMode") in (None, "bridge", "default"):
            ask(lambda: self._engine.disconnect_network("bridge", id))
        for network in networks:
            name, aliases = str(network["name"]), list(network.get("aliases") or [])
            ask(lambda n=name, a=aliases: self._engine.connect_network(n, id, a))  # type: ignore[misc]

    def _fill_and_start(self, id: str, inputs: Properties) -> None:
        for upload in inputs.get("uploads") or []:
            path, content, mode = state.upload(upload)
            ask(lambda p=path, c=content, m=mode: self._engine.put_file(id, p, c, m))  # type: ignore[misc]
        if inputs.get("start") is not False:
            ask(lambda: self._engine.start_container(id), "Unable to start container: ")

    def _wait_until_healthy(self, id: str, seconds: float) -> None:
        """Only "healthy" ends it early: an unhealthy or dead container is waited for as well."""
        deadline = time.monotonic() + seconds
        while True:
            health = self._inspect(id)["State"].get("Health")
            if health is None:
                raise ProviderError(
                    "you must specify a healthcheck to wait for the container to be healthy"
                )
            if health["Status"] == "healthy":
                return
            if time.monotonic() >= deadline:
                raise ProviderError(
                    f"container {id} failed to be in healthy state: context deadline exceeded"
                )
            if self._cancelled.wait(_POLL_SECONDS):
                raise ProviderError("context canceled")

    def _inspect(self, id: str) -> Json:
        found: Json = ask(lambda: self._engine.inspect_container(id))
        return found

    def _outputs(self, id: str, inputs: Properties) -> Properties:
        return state.container(id, inputs, self._inspect(id))

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        """As it really is; environment, labels, volumes and uploads are not read back."""
        found = maybe(lambda: self._engine.inspect_container(id))
        if found is None:
            return None, {}, {}
        fresh = state.container(id, {**outputs, **state.bare(inputs)}, found)
        fresh = {**fresh, **state.REFRESHED}
        return id, state.refreshed_inputs(inputs, fresh), fresh

    def update(
        self,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        timeout: float,
    ) -> Properties:
        """Starts what was stopped; restart policy and memory change; the rest is state only.

        Nothing is waited for here, `wait` or not (docs/facts/measured.md §3).
        """
        if not old_outputs.get("mustRun") and new_inputs.get("mustRun"):
            ask(lambda: self._engine.start_container(id), "Unable to start container: ")
        limits = ("restart", "maxRetryCount", "memory", "memorySwap")
        if any((old_outputs.get(n) or 0) != (new_inputs.get(n) or 0) for n in limits):
            ask(lambda: self._engine.update_container(id, state.limits(new_inputs)))
        return self._outputs(id, new_inputs)

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """Stop, with no time to end unless a grace was asked for, and remove by force."""
        grace = int(outputs.get("destroyGraceSeconds") or 0)
        volumes = bool(outputs.get("removeVolumes", True))
        try:
            maybe(lambda: self._engine.stop_container(id, grace))
            maybe(lambda: self._engine.remove_container(id, volumes))
        except ProviderError as error:
            raise ProviderError(f"Error deleting container {id}: {error}") from error


_RESTARTS = ("no", "on-failure", "always", "unless-stopped")

_KINDS: dict[str, type[DockerKind]] = {
    "docker:index/remoteImage:RemoteImage": RemoteImage,
    "docker:index/volume:Volume": Volume,
    "docker:index/network:Network": Network,
    "docker:index/container:Container": _Container,
}


def _default_parts(inputs: Properties, name: str, defaults: Properties) -> None:
    parts = inputs.get(name)
    if isinstance(parts, list):
        inputs[name] = [
            state.with_defaults(part, defaults) if isinstance(part, dict) else part
            for part in parts
        ]


def _check_health(check: Properties) -> list[Failure]:
    failures: list[Failure] = []
    for name in state.HEALTH_DURATIONS:
        value = check[name]
        if value is UNKNOWN:
            continue
        try:
            durations.parse(str(value))
        except ValueError as error:
            failures.append((f"healthcheck.{name}", str(error)))
    if check.get("tests") is not UNKNOWN and not check.get("tests"):
        failures.append(("healthcheck.tests", "Missing required property 'tests'"))
    return failures


def _asked(inputs: Properties) -> set[str]:
    return {n for n, value in inputs.items() if value is not None and not n.startswith("__")}
