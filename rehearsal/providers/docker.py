"""The docker package: images, volumes, networks and containers of a server reached over SSH.

Semantics of pulumi-docker 5.1 as measured (docs/facts/engine.md, "The real Docker, command and
random providers over SSH"; docs/facts/alicloud.md §5), answers in the form of
docs/facts/provider-states.json. It reaches the engine by SSH and `docker system dial-stdio` only,
with the options it was given.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import asyncssh

from rehearsal.docker import durations
from rehearsal.providers.base import (
    Change,
    Failure,
    InitFailed,
    Kind,
    ProviderError,
    unknown_token,
)
from rehearsal.providers.remote import LOOP
from rehearsal.providers.ssh_options import SshFailure, SshOptions, connect
from rehearsal.providers.values import UNKNOWN, Properties, Value

VERSION = "5.2.0"
_MIB = 1024 * 1024
_MINUTES_20 = 1_200_000_000_000
_META = {"create": _MINUTES_20, "delete": _MINUTES_20, "update": _MINUTES_20}
_POLL_SECONDS = 0.2
_IN_USE_SECONDS = 5.0
_REUSED_FOR_SECONDS = 3.0
_HANG_UP_SECONDS = 5.0
_DEFAULT_WAIT = 60


class DockerPackage:
    """What the world serves as `docker`."""

    name = "docker"
    version = VERSION

    def configure(self, config: Properties) -> DockerProvider:
        """Settings: `host` (`ssh://user@address:port`) and `sshOpts`."""
        unknown = sorted(
            name
            for name, value in config.items()
            if name not in ("host", "sshOpts", "version", "disableDockerDaemonCheck", "__internal")
            and value not in (None, "", [])
        )
        if unknown:
            raise ProviderError(f"the rehearsal's docker provider has no {', '.join(unknown)}")
        return DockerProvider(str(config.get("host") or ""), config.get("sshOpts") or [])


class DockerProvider:
    """One docker.Provider. Nothing is dialled before a resource needs it."""

    def __init__(self, host: str, ssh_opts: Sequence[str]) -> None:
        self._daemon = _Daemon(host, list(ssh_opts))

    def kind(self, token: str) -> Kind:
        """The four kinds that a lab is made of."""
        kinds: dict[str, Callable[[_Daemon], Kind]] = {
            "docker:index/remoteImage:RemoteImage": _RemoteImage,
            "docker:index/volume:Volume": _Volume,
            "docker:index/network:Network": _Network,
            "docker:index/container:Container": _Container,
        }
        if token not in kinds:
            raise unknown_token(token)
        return kinds[token](self._daemon)

    def invoke(self, token: str, args: Properties) -> Properties:
        """The rehearsal has none of the functions."""
        raise unknown_token(token)

    def cancel(self) -> None:
        """End what waits for a container's health."""
        self._daemon.cancelled.set()


# --- the daemon, over SSH


