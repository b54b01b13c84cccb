"""Docker's objects between two worlds: inputs as Pulumi has them, configurations and answers as
Docker's Engine API has them, and the state that pulumi-docker 5.1 keeps.

The forms are those of docs/facts/provider-states.json; `docker_state.json` has what a lab never
asks for, as it is after a create and after a refresh.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rehearsal.docker import durations
from rehearsal.docker.engine import Json
from rehearsal.providers.base import ProviderError
from rehearsal.providers.values import UNKNOWN, Properties, Value

_MIB = 1024 * 1024
_MINUTES_20 = 1_200_000_000_000
_META = {"create": _MINUTES_20, "delete": _MINUTES_20, "update": _MINUTES_20}
_TIMEOUTS = {"e2bfb730-ecaa-11e6-8f88-34363bc7c4c0": _META}

_FORMS: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
IN_PLACE = frozenset(_FORMS["in_place"])
CONTAINER_INPUTS = frozenset(_FORMS["replacing"])
_SETS = frozenset({"envs", "labels", "networksAdvanced", "uploads", "volumes"})
"""Kept as sets: their order means nothing."""

COMPUTED_WHEN_ABSENT = frozenset({"command", "logDriver", "logOpts", "shmSize"})
HEALTH_DURATIONS = ("interval", "timeout", "startPeriod", "startInterval")
_EMPTY_PARTS: dict[str, Properties] = _FORMS["empty_parts"]
_NULL_UNTIL_REFRESHED = {"networksAdvanced": "gwPriority", "volumes": "readOnly"}
"""What nobody asked for is null after a create, and has its zero after a refresh."""

REFRESHED: Properties = _FORMS["refreshed"]
"""What a create leaves null (docs/facts/measured.md §3)."""


def with_defaults(given: Properties, defaults: Properties) -> Properties:
    """Inputs with defaults filled in, and their names noted as the bridge does."""
    added = {name: value for name, value in defaults.items() if given.get(name) is None}
    return {**given, **added, "__defaults": sorted(added)}


def bare(value: Value) -> Value:
    """Without the bridge's notes, at any depth."""
    if isinstance(value, dict):
        return {name: bare(item) for name, item in value.items() if name != "__defaults"}
    return [bare(item) for item in value] if isinstance(value, list) else value


def comparable(properties: Properties) -> Properties:
    """Property values in one form, whether they came from a program or from the daemon."""
    plain: Properties = bare(properties)
    found = dict(plain)
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


def image(id: str, inputs: Properties, found: Json) -> Properties:
    """The state of an image.

    `id` is one of the outputs, as the bridge keeps it (docs/facts/measured.md §3)."""
    return {
        "id": id,
        "__meta": json.dumps(_TIMEOUTS),
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


def volume(inputs: Properties, found: Json) -> Properties:
    """The state of a volume."""
    return {
        "id": found["Name"],
        "__meta": '{"schema_version":"1"}',
        "cluster": None,
        "driver": found["Driver"],
        "driverOpts": None,
        "labels": bare(inputs.get("labels") or []),
        "mountpoint": found["Mountpoint"],
        "name": found["Name"],
    }


def network(inputs: Properties, found: Json) -> Properties:
    """The state of a network."""
    return {
        "id": found["Id"],
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
        "labels": bare(inputs.get("labels") or []),
        "name": found["Name"],
        "options": found["Options"],
        "scope": found["Scope"],
    }


def labels(inputs: Properties) -> dict[str, str]:
    """Labels as the API has them."""
    return {item["label"]: item["value"] for item in inputs.get("labels") or []}


def upload(given: Properties) -> tuple[str, bytes, int]:
    """Path, content and mode of a file to put into a container."""
    return str(given["file"]), str(given["content"]).encode(), int(given["permissions"], 8)


def container_config(inputs: Properties) -> Json:
    """The body of `POST /containers/create`.

    Raises:
        ProviderError: it asks for what the rehearsal does not know.
    """
    ports = [_port(port) for port in inputs.get("ports") or []]
    return {
        "Image": inputs["image"],
        "Cmd": [str(word) for word in inputs.get("command") or []] or None,
        "Env": list(inputs.get("envs") or []),
        "Labels": labels(inputs),
        "Healthcheck": _health(inputs.get("healthcheck")),
        "ExposedPorts": {inside: {} for inside, _ in ports},
        "HostConfig": _host_config(inputs, ports),
    }


def _host_config(inputs: Properties, ports: list[tuple[str, Json]]) -> Json:
    bindings: dict[str, list[Json]] = {}
    for inside, binding in ports:
        bindings.setdefault(inside, []).append(binding)
    gpus = [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}] if inputs.get("gpus") else None
    return {
        **limits(inputs),
        "NetworkMode": inputs.get("networkMode") or "bridge",
        "PortBindings": bindings,
        "Binds": [_bind(volume) for volume in inputs.get("volumes") or []],
        "LogConfig": {
            "Type": inputs.get("logDriver") or "json-file",
            "Config": inputs.get("logOpts") or {},
        },
        "DeviceRequests": gpus,
        "ShmSize": int(inputs.get("shmSize") or 64) * _MIB,
    }


