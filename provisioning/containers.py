"""The lab's containers as data: `containers.yaml` and its edition's, with what the settings say.

No secret is in them: where one belongs stands its name as `{mysql}`, and the stack fills it in.
"""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from provisioning.editions import EDITIONS, EditionName, containers_file
from provisioning.images import OF_XINFERENCE, Images
from provisioning.launch import xinference_command, xinference_environment
from provisioning.ports import (
    CHALLENGE_PORT,
    FASTGPT_PORT,
    SHARE_PORT,
    has_visitors_door,
    tls_ports,
)
from provisioning.regions import Region
from provisioning.settings import Settings
from provisioning.versions import XinferenceRelease

CERTIFICATE, CERTIFICATE_KEY = "/etc/caddy/certificate.pem", "/etc/caddy/certificate.key"
"""Where the operator's own are put in Caddy's container."""

PUBLIC_BUCKET = "fastgpt-public"
"""What FastGPT keeps in it, models' logos, anybody may read, an object at a time."""

_CADDY = Path(__file__).with_name("caddy")
_CADDYFILE = "/etc/caddy/Caddyfile"
_PLUGIN_PORT = 3004
# What the databases, OneAPI, FastGPT and the system itself need beside Xinference.
_MEMORY_FOR_THE_OTHERS_MIB = 10 * 1024


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Health(_Row):
    """A health check.

    Attributes:
        tests: in Docker's own form: `CMD` and a command's words, or `CMD-SHELL` and a line for the
            container's shell.
        start_minutes: how long failing probes do not count after the start.
        timeout: of one probe, in Docker's own form.
    """

    tests: tuple[str, ...]
    start_minutes: int = 2
    timeout: str = "10s"


class Container(_Row):
    """One container; its name is that of its image, of its volume and in the network.

    Attributes:
        environment: values are templates; `{name}` is a secret's.
        reaches: the containers that it asks. Each has a network of its own, which these join.
        online: its own network has a way out to the Internet.
        published: port on the server to port in the container; empty for what nobody outside needs.
        at_home: those of `published` that the server alone reaches, and who came in by SSH.
        data: where its named volume is mounted.
        files: path in the container to content.
        mounts: path on the server to path in the container, read-only.
        memory_mib: limit, swap included; only where one service could starve the others.
        rest_of_memory: limited to what the others leave of the server's (`memory_left`).
        gpu: whether it gets the cards, and the shared memory that engines on them want.
        user: whom its processes run as; the image's where unsaid. Those of Linux count per number.
        processes: most processes and threads of that user; nothing holds root.
        capabilities: what of root's power is left to it, `CAP_CHOWN`.
        read_only: of its file system only these folders can be written, in memory; None for all. It
            can have no `files` then: Docker puts none into such a container.
        log_mib: most that is kept of what it prints, in one file; three of 50 MiB where unsaid.
        grace_seconds: how long it may take to end when it is replaced; a database that is killed
            at once has to recover (`docs/facts/measured.md §3`).
        after: the containers that it needs healthy when it starts.
        needs: what has to be ready on the host beside its image, as `stack.host.Host` names it; of
            what is made for each container, its own.
    """

    health: Health
    image: str = ""
    environment: Mapping[str, str] = {}
    reaches: tuple[str, ...] = ()
    online: bool = False
    command: tuple[str, ...] = ()
    published: Mapping[int, int] = {}
    at_home: tuple[int, ...] = ()
    data: str | None = None
    files: Mapping[str, str] = {}
    mounts: Mapping[str, str] = {}
    memory_mib: int | None = None
    rest_of_memory: bool = False
    user: str | None = None
    processes: int | None = None
    capabilities: tuple[str, ...] = ()
    read_only: tuple[str, ...] | None = None
    gpu: bool = False
    wait_seconds: int = 300
    log_mib: int | None = None
    grace_seconds: int | None = None
    after: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


def _read(place: Path) -> dict[str, Container]:
    rows = yaml.safe_load(place.read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, Container]).validate_python(rows)


CONTAINERS = _read(Path(__file__).with_name("containers.yaml"))
"""Those of every edition, by name, without what settings say; what others need comes first."""

_OF_EDITION = {edition: _read(containers_file(edition)) for edition in EDITIONS}


def known_containers(edition: EditionName) -> dict[str, Container]:
    """All that a lab of this edition may have, as `CONTAINERS`."""
    return CONTAINERS | _OF_EDITION[edition]


def seeded(edition: EditionName) -> dict[str, tuple[str, ...]]:
    """The services that are seeded, and the containers that have to be healthy for it."""
    return {
        "oneapi": ("mysql", "oneapi"),
        "fastgpt": EDITIONS[edition].needs,
        "xinference": OF_XINFERENCE,
    }