class DaemonError(ProviderError):
    """The daemon's answer. `status` as in Docker's HTTP API."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(f"Error response from daemon: {message}")
        self.status = status


@dataclass
class _Dial:
    """One `docker system dial-stdio` on an SSH connection, like a kept-alive HTTP connection."""

    connection: asyncssh.SSHClientConnection
    process: asyncssh.SSHClientProcess[str]
    since: float

    @property
    def fresh(self) -> bool:
        """Whether it may be used again. Not for long: what changed meanwhile (firewall, keys) must
        show, as it does with the real provider, whose ssh is started again and again."""
        age = time.monotonic() - self.since
        return age < _REUSED_FOR_SECONDS and not self.process.is_closing()

    def close(self) -> None:
        """Hang up."""
        self.process.close()
        self.connection.close()


class _Daemon:
    """Calls to the daemon of one host, each by SSH with the options that the provider was given."""

    def __init__(self, host: str, ssh_opts: list[str]) -> None:
        self._host, self._words = host, ssh_opts
        self._idle: list[_Dial] = []
        self.cancelled = threading.Event()

    def call(self, operation: str, **arguments: Value) -> Any:  # noqa: ANN401
        """The answer to one operation of `rehearsal.containers.engine`.

        Raises:
            DaemonError: the daemon refuses.
            ProviderError: it cannot be reached, in the words of Docker's SSH helper.
        """
        request = json.dumps({"operation": operation, "arguments": arguments})
        answer = LOOP.wait(self._ask(request))
        if "error" in answer:
            raise DaemonError(answer["error"], int(answer["status"]))
        return answer["answer"]

    async def _ask(self, request: str) -> dict[str, Any]:
        user, host, port = self._address()
        try:
            dial = await self._dial(user, host, port)
        except SshFailure as error:
            raise self._helper_error(user, host, port, 255, str(error)) from error
        try:
            dial.process.stdin.write(f"{request}\n")
            line = await dial.process.stdout.readline()
        except (asyncssh.Error, OSError):
            line = ""
        if not line:
            raise await self._broken(dial, user, host, port)
        self._idle.append(dial)
        found: dict[str, Any] = json.loads(line)
        return found

    def _address(self) -> tuple[str, str, int]:
        match = re.fullmatch(r"ssh://(?:([^@/]+)@)?([^:/]+)(?::(\d+))?/?", self._host)
        if match is None:
            raise ProviderError(
                "error initializing Docker client: the rehearsal reaches Docker by ssh:// only, "
                f"not by {self._host!r}"
            )
        return match[1] or "root", match[2], int(match[3] or 22)

    async def _dial(self, user: str, host: str, port: int) -> _Dial:
        while self._idle:
            dial = self._idle.pop()
            if dial.fresh:
                return dial
            dial.close()
        connection = await connect(host, port, user, SshOptions.parse(self._words))
        try:
            process = await connection.create_process("docker system dial-stdio")
        except (asyncssh.Error, OSError) as error:
            connection.abort()
            raise SshFailure(f"Connection to {host} closed by remote host.") from error
        return _Dial(connection, process, time.monotonic())

    async def _broken(self, dial: _Dial, user: str, host: str, port: int) -> ProviderError:
        """Why dial-stdio ended without an answer."""
        try:
            ended = await asyncio.wait_for(dial.process.wait(), _HANG_UP_SECONDS)
            status, stderr = ended.exit_status, str(ended.stderr).strip()
        except (asyncssh.Error, OSError, asyncio.TimeoutError):
            status, stderr = None, ""
        dial.close()
        if status is None or status < 0:
            status, stderr = 255, f"Connection to {host} closed by remote host."
        return self._helper_error(user, host, port, status, stderr)

    def _helper_error(
        self, user: str, host: str, port: int, status: int, stderr: str
    ) -> ProviderError:
        return ProviderError(
            'error during connect: Get "http://docker.example.com/v1.54/": command [ssh -o '
            f"ConnectTimeout=30 -T -l {user} -p {port} -- {host} docker system dial-stdio] has "
            f"exited with exit status {status}, please make sure the URL is valid, and Docker "
            f"18.09 or later is installed on the remote host: stderr={stderr}"
        )


# --- what bridged providers do to properties


def _with_defaults(given: Properties, defaults: Properties) -> Properties:
    """Inputs with defaults filled in, and their names noted as the bridge does."""
    added = {name: value for name, value in defaults.items() if given.get(name) is None}
    return {**given, **added, "__defaults": sorted(added)}


def _bare(value: Value) -> Value:
    """Without the bridge's notes, at any depth."""
    if isinstance(value, dict):
        return {name: _bare(item) for name, item in value.items() if name != "__defaults"}
    return [_bare(item) for item in value] if isinstance(value, list) else value


class _DockerKind(Kind):
    """What all four share."""

    allowed: ClassVar[frozenset[str]]
    required: ClassVar[tuple[str, ...]] = ("name",)

    def __init__(self, daemon: _Daemon) -> None:
        self._daemon = daemon

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
        return _with_defaults(new, {}), failures

    def planned(self, inputs: Properties, old_outputs: Properties | None) -> Properties:
        bare: Properties = _bare(super().planned(inputs, old_outputs))
        return bare


def _identified(id: str, outputs: Properties) -> Properties:
    """Outputs as the bridge keeps them: the id is one of them (docs/facts/measured.md §3)."""
    return {"id": id, **outputs}


def _maybe(call: Callable[[], Any]) -> Any:  # noqa: ANN401
    """The answer, or None where the daemon knows no such object."""
    try:
        return call()
    except DaemonError as error:
        if error.status == 404:
            return None
        raise


# --- images


