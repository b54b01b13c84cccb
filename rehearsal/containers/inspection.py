"""The engine's objects in the shapes of Docker's API."""

from __future__ import annotations

from typing import Any

from rehearsal.containers.container import Container
from rehearsal.containers.networks import DEFAULT, Network, Networks
from rehearsal.containers.spec import HealthCheck, Spec


def inspect_container(container: Container, networks: Networks, image_id: str) -> dict[str, Any]:
    """As `docker inspect` shows it."""
    spec = container.spec
    return {
        "Id": container.id,
        "Name": f"/{spec.name}",
        "Created": container.created,
        "Image": image_id,
        "Platform": "linux",
        "RestartCount": container.state.restart_count,
        "LogPath": f"/var/lib/docker/containers/{container.id}/{container.id}-json.log",
        "State": _state(container),
        "Config": {
            "Hostname": container.hostname,
            "User": spec.user,
            "Env": _environment(container),
            "Cmd": list(spec.command or container.image.command) or None,
            "Entrypoint": list(
                container.image.entrypoint if spec.entrypoint is None else spec.entrypoint
            )
            or None,
            "Image": spec.image,
            "Labels": spec.labels,
            "WorkingDir": container.working_dir,
            "Healthcheck": _health_check(spec.health),
            "StopSignal": spec.stop_signal or None,
        },
        "HostConfig": _host_config(spec),
        "Mounts": _mounts(container),
        "NetworkSettings": _network_settings(container, networks),
    }


def _state(container: Container) -> dict[str, Any]:
    state = container.state
    shown: dict[str, Any] = {
        "Status": state.status,
        "Running": state.running,
        "Restarting": state.status == "restarting",
        "ExitCode": state.exit_code,
        "Error": state.error,
        "OOMKilled": False,
        "Pid": state.pid,
        "StartedAt": state.started_at,
        "FinishedAt": state.finished_at,
    }
    if state.health:
        shown["Health"] = state.health.inspect()
    return shown


def _environment(container: Container) -> list[str]:
    names = [entry.partition("=")[0] for entry in container.spec.env]
    inherited = [f"{k}={v}" for k, v in container.image.env.items() if k not in names]
    return [*container.spec.env, *inherited]


def _health_check(check: HealthCheck | None) -> dict[str, Any] | None:
    if check is None:
        return None
    return {
        "Test": list(check.test),
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }


def _host_config(spec: Spec) -> dict[str, Any]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in spec.ports:
        entry = {"HostIp": port.ip, "HostPort": str(port.external)}
        bindings.setdefault(f"{port.internal}/{port.protocol}", []).append(entry)
    return {
        "NetworkMode": spec.network_mode,
        "PortBindings": bindings,
        "RestartPolicy": {
            "Name": spec.restart.name or "no",
            "MaximumRetryCount": spec.restart.maximum,
        },
        "AutoRemove": spec.auto_remove,
        "Memory": spec.memory,
        # The daemon doubles the limit where no swap limit is given (docs/facts/engine.md).
        "MemorySwap": spec.memory_swap or spec.memory * 2,
        "ShmSize": spec.shm_size,
        "LogConfig": {"Type": spec.log_driver, "Config": spec.log_options},
        "Binds": [f"{m.source}:{m.target}{':ro' if m.read_only else ''}" for m in spec.mounts],
        "ExtraHosts": list(spec.hosts),
        "Init": spec.init,
        "Runtime": "runc",
        "DeviceRequests": [{"Driver": "", "Capabilities": [["gpu"]]}] if spec.gpus else None,
    }


def _mounts(container: Container) -> list[dict[str, Any]]:
    return [
        {
            "Type": "bind" if mount.is_bind else "volume",
            "Name": "" if mount.is_bind else mount.source,
            "Source": mount.source
            if mount.is_bind
            else f"/var/lib/docker/volumes/{mount.source}/_data",
            "Destination": mount.target,
            "RW": not mount.read_only,
        }
        for mount in container.spec.mounts
    ]


def _network_settings(container: Container, networks: Networks) -> dict[str, Any]:
    live = container.state.running
    shown: dict[str, Any] = {}
    for name in container.spec.networks or {DEFAULT: ()}:
        network = networks.find(name)
        shown[network.name] = {
            "NetworkID": network.id,
            "IPAddress": container.place.address if live else "",
            "IPPrefixLen": 24 if live else 0,
            "Gateway": network.gateway if live else "",
            "MacAddress": _mac(container.place.address) if live else "",
            "Aliases": list(container.spec.networks.get(name, ())),
        }
    ports: dict[str, list[dict[str, str]]] = {}
    for port in container.spec.ports if live else ():
        entry = {"HostIp": port.ip, "HostPort": str(port.external)}
        ports.setdefault(f"{port.internal}/{port.protocol}", []).append(entry)
    return {"Networks": shown, "Ports": ports}


def _mac(address: str) -> str:
    return "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def inspect_network(network: Network, names: dict[str, str]) -> dict[str, Any]:
    """As `docker network inspect` shows it."""
    return {
        "Name": network.name,
        "Id": network.id,
        "Driver": network.driver,
        "Scope": "local",
        "Internal": network.internal,
        "Attachable": False,
        "Ingress": False,
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Config": [{"Subnet": network.subnet, "Gateway": network.gateway}]
            if network.subnet
            else [],
        },
        "Labels": network.labels,
        "Options": network.options,
        "Containers": {
            id: {"Name": names.get(id, ""), "IPv4Address": f"{endpoint.address}/24"}
            for id, endpoint in network.endpoints.items()
        },
    }


def summary(container: Container) -> dict[str, Any]:
    """One row of `docker ps`, with the words its templates use."""
    state = container.state
    health = f" ({state.health.status})" if state.health and state.status == "running" else ""
    if state.health and state.health.status == "starting" and health:
        health = " (health: starting)"
    words = {
        "running": f"Up {health}".replace("Up  ", "Up "),
        "exited": f"Exited ({state.exit_code})",
        "restarting": f"Restarting ({state.exit_code})",
        "created": "Created",
    }
    ports = ", ".join(
        f"{p.ip}:{p.external}->{p.internal}/{p.protocol}" for p in container.spec.ports
    )
    return {
        "ID": container.id,
        "Names": container.spec.name,
        "Image": container.spec.image,
        "Command": f'"{" ".join(container.command)}"',
        "CreatedAt": container.created,
        "State": state.status,
        "Status": words[state.status].strip(),
        "Health": state.health.status if state.health else "",
        "Ports": ports if state.running else "",
        "Labels": ",".join(f"{k}={v}" for k, v in container.spec.labels.items()),
        "Networks": ",".join(container.spec.networks or {DEFAULT: ()}),
    }