def containers(
    settings: Settings, region: Region, images: Images, release: XinferenceRelease, config: str
) -> dict[str, Container]:
    """A container for each image, after those that it needs.

    `config` is what FastGPT's models are made known by, where its edition reads them in a file.
    """
    known, edition = known_containers(settings.edition), EDITIONS[settings.edition]
    with_tls = edition.with_tls if settings.domain else {}
    told: dict[str, dict[str, Any]] = {
        "xinference": {
            "command": xinference_command(release),
            "environment": xinference_environment(settings.models, region, release),
            "gpu": bool(settings.gpus),
        },
        "fastgpt": {
            "files": {edition.models_file: config} if edition.models_file else {},
            "environment": {**known["fastgpt"].environment, **with_tls},
        },
        "caddy": _caddy(settings),
    }
    if settings.storage == "oss":
        told = _with_oss(told, known, settings)
    changed = {
        name: container.model_copy(update=told.get(name, {}))
        for name, container in known.items()
        if name in images
    }
    return {
        name: container.model_copy(
            update={
                "image": images[name].reference,
                "reaches": tuple(other for other in container.reaches if other in images),
                "after": tuple(other for other in container.after if other in images),
                "at_home": tuple(known[name].published) if settings.domain else (),
            }
        )
        for name, container in changed.items()
    }


def _with_oss(
    told: Mapping[str, dict[str, Any]], known: Mapping[str, Container], settings: Settings
) -> dict[str, dict[str, Any]]:
    """The same, with what FastGPT and its plugin want to keep files in OSS.

    The plugin signs its logos' addresses at the bucket, for an hour (`docs/facts/fastgpt-current.md
    §2`). Where there is a door, FastGPT asks it through Caddy, which leads them there instead.
    """
    found = {"plugin": {"online": True}, **told}
    oss = {
        key: value.replace("[region]", settings.region)
        for key, value in EDITIONS[settings.edition].with_oss.items()
    }
    for name in ("plugin", "fastgpt"):
        whole = found[name].get("environment", known[name].environment)
        kept = {key: value for key, value in whole.items() if not key.startswith("STORAGE_")}
        found[name] = found[name] | {"environment": {**kept, **oss}}
    if settings.domain:
        found["fastgpt"]["environment"] |= {"PLUGIN_BASE_URL": f"http://caddy:{_PLUGIN_PORT}"}
        found["fastgpt"]["after"] = (*known["fastgpt"].after, "caddy")
        bucket = {"PUBLIC_BUCKET": "{public_bucket}"}
        found["caddy"]["environment"] = {**known["caddy"].environment, **bucket}
    return found


def _caddy(settings: Settings) -> dict[str, Any]:
    """It serves the domain, if there is one, with the operator's own certificate or one it gets."""
    if not settings.domain:
        return {"files": {_CADDYFILE: _filled("Caddyfile", options="")}}
    own, ports = bool(settings.certificate_file), tls_ports(settings.edition)
    tls = f"tls {CERTIFICATE} {CERTIFICATE_KEY}" if own else ""
    visited = has_visitors_door(settings)
    told = {
        "domain": settings.domain,
        "tls": tls,
        "options": _filled("Options.caddyfile").rstrip() if visited else "",
        "fastgpt": f":{ports[FASTGPT_PORT]}" if visited else "",
        "objects": "\n\timport objects" if visited else "",
        "bucket": PUBLIC_BUCKET,
        "region": settings.region,
        "plugin_port": str(_PLUGIN_PORT),
    }
    in_oss = settings.storage == "oss"
    store = "OSS.caddyfile" if in_oss else "MinIO.caddyfile"
    parts = ("Caddyfile", *((store, "Visitors.caddyfile") if visited else ()), "Door.caddyfile")
    opened = dict.fromkeys((*(() if own else (CHALLENGE_PORT,)), SHARE_PORT, *ports.values()))
    return {
        "files": {_CADDYFILE: "".join(_filled(part, **told) for part in parts)},
        "reaches": (
            *CONTAINERS["caddy"].reaches,
            *("fastgpt", "oneapi", "plugin" if in_oss else "minio"),
        ),
        "published": {**CONTAINERS["caddy"].published, **{port: port for port in opened}},
        "data": "/data",  # the certificates that it gets: their issuers give only so many
    }


def _filled(part: str, **told: str) -> str:
    return Template((_CADDY / part).read_text(encoding="utf-8")).substitute(told)


def memory_left(server_mib: int) -> int:
    """MiB that a server of this size has for Xinference."""
    return max(server_mib - _MEMORY_FOR_THE_OTHERS_MIB, server_mib // 2)
