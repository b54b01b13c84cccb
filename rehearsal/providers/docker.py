"""The docker package: images, volumes, networks and containers of an engine reached over SSH.

Semantics of pulumi-docker 5.1 as measured (docs/facts/engine.md, "The real Docker, command and
random providers over SSH"; docs/facts/alicloud.md §5), for the inputs that a lab gives: any other
is refused, and so is what the real one would show as changed for ever.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from rehearsal.docker.engine import Engine, EngineError, Json, Unreachable
from rehearsal.providers.base import (
    Change,
    Failure,
    InitFailed,
    Kind,
    ProviderError,
    State,
    unknown_inputs,
    unknown_token,
)
from rehearsal.providers.values import UNKNOWN, Properties, Value

_POLL_SECONDS = 0.2
_DEFAULT_WAIT = 60
_MIB = 1024 * 1024
_SECOND = 1_000_000_000
_DURATIONS = ("interval", "timeout", "startPeriod", "startInterval")
_CANONICAL = re.compile(r"(?:(?:(\d+)h)?(\d+)m)?([1-5]?\d)s")
_COMPUTED_WHEN_ABSENT = frozenset({"command", "logDriver", "logOpts", "shmSize"})

Connect = Callable[[str, Sequence[str]], Engine]
"""An engine for `ssh://user@address:port` and the options of `ssh`; dials at the first use."""


class DockerPackage:
    """What the world serves as `docker`."""

    name = "docker"
    version = "5.2.0"

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    def configure(self, config: Properties) -> "DockerProvider":
        """Settings: `host` (`ssh://user@address:port`) and `sshOpts`."""
        return DockerProvider(self._connect(str(config["host"]), config["sshOpts"]))


class DockerProvider:
    """One docker.Provider. Nothing is dialled before a resource needs it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cancelled = threading.Event()

    def kind(self, token: str) -> Kind:
        if token not in _KINDS:
            raise unknown_token(token)
        return _KINDS[token](self._engine, self._cancelled)

    def invoke(self, token: str, args: Properties) -> Properties:
        raise unknown_token(token)

    def cancel(self) -> None:
        self._cancelled.set()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Refusals in the words of Docker's client."""
    try:
        yield
    except EngineError as error:
        raise ProviderError(f"Error response from daemon: {error}") from error
    except Unreachable as error:
        raise ProviderError(str(error)) from error


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        if error.status != 404:
            raise


class _DockerKind(Kind):
    in_place: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, engine: Engine, cancelled: threading.Event) -> None:
        self._engine, self._cancelled = engine, cancelled

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        return new, unknown_inputs(new, self.force_new | self.in_place)

    @_told()
    def read(self, old: State) -> State | None:
        with _unless_gone():
            return State(old.id, old.inputs, self._outputs(old.id, old.inputs))
        return None

    def _outputs(self, id: str, inputs: Properties) -> Properties:
        """The state of what is there; EngineError where nothing is."""
        raise NotImplementedError

    @_told()
    def delete(self, old: State, timeout: float) -> None:
        with _unless_gone():
            self._remove(old.id, old.outputs)

    def _remove(self, id: str, outputs: Properties) -> None:
        raise NotImplementedError


class _Image(_DockerKind):
    force_new: ClassVar[frozenset[str]] = frozenset({"name"})
    in_place: ClassVar[frozenset[str]] = frozenset({"keepLocally"})
    computed: ClassVar[frozenset[str]] = frozenset({"imageId"})

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        inputs, failures = super().check(old, new)
        if new.get("keepLocally") is not True:
            failures.append(("keepLocally", "must be true: the rehearsal removes no image"))
        return inputs, failures

    @_told()
    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """A local copy is taken as it is; else it is pulled, once."""
        name, found = str(inputs["name"]), None
        with _unless_gone():
            found = self._engine.inspect_image(name)
        if found is None:
            self._engine.pull_image(name)
            found = self._engine.inspect_image(name)
        id = f"{found['Id']}{name}"
        return id, {**inputs, "id": id, "imageId": found["Id"]}

    def _outputs(self, id: str, inputs: Properties) -> Properties:
        return {**inputs, "id": id, "imageId": self._engine.inspect_image(inputs["name"])["Id"]}

    def _remove(self, id: str, outputs: Properties) -> None:
        """It stays on the server."""


class _Volume(_DockerKind):
    force_new: ClassVar[frozenset[str]] = frozenset({"name"})

    @_told()
    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        id = str(self._engine.create_volume({"Name": inputs["name"]})["Name"])
        return id, self._outputs(id, inputs)

    def _outputs(self, id: str, inputs: Properties) -> Properties:
        return {**inputs, "id": id, "mountpoint": self._engine.inspect_volume(id)["Mountpoint"]}

    def _remove(self, id: str, outputs: Properties) -> None:
        self._engine.remove_volume(id)