class _RemoteImage(_DockerKind):
    force_new: ClassVar[frozenset[str]] = frozenset(
        {"name", "pullTriggers", "triggers", "platform"}
    )
    computed: ClassVar[frozenset[str]] = frozenset({"imageId", "repoDigest"})
    allowed: ClassVar[frozenset[str]] = frozenset(
        {"name", "keepLocally", "forceRemove", "pullTriggers", "triggers", "platform"}
    )

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """A local copy is taken as it is; else it is pulled, once."""
        name = inputs["name"]
        found = self._local(name)
        if found is None:
            try:
                self._daemon.call("image_pull", reference=name)
            except DaemonError as error:
                raise ProviderError(
                    f"Unable to read Docker image into resource: unable to pull image {name}: "
                    f"error pulling image {name}: {error}"
                ) from error
            found = self._local(name)
        id = f"{found['Id']}{name}"
        return id, _identified(id, self._outputs(inputs, found))

    def _local(self, name: str) -> Any:  # noqa: ANN401
        return _maybe(lambda: self._daemon.call("image_inspect", reference=name))

    @staticmethod
    def _outputs(inputs: Properties, found: dict[str, Any]) -> Properties:
        return {
            "__meta": json.dumps({"e2bfb730-ecaa-11e6-8f88-34363bc7c4c0": _META}),
            "build": None,
            "forceRemove": inputs.get("forceRemove"),
            "imageId": found["Id"],
            "keepLocally": inputs.get("keepLocally"),
            "name": inputs["name"],
            "platform": inputs.get("platform"),
            "pullTriggers": inputs.get("pullTriggers"),
            "repoDigest": (found["RepoDigests"] or [""])[0],
            "triggers": inputs.get("triggers"),
        }

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        found = self._local(outputs.get("name") or inputs["name"])
        if found is None:
            return None, {}, {}
        return id, inputs, _identified(id, self._outputs({**outputs, **_bare(inputs)}, found))

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
        if outputs.get("keepLocally"):
            return
        force = bool(outputs.get("forceRemove"))
        name = outputs["name"]
        _maybe(lambda: self._daemon.call("image_remove", reference=name, force=force))


# --- volumes and networks


class _Volume(_DockerKind):
    force_new: ClassVar[frozenset[str]] = frozenset({"name", "driver", "driverOpts", "labels"})
    computed: ClassVar[frozenset[str]] = frozenset({"mountpoint"})
    allowed = force_new

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        if inputs.get("driverOpts"):
            raise ProviderError("the rehearsal's volumes have no driverOpts")
        labels = _labels(inputs)
        driver = inputs.get("driver") or "local"
        made = self._daemon.call("volume_create", name=inputs["name"], driver=driver, labels=labels)
        return made["Name"], _identified(made["Name"], self._outputs(inputs, made))

    @staticmethod
    def _outputs(inputs: Properties, found: dict[str, Any]) -> Properties:
        return {
            "__meta": '{"schema_version":"1"}',
            "cluster": None,
            "driver": found["Driver"],
            "driverOpts": None,
            "labels": _bare(inputs.get("labels") or []),
            "mountpoint": found["Mountpoint"],
            "name": found["Name"],
        }

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        found = _maybe(lambda: self._daemon.call("volume_inspect", name=id))
        if found is None:
            return None, {}, {}
        return id, inputs, _identified(id, {**self._outputs(inputs, found), "driverOpts": {}})

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """A volume in use is tried again for a while: its container may be leaving."""
        _until_unused(lambda: self._daemon.call("volume_remove", name=id), "volume is in use")