def limits(inputs: Properties) -> Json:
    """What `update` may change in place, as the API has it."""
    return {
        "Memory": int(inputs.get("memory") or 0) * _MIB,
        "MemorySwap": int(inputs.get("memorySwap") or 0) * _MIB,
        "RestartPolicy": {
            "Name": inputs.get("restart") or "no",
            "MaximumRetryCount": 0,
        },
    }


def _port(port: Properties) -> tuple[str, Json]:
    if not port.get("external"):
        raise ProviderError("the rehearsal publishes no random ports: give `external`")
    binding = {"HostIp": port.get("ip") or "0.0.0.0", "HostPort": str(int(port["external"]))}
    return f"{int(port['internal'])}/{port.get('protocol') or 'tcp'}", binding


def _bind(volume: Properties) -> str:
    source = volume.get("hostPath") or volume.get("volumeName")
    if not source or volume.get("fromContainer"):
        raise ProviderError("the rehearsal's volumes need `hostPath` or `volumeName`")
    if volume.get("hostPath") and not str(source).startswith("/"):
        raise ProviderError(f'host_path "{source}" must be an absolute path')
    return f"{source}:{volume['containerPath']}{':ro' if volume.get('readOnly') else ''}"


def _health(check: Properties | None) -> Json | None:
    if not check:
        return None
    return {
        "Test": list(check["tests"]),
        "Interval": durations.parse(check.get("interval") or "0s"),
        "Timeout": durations.parse(check.get("timeout") or "0s"),
        "StartPeriod": durations.parse(check.get("startPeriod") or "0s"),
        "StartInterval": durations.parse(check.get("startInterval") or "0s"),
        "Retries": int(check.get("retries") or 0),
    }


def container(id: str, inputs: Properties, found: Json) -> Properties:
    """The state of a container: partly from the daemon, partly what was asked for."""
    config, host, running = found["Config"], found["HostConfig"], found["State"]["Running"]
    asked: Properties = bare(inputs)
    outputs: Properties = {
        "id": id,
        "__meta": json.dumps({**_TIMEOUTS, "schema_version": "2"}),
        **_FORMS["never_set"],
        **{
            name: asked.get(name)
            for name in ("containerReadRefreshTimeoutMilliseconds", "destroyGraceSeconds", "gpus")
        },
        **{name: asked.get(name) for name in ("removeVolumes", "start", "wait", "waitTimeout")},
        **{name: asked.get(name) or [] for name in ("envs", "labels")},
        **{name: _filled(asked.get(name), empty) for name, empty in _EMPTY_PARTS.items()},
        "command": config["Cmd"] or [],
        "entrypoints": config["Entrypoint"] or [],
        "healthcheck": _health_outputs(config["Healthcheck"], asked.get("healthcheck")),
        "hostname": config["Hostname"],
        "image": config["Image"]
        if not str(inputs["image"]).startswith("sha256:")
        else found["Image"],
        "init": bool(host.get("Init")),
        "ipcMode": "private",
        "logDriver": host["LogConfig"]["Type"],
        "logOpts": host["LogConfig"]["Config"],
        "memory": host["Memory"] // _MIB,
        "memorySwap": host["MemorySwap"] // _MIB,
        "mustRun": running if asked.get("mustRun") is not False else False,
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
        "stopSignal": config.get("StopSignal") or "",
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


def refreshed_inputs(inputs: Properties, outputs: Properties) -> Properties:
    """Inputs that follow what was found, for the properties that the program had set."""
    follows: Iterable[str] = ("mustRun", "ports", "restart", "memory", "memorySwap", "name")
    changed = {
        name: outputs[name]
        for name in follows
        if inputs.get(name) is not None
        and comparable({name: inputs[name]}) != comparable({name: outputs[name]})
    }
    return {**inputs, **changed}


def as_created(outputs: Properties, inputs: Properties) -> Properties:
    """The state right after a create, where some of what nobody asked for is still null."""
    created = dict(outputs)
    for name, part in _NULL_UNTIL_REFRESHED.items():
        given = [item.get(part) for item in inputs.get(name) or []]
        created[name] = [
            {**item, part: value} for item, value in zip(outputs[name], given, strict=True)
        ]
    return created