class _Network(_DockerKind):
    force_new: ClassVar[frozenset[str]] = frozenset({"name", "driver", "internal"})

    @_told()
    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        config = {
            "Name": inputs["name"],
            "Driver": inputs.get("driver") or "bridge",
            "Internal": bool(inputs.get("internal")),
        }
        id = self._engine.create_network(config)
        return id, self._outputs(id, inputs)

    def _outputs(self, id: str, inputs: Properties) -> Properties:
        found = self._engine.inspect_network(id)
        return {**inputs, "id": id, "driver": found["Driver"], "internal": found["Internal"]}

    def _remove(self, id: str, outputs: Properties) -> None:
        self._engine.remove_network(id)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


class _Container(_DockerKind):
    delete_before_replace: ClassVar[bool] = True
    force_new: ClassVar[frozenset[str]] = _names(
        "capabilities command envs gpus healthcheck image logDriver logOpts name networksAdvanced "
        "ports readOnly securityOpts shmSize uploads ulimits user volumes"
    )
    in_place: ClassVar[frozenset[str]] = _names(
        "destroyGraceSeconds memory memorySwap mustRun restart tmpfs wait waitTimeout"
    )

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """With what would differ for ever (docs/facts/engine.md)."""
        inputs, failures = super().check(old, new)
        if (new.get("memory") is None) is not (new.get("memorySwap") is None):
            failures.append(("memorySwap", "the daemon's own would differ for ever: give both"))
        for name in (new.get("capabilities") or {}).get("adds") or []:
            if not name.startswith("CAP_"):
                failures.append(("capabilities.adds", f"Docker gives {name} back as CAP_{name}"))
        check = new.get("healthcheck") or {}
        for name in _DURATIONS:
            value = check.get(name, "0s")
            if value is not UNKNOWN and not _CANONICAL.fullmatch(value):
                why = f'"{value}" is not as Go has it (1m30s), so it would differ for ever'
                failures.append((f"healthcheck.{name}", why))
        return inputs, failures

    def diff(self, old: State, new: Properties, ignore: Sequence[str]) -> Change:
        """Wanted inputs against what the last create or refresh found, as Terraform compares."""
        names = self.force_new | self.in_place
        names -= {name for name in _COMPUTED_WHEN_ABSENT if new.get(name) is None}
        now = {name: _comparable(old.outputs.get(name)) for name in names}
        return self.compare(now, {name: _comparable(new.get(name)) for name in names}, ignore)

    @_told()
    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """Create, upload, start, and wait for its health where `wait` is set."""
        id = self._engine.create_container(str(inputs["name"]), _config(inputs))
        try:
            self._begin(id, inputs)
        except ProviderError as error:
            raise InitFailed(str(error), id, inputs, self._outputs(id, inputs)) from error
        return id, self._outputs(id, inputs)

    @_told()
    def _begin(self, id: str, inputs: Properties) -> None:
        networks = inputs.get("networksAdvanced") or []
        if networks:
            self._engine.disconnect_network("bridge", id)
        for network in networks:
            self._engine.connect_network(network["name"], id, network.get("aliases") or [])
        for file in inputs.get("uploads") or []:
            content, mode = str(file["content"]).encode(), int(file["permissions"], 8)
            self._engine.put_file(id, file["file"], content, mode)
        self._engine.start_container(id)
        if inputs.get("wait"):
            self._wait_until_healthy(id, float(inputs.get("waitTimeout") or _DEFAULT_WAIT))

    def _wait_until_healthy(self, id: str, seconds: float) -> None:
        """Only "healthy" ends it early: an unhealthy or dead container is waited for as well."""
        deadline = time.monotonic() + seconds
        while self._engine.inspect_container(id)["State"]["Health"]["Status"] != "healthy":
            if time.monotonic() >= deadline:
                raise ProviderError(
                    f"container {id} failed to be in healthy state: context deadline exceeded"
                )
            if self._cancelled.wait(_POLL_SECONDS):
                raise ProviderError("context canceled")

    def _outputs(self, id: str, inputs: Properties) -> Properties:
        """What was asked for, and what may have become of it."""
        found = self._engine.inspect_container(id)
        host, running = found["HostConfig"], found["State"]["Running"]
        return {
            **inputs,
            "id": id,
            "exitCode": None if running else found["State"]["ExitCode"],
            "memory": host["Memory"] // _MIB or None,
            "memorySwap": host["MemorySwap"] // _MIB or None,
            "mustRun": running,
            "ports": _ports(found["NetworkSettings"]["Ports"]),
            "restart": host["RestartPolicy"]["Name"],
        }

    @_told()
    def update(self, old: State, new: Properties, timeout: float) -> Properties:
        """Starts what was stopped; restart policy and memory change; the rest is state only.

        Nothing is waited for here, `wait` or not (docs/facts/measured.md §3).
        """
        if not old.outputs.get("mustRun"):
            self._engine.start_container(old.id)
        self._engine.update_container(old.id, _limits(new))
        return self._outputs(old.id, new)

    def _remove(self, id: str, outputs: Properties) -> None:
        """Stop, with no time to end unless a grace was asked for, and remove by force."""
        self._engine.stop_container(id, int(outputs.get("destroyGraceSeconds") or 0))
        self._engine.remove_container(id, True)


