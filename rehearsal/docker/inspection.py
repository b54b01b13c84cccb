"""The stage's containers and networks in the shapes of Docker's API."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from rehearsal import images
from rehearsal.docker.container import Container
from rehearsal.docker.engine import Json

if TYPE_CHECKING:
    from rehearsal.docker.records import Network


async def inspect_container(container: Container, networks: dict[str, Network]) -> Json:
    """As `docker inspect` shows it."""
    config = container.config
    given = {entry.partition("=")[0] for entry in config.get("Env") or []}
    inherited = [f"{k}={v}" for k, v in container.image.env.items() if k not in given]
    return {
        "Id": container.id,
        "Name": f"/{container.name}",
        "Image": images.image_id(container.reference),
        "Platform": "linux",
        "RestartCount": container.restarts,
        "State": await _state(container),
        "Config": {
            "User": "",
            **config,
            "Hostname": container.hostname,
            "Env": [*(config.get("Env") or []), *inherited],
            "Cmd": list(config.get("Cmd") or container.image.command) or None,
            "Entrypoint": list(config.get("Entrypoint") or container.image.entrypoint) or None,
            "WorkingDir": config.get("WorkingDir") or container.image.working_dir,
        },
        "HostConfig": {
            **config["HostConfig"],
            # The daemon doubles the limit where no swap limit is given (docs/facts/engine.md).
            "MemorySwap": config["HostConfig"].get("MemorySwap")
            or 2 * config["HostConfig"].get("Memory", 0),
            "Runtime": "runc",
        },
        "NetworkSettings": _network_settings(container, networks),
    }


async def _state(container: Container) -> Json:
    shown: Json = {
        "Status": container.status,
        "Running": container.running,
        "Restarting": container.status == "restarting",
        "ExitCode": container.exit_code,
        "Pid": container.pid,
        "StartedAt": container.started_at,
        "FinishedAt": container.finished_at,
    }
    health = await container.health()
    if health:
        shown["Health"] = {"Status": health, "FailingStreak": 0, "Log": []}
    return shown


def _network_settings(container: Container, networks: dict[str, Network]) -> Json:
    live = container.running
    address = container.place.address
    mac = "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))
    shown = {
        name: {
            "NetworkID": network.id,
            "IPAddress": address if live else "",
            "IPPrefixLen": 24 if live else 0,
            "Gateway": _gateway(network) if live else "",
            "MacAddress": mac if live else "",
            "Aliases": container.networks[name],
        }
        for name, network in networks.items()
    }
    ports = container.config["HostConfig"].get("PortBindings") or {}
    return {"Networks": shown, "Ports": ports if live else {}}


def inspect_network(network: Network) -> Json:
    """As `docker network inspect` shows it."""
    return {
        "Labels": {},
        "Options": {},
        "Internal": False,
        **network.config,
        "Id": network.id,
        "Scope": "local",
        "IPAM": {
            "Driver": "default",
            "Config": [
                {"Subnet": f"172.{17 + network.number}.0.0/16", "Gateway": _gateway(network)}
            ],
        },
    }


def _gateway(network: Network) -> str:
    return f"172.{17 + network.number}.0.1"


async def status_line(container: Container) -> str:
    """What `docker ps` says of it."""
    if container.status == "running":
        health = await container.health()
        shown = "health: starting" if health == "starting" else health
        up = f"Up {_seconds_since(container.started_at)} seconds"
        return f"{up} ({shown})" if shown else up
    if container.status == "created":
        return "Created"
    word = container.status.capitalize()
    return f"{word} ({container.exit_code}) {_seconds_since(container.finished_at)} seconds ago"


def _seconds_since(stamp: str) -> int:
    then = datetime.fromisoformat(stamp[:26]).replace(tzinfo=timezone.utc)
    return round((datetime.now(timezone.utc) - then).total_seconds())