class _Network(_DockerKind):
    allowed: ClassVar[frozenset[str]] = frozenset(
        {"name", "driver", "internal", "labels", "options", "ipamDriver", "attachable", "ipv6"}
    )
    force_new = allowed
    computed: ClassVar[frozenset[str]] = frozenset({"ipamConfigs", "scope", "options"})

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        _, failures = super().check(old, new)
        return _with_defaults(new, {"ipamDriver": "default"}), failures

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        for name in ("attachable", "ipv6"):
            if inputs.get(name):
                raise ProviderError(f"the rehearsal's networks have no {name}")
        made = self._daemon.call(
            "network_create",
            name=inputs["name"],
            driver=inputs.get("driver") or "bridge",
            internal=bool(inputs.get("internal")),
            labels=_labels(inputs),
            options=inputs.get("options") or {},
        )
        return made["Id"], _identified(made["Id"], self._outputs(inputs, made))

    @staticmethod
    def _outputs(inputs: Properties, found: dict[str, Any]) -> Properties:
        return {
            "__meta": '{"schema_version":"1"}',
            "attachable": False,
            "driver": found["Driver"],
            "ingress": False,
            "internal": found["Internal"],
            "ipamConfigs": [
                {
                    "auxAddress": {},
                    "gateway": config["Gateway"],
                    "ipRange": "",
                    "subnet": config["Subnet"],
                }
                for config in found["IPAM"]["Config"]
            ],
            "ipamDriver": "default",
            "ipamOptions": None,
            "ipv6": False,
            "labels": _bare(inputs.get("labels") or []),
            "name": found["Name"],
            "options": found["Options"],
            "scope": found["Scope"],
        }

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        found = _maybe(lambda: self._daemon.call("network_inspect", name=id))
        if found is None:
            return None, {}, {}
        return id, inputs, _identified(id, {**self._outputs(inputs, found), "ipamOptions": {}})

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """A network in use is tried again for a while: its containers may be leaving."""
        _until_unused(lambda: self._daemon.call("network_remove", name=id), "active endpoints")


def _until_unused(remove: Callable[[], Any], in_use: str) -> None:
    deadline = time.monotonic() + _IN_USE_SECONDS
    while True:
        try:
            _maybe(remove)
            return
        except DaemonError as error:
            if in_use not in str(error) or time.monotonic() >= deadline:
                raise
        time.sleep(_POLL_SECONDS)


def _labels(inputs: Properties) -> dict[str, str]:
    return {item["label"]: item["value"] for item in inputs.get("labels") or []}


# --- containers

_NOT_FORCE_NEW = frozenset(
    {
        "containerReadRefreshTimeoutMilliseconds",
        "destroyGraceSeconds",
        "maxRetryCount",
        "memory",
        "memorySwap",
        "mustRun",
        "removeVolumes",
        "restart",
        "start",
        "wait",
        "waitTimeout",
    }
)
_CONTAINER_INPUTS = frozenset(
    [
        "command",
        "entrypoints",
        "envs",
        "gpus",
        "healthcheck",
        "hostname",
        "hosts",
        "image",
        "init",
        "labels",
        "logDriver",
        "logOpts",
        "name",
        "networkMode",
        "networksAdvanced",
        "ports",
        "shmSize",
        "stopSignal",
        "stopTimeout",
        "uploads",
        "user",
        "volumes",
        "workingDir",
        "rm",
        "attach",
        "logs",
        "privileged",
    ]
)
_SETS = frozenset({"envs", "hosts", "labels", "networksAdvanced", "uploads", "volumes"})
"""Kept as sets: their order means nothing."""

_COMPUTED_WHEN_ABSENT = frozenset(
    {"command", "entrypoints", "hostname", "init", "logDriver", "logOpts", "shmSize", "user"}
    | {"workingDir", "stopSignal", "stopTimeout"}
)
_HEALTH_DURATIONS = ("interval", "timeout", "startPeriod", "startInterval")
_EMPTY_PARTS: dict[str, Properties] = {
    "networksAdvanced": {
        "aliases": [],
        "driverOpts": [],
        "gwPriority": 0,
        "ipv4Address": "",
        "ipv6Address": "",
        "linkLocalIps": [],
        "macAddress": "",
        "name": "",
    },
    "uploads": {
        "content": "",
        "contentBase64": "",
        "executable": False,
        "file": "",
        "permissions": "",
        "source": "",
        "sourceHash": "",
    },
    "volumes": {
        "containerPath": "",
        "fromContainer": "",
        "hostPath": "",
        "readOnly": False,
        "selinuxRelabel": "",
        "volumeName": "",
    },
}
_NULL_UNTIL_REFRESHED = {"networksAdvanced": "gwPriority", "volumes": "readOnly"}
"""What nobody asked for is null after a create, and has its zero after a refresh."""

_REFRESHED: Properties = {
    **{name: [] for name in ("dns", "dnsOpts", "dnsSearches", "groupAdds")},
    **{name: {} for name in ("storageOpts", "sysctls", "tmpfs")},
}
"""What a create leaves null (docs/facts/measured.md §3)."""