_KINDS: dict[str, type[_DockerKind]] = {
    "docker:index/remoteImage:RemoteImage": _Image,
    "docker:index/volume:Volume": _Volume,
    "docker:index/network:Network": _Network,
    "docker:index/container:Container": _Container,
}


def _comparable(value: Value) -> Value:
    """No value and an empty one are the same to Terraform."""
    return None if value in ([], {}, "") else value


def _config(inputs: Properties) -> Json:
    """The body of `POST /containers/create`."""
    bindings: dict[str, list[Json]] = {}
    for port in inputs.get("ports") or []:
        binding = {"HostIp": port["ip"], "HostPort": str(port["external"])}
        bindings.setdefault(f"{port['internal']}/{port['protocol']}", []).append(binding)
    gpus = [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]
    log = {"Type": inputs.get("logDriver") or "json-file", "Config": inputs.get("logOpts") or {}}
    return {
        "Image": inputs["image"],
        "User": inputs.get("user") or "",
        "Cmd": inputs.get("command"),
        "Env": inputs.get("envs") or [],
        "Healthcheck": _health(inputs.get("healthcheck")),
        "ExposedPorts": {inside: {} for inside in bindings},
        "HostConfig": {
            **_limits(inputs),
            **_confined(inputs),
            "NetworkMode": "bridge",
            "PortBindings": bindings,
            "Binds": [_bind(volume) for volume in inputs.get("volumes") or []],
            "LogConfig": log,
            "DeviceRequests": gpus if inputs.get("gpus") else None,
            "ShmSize": (inputs.get("shmSize") or 64) * _MIB,
        },
    }


def _confined(inputs: Properties) -> Json:
    capabilities = inputs.get("capabilities") or {}
    most = inputs.get("ulimits") or []
    return {
        "CapAdd": capabilities.get("adds") or [],
        "CapDrop": capabilities.get("drops") or [],
        "ReadonlyRootfs": bool(inputs.get("readOnly")),
        "SecurityOpt": inputs.get("securityOpts") or [],
        "Tmpfs": inputs.get("tmpfs") or {},
        "Ulimits": [{"Name": u["name"], "Soft": u["soft"], "Hard": u["hard"]} for u in most],
    }


def _limits(inputs: Properties) -> Json:
    """What `update` may change in place."""
    return {
        "Memory": (inputs.get("memory") or 0) * _MIB,
        "MemorySwap": (inputs.get("memorySwap") or 0) * _MIB,
        "RestartPolicy": {"Name": inputs.get("restart") or "no", "MaximumRetryCount": 0},
    }


def _bind(volume: Properties) -> str:
    source = volume.get("hostPath") or volume["volumeName"]
    return f"{source}:{volume['containerPath']}{':ro' if volume.get('readOnly') else ''}"


def _health(check: Properties | None) -> Json | None:
    if not check:
        return None
    times = {name[0].upper() + name[1:]: _nanoseconds(check.get(name)) for name in _DURATIONS}
    return {"Test": check["tests"], "Retries": check.get("retries") or 0, **times}


def _nanoseconds(duration: str | None) -> int:
    match = _CANONICAL.fullmatch(duration or "0s")
    assert match, "check() has seen to it"
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * _SECOND


def _ports(bound: dict[str, Any]) -> list[Properties]:
    """Read back from a map, so sorted by the port inside."""
    found = []
    for inside, hosts in bound.items():
        number, _, protocol = inside.partition("/")
        for host in hosts or []:
            port = {"external": int(host["HostPort"]), "ip": host["HostIp"], "protocol": protocol}
            found.append({"internal": int(number), **port})
    return sorted(found, key=lambda port: (port["internal"], port["external"]))