_NEVER_SET: Properties = {
    **dict.fromkeys(
        [
            "capabilities",
            "cgroupParent",
            "cgroupnsMode",
            "containerLogs",
            "cpuPeriod",
            "cpuQuota",
            "cpus",
            "dns",
            "dnsOpts",
            "dnsSearches",
            "exitCode",
            "groupAdds",
            "pidMode",
            "storageOpts",
            "sysctls",
            "tmpfs",
        ]
    ),
    **{
        name: []
        for name in [
            "deviceReadBps",
            "deviceReadIops",
            "deviceRequests",
            "deviceWriteBps",
            "deviceWriteIops",
            "devices",
            "mounts",
            "securityOpts",
            "ulimits",
        ]
    },
    **dict.fromkeys(("bridge", "cpuSet", "domainname", "usernsMode"), ""),
    **dict.fromkeys(("attach", "logs", "privileged", "publishAllPorts", "readOnly"), False),
    **dict.fromkeys(("rm", "stdinOpen", "tty"), False),
    **dict.fromkeys(("cpuShares", "maxRetryCount", "memoryReservation"), 0),
}


@dataclass(frozen=True)
class _Wait:
    seconds: float
    asked: bool


class _Container(_DockerKind):
    delete_before_replace: ClassVar[bool] = True
    allowed: ClassVar[frozenset[str]] = _CONTAINER_INPUTS | _NOT_FORCE_NEW
    force_new: ClassVar[frozenset[str]] = _CONTAINER_INPUTS
    required: ClassVar[tuple[str, ...]] = ("name", "image")
    computed: ClassVar[frozenset[str]] = frozenset(
        {"bridge", "containerLogs", "exitCode", "networkDatas"} | _COMPUTED_WHEN_ABSENT
    )

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """Defaults as the bridge notes them (docs/facts/provider-states.json), nested ones
        included."""
        _, failures = super().check(old, new)
        inputs = copy.deepcopy(new)
        if isinstance(inputs.get("healthcheck"), dict):
            zero = {**dict.fromkeys(_HEALTH_DURATIONS, "0s"), "retries": 0}
            inputs["healthcheck"] = _with_defaults(inputs["healthcheck"], zero)
            failures += _check_health(inputs["healthcheck"])
        _default_parts(inputs, "ports", {"ip": "0.0.0.0", "protocol": "tcp"})
        for name in ("networksAdvanced", "uploads", "volumes", "labels"):
            _default_parts(inputs, name, {})
        if inputs.get("restart") not in (None, UNKNOWN, *_RESTARTS):
            failures.append(("restart", f"expected restart to be one of {list(_RESTARTS)}"))
        defaults = {
            "containerReadRefreshTimeoutMilliseconds": 15000,
            "mustRun": True,
            "networkMode": "bridge",
            "removeVolumes": True,
            "restart": "no",
            "start": True,
        }
        return _with_defaults(inputs, defaults), failures

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
        wanted, found = _comparable(new_inputs), _comparable(old_outputs)
        if "memorySwap" not in names and found.get("memorySwap"):
            # The daemon's own limit was read back, and nobody asked for one.
            names = names | {"memorySwap"}
            wanted["memorySwap"] = 0
        names -= {n for n in _COMPUTED_WHEN_ABSENT if new_inputs.get(n) is None}
        return self.compare(
            {name: found.get(name) for name in names},
            {name: wanted.get(name) for name in names},
            ignore,
        )

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """Create, upload, start, and wait for its health where `wait` is set."""
        wait = _wait_of(inputs)
        try:
            id: str = self._daemon.call("container_create", spec=_spec(inputs))["Id"]
        except DaemonError as error:
            raise ProviderError(f"Unable to create container: {error}") from error
        try:
            self._fill_and_start(id, inputs)
            if wait.asked:
                self._wait_until_healthy(id, wait.seconds)
        except ProviderError as error:
            raise InitFailed(str(error), id, inputs, self._outputs(id, inputs)) from error
        outputs = self._outputs(id, inputs)
        for name, part in _NULL_UNTIL_REFRESHED.items():
            asked = [item.get(part) for item in _bare(inputs.get(name) or [])]
            outputs[name] = [
                {**item, part: given} for item, given in zip(outputs[name], asked, strict=True)
            ]
        return id, outputs

    def _fill_and_start(self, id: str, inputs: Properties) -> None:
        for upload in inputs.get("uploads") or []:
            content, mode = _upload(upload)
            self._daemon.call(
                "container_put",
                id=id,
                path=upload["file"],
                content=base64.b64encode(content).decode(),
                mode=mode,
            )
        if inputs.get("start") is not False:
            try:
                self._daemon.call("container_start", id=id)
            except DaemonError as error:
                raise ProviderError(f"Unable to start container: {error}") from error

    def _wait_until_healthy(self, id: str, seconds: float) -> None:
        """Only "healthy" ends it early: an unhealthy or dead container is waited for as well."""
        deadline = time.monotonic() + seconds
        while True:
            health = self._daemon.call("container_inspect", id=id)["State"].get("Health")
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
            if self._daemon.cancelled.wait(_POLL_SECONDS):
                raise ProviderError("context canceled")

    def _outputs(self, id: str, inputs: Properties) -> Properties:
        found = self._daemon.call("container_inspect", id=id)
        return _identified(id, _container_outputs(found, inputs))

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        """As it really is; environment, labels, volumes and uploads are not read back."""
        found = _maybe(lambda: self._daemon.call("container_inspect", id=id))
        if found is None:
            return None, {}, {}
        fresh = _container_outputs(found, {**outputs, **_bare(inputs)})
        fresh = _identified(id, {**fresh, **_REFRESHED})
        return id, _refreshed_inputs(inputs, fresh), fresh

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
            try:
                self._daemon.call("container_start", id=id)
            except DaemonError as error:
                raise ProviderError(f"Unable to start container: {error}") from error
        limits = ("restart", "maxRetryCount", "memory", "memorySwap")
        if any((old_outputs.get(n) or 0) != (new_inputs.get(n) or 0) for n in limits):
            self._daemon.call(
                "container_update",
                id=id,
                restart=_restart(new_inputs),
                memory=int(new_inputs.get("memory") or 0) * _MIB,
                memory_swap=int(new_inputs.get("memorySwap") or 0) * _MIB,
            )
        return self._outputs(id, new_inputs)

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """Stop, with no time to end unless a grace was asked for, and remove by force."""
        grace = float(outputs.get("destroyGraceSeconds") or 0)
        volumes = bool(outputs.get("removeVolumes", True))
        try:
            _maybe(lambda: self._daemon.call("container_stop", id=id, timeout=grace))
            _maybe(
                lambda: self._daemon.call("container_remove", id=id, force=True, volumes=volumes)
            )
        except DaemonError as error:
            raise ProviderError(f"Error deleting container {id}: {error}") from error


_RESTARTS = ("no", "on-failure", "always", "unless-stopped")


def _default_parts(inputs: Properties, name: str, defaults: Properties) -> None:
    parts = inputs.get(name)
    if isinstance(parts, list):
        inputs[name] = [
            _with_defaults(part, defaults) if isinstance(part, dict) else part for part in parts
        ]


def _check_health(check: Properties) -> list[Failure]:
    failures: list[Failure] = []
    for name in _HEALTH_DURATIONS:
        value = check[name]
        if value is UNKNOWN:
            continue
        try:
            durations.parse(str(value))
        except ValueError as error:
            failures.append((f"healthcheck.{name}", str(error)))
    tests = check.get("tests")
    if tests is not UNKNOWN and not tests:
        failures.append(("healthcheck.tests", "Missing required property 'tests'"))
    return failures


def _asked(inputs: Properties) -> set[str]:
    return {n for n, value in inputs.items() if value is not None and not n.startswith("__")}


def _wait_of(inputs: Properties) -> _Wait:
    return _Wait(float(inputs.get("waitTimeout") or _DEFAULT_WAIT), bool(inputs.get("wait")))


def _comparable(properties: Properties) -> Properties:
    """Property values in one form, whether they came from a program or from the daemon."""
    bare: Properties = _bare(properties)
    found = dict(bare)
    for name, empty in _EMPTY_PARTS.items():
        if isinstance(found.get(name), list):
            found[name] = [
                {**empty, **{k: v for k, v in part.items() if v is not None}}
                if isinstance(part, dict)
                else part
                for part in found[name]
            ]
    for name in _SETS:
        if isinstance(found.get(name), list) and UNKNOWN not in found[name]:
            found[name] = sorted(found[name], key=_sort_key)
    # No value and an empty one are the same to Terraform.
    return {name: None if value in ([], {}, "") else value for name, value in found.items()}


def _sort_key(value: Value) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


def _upload(upload: Properties) -> tuple[bytes, int]:
    given = [n for n in ("content", "contentBase64", "source") if upload.get(n)]
    if len(given) > 1:
        raise ProviderError(
            "Error with upload content: only one of 'content', 'content_base64', or 'source' "
            "can be set"
        )
    mode = 0o744 if upload.get("executable") else 0o644
    if upload.get("permissions"):
        mode = int(upload["permissions"], 8)
    if upload.get("contentBase64"):
        return base64.b64decode(upload["contentBase64"]), mode
    if upload.get("source"):
        try:
            return Path(upload["source"]).read_bytes(), mode
        except OSError as error:
            raise ProviderError(f"could not read file: {error}") from error
    return str(upload.get("content") or "").encode(), mode


def _spec(inputs: Properties) -> dict[str, Any]:
    """The engine's `Spec` as plain data."""
    for name in ("privileged", "attach", "logs", "rm"):
        if inputs.get(name):
            raise ProviderError(f"the rehearsal's containers have no {name}")
    networks = {n["name"]: n.get("aliases") or [] for n in inputs.get("networksAdvanced") or []}
    entrypoint = inputs.get("entrypoints") or None
    return {
        "name": inputs["name"],
        "image": inputs["image"],
        "command": [str(word) for word in inputs.get("command") or []],
        "entrypoint": entrypoint,
        "env": list(inputs.get("envs") or []),
        "hostname": inputs.get("hostname") or "",
        "user": inputs.get("user") or "",
        "working_dir": inputs.get("workingDir") or "",
        "labels": _labels(inputs),
        "network_mode": inputs.get("networkMode") or "bridge",
        "networks": networks,
        "ports": [_port(port) for port in inputs.get("ports") or []],
        "mounts": [_mount(volume) for volume in inputs.get("volumes") or []],
        "hosts": [f"{host['host']}:{host['ip']}" for host in inputs.get("hosts") or []],
        "health": _health(inputs.get("healthcheck")),
        "restart": _restart(inputs),
        "log_driver": inputs.get("logDriver") or "json-file",
        "log_options": inputs.get("logOpts") or {},
        "gpus": inputs.get("gpus") or "",
        "memory": int(inputs.get("memory") or 0) * _MIB,
        "memory_swap": int(inputs.get("memorySwap") or 0) * _MIB,
        "shm_size": int(inputs.get("shmSize") or 64) * _MIB,
        "stop_signal": inputs.get("stopSignal") or "",
        "init": bool(inputs.get("init")),
    }


def _port(port: Properties) -> dict[str, Any]:
    if not port.get("external"):
        raise ProviderError("the rehearsal publishes no random ports: give `external`")
    return {
        "internal": int(port["internal"]),
        "external": int(port["external"]),
        "ip": port.get("ip") or "0.0.0.0",
        "protocol": port.get("protocol") or "tcp",
    }


def _mount(volume: Properties) -> dict[str, Any]:
    if volume.get("fromContainer"):
        raise ProviderError("the rehearsal's containers have no volumes.fromContainer")
    source = volume.get("hostPath") or volume.get("volumeName") or ""
    if volume.get("hostPath") and not str(source).startswith("/"):
        raise ProviderError(f'host_path "{source}" must be an absolute path')
    return {
        "target": volume.get("containerPath") or "",
        "source": source,
        "read_only": bool(volume.get("readOnly")),
    }


def _health(check: Properties | None) -> dict[str, Any] | None:
    if not check:
        return None
    return {
        "test": list(check["tests"]),
        "interval": durations.parse(check.get("interval") or "0s"),
        "timeout": durations.parse(check.get("timeout") or "0s"),
        "start_period": durations.parse(check.get("startPeriod") or "0s"),
        "start_interval": durations.parse(check.get("startInterval") or "0s"),
        "retries": int(check.get("retries") or 0),
    }


def _restart(inputs: Properties) -> dict[str, Any]:
    return {
        "name": inputs.get("restart") or "no",
        "maximum": int(inputs.get("maxRetryCount") or 0),
    }


def _container_outputs(found: dict[str, Any], inputs: Properties) -> Properties:
    """The state after a read: partly from the daemon, partly what was asked for."""
    config, host, running = found["Config"], found["HostConfig"], found["State"]["Running"]
    bare: Properties = _bare(inputs)
    outputs: Properties = {
        "__meta": json.dumps(
            {"e2bfb730-ecaa-11e6-8f88-34363bc7c4c0": _META, "schema_version": "2"}
        ),
        **_NEVER_SET,
        **{
            name: bare.get(name)
            for name in ("containerReadRefreshTimeoutMilliseconds", "destroyGraceSeconds", "gpus")
        },
        **{name: bare.get(name) for name in ("removeVolumes", "start", "wait", "waitTimeout")},
        **{name: bare.get(name) or [] for name in ("envs", "hosts", "labels")},
        **{name: _filled(bare.get(name), empty) for name, empty in _EMPTY_PARTS.items()},
        "command": config["Cmd"] or [],
        "entrypoints": config["Entrypoint"] or [],
        "healthcheck": _health_outputs(config["Healthcheck"], bare.get("healthcheck")),
        "hostname": config["Hostname"],
        "image": config["Image"]
        if not str(inputs["image"]).startswith("sha256:")
        else found["Image"],
        "init": host["Init"],
        "ipcMode": "private",
        "logDriver": host["LogConfig"]["Type"],
        "logOpts": host["LogConfig"]["Config"],
        "memory": host["Memory"] // _MIB,
        "memorySwap": host["MemorySwap"] // _MIB,
        "mustRun": running if bare.get("mustRun") is not False else False,
        "name": found["Name"].lstrip("/"),
        "exitCode": None if running else found["State"]["ExitCode"],
        "networkDatas": _network_datas(found["NetworkSettings"]["Networks"]),
        "networkMode": host["NetworkMode"],
        "platform": found["Platform"],
        "ports": _ports(found["NetworkSettings"]["Ports"]),
        "restart": host["RestartPolicy"]["Name"],
        "maxRetryCount": host["RestartPolicy"]["MaximumRetryCount"],
        "runtime": host["Runtime"],
        "shmSize": host["ShmSize"] // _MIB,
        "stopSignal": config["StopSignal"] or "",
        "stopTimeout": 0,
        "user": config["User"],
        "workingDir": config["WorkingDir"],
    }
    return outputs


def _filled(parts: Value, empty: Properties) -> list[Properties]:
    return [
        {**empty, **{name: value for name, value in part.items() if value is not None}}
        for part in parts or []
    ]


def _health_outputs(found: dict[str, Any] | None, asked: Properties | None) -> Properties | None:
    """Durations in Go's canonical form, whatever was asked: `60s` comes back as `1m0s`."""
    if found is None or asked is None:
        return None
    return {
        "interval": durations.canonical(found["Interval"]),
        "retries": found["Retries"],
        "startInterval": durations.canonical(found["StartInterval"]),
        "startPeriod": durations.canonical(found["StartPeriod"]),
        "tests": found["Test"],
        "timeout": durations.canonical(found["Timeout"]),
    }


def _network_datas(networks: dict[str, dict[str, Any]]) -> list[Properties]:
    return [
        {
            "gateway": network["Gateway"],
            "globalIpv6Address": "",
            "globalIpv6PrefixLength": 0,
            "ipAddress": network["IPAddress"],
            "ipPrefixLength": network["IPPrefixLen"],
            "ipv6Gateway": "",
            "macAddress": network["MacAddress"],
            "networkName": name,
        }
        for name, network in networks.items()
    ]


def _ports(bound: dict[str, list[dict[str, str]]]) -> list[Properties]:
    """Read back from a map, so sorted by the port inside."""
    found = []
    for inside, hosts in bound.items():
        number, _, protocol = inside.partition("/")
        for host in hosts:
            found.append(
                {
                    "external": int(host["HostPort"]),
                    "internal": int(number),
                    "ip": host["HostIp"],
                    "protocol": protocol,
                }
            )
    return sorted(found, key=lambda port: (port["internal"], port["external"]))


def _refreshed_inputs(inputs: Properties, outputs: Properties) -> Properties:
    """Inputs that follow what was found, for the properties that the program had set."""
    follows: Iterable[str] = ("mustRun", "ports", "restart", "memory", "memorySwap", "name")
    changed = {
        name: outputs[name]
        for name in follows
        if inputs.get(name) is not None
        and _comparable({name: inputs[name]}) != _comparable({name: outputs[name]})
    }
    return {**inputs, **changed}
