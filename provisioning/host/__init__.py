"""The host's preparation: bash scripts, and the pure builder of the steps that run them.

Each step uploads files and runs one command, over SSH, as root. Scripts are idempotent: a second
run finds everything in place and changes nothing. They know no region: what differs comes as
arguments. Secrets come on stdin. Facts: `docs/facts/alicloud.md §3 and §4`.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioning.images import Images
from provisioning.regions import Region
from provisioning.versions import NVIDIA_DRIVER_PACKAGE

REMOTE_FOLDER = "ai-lab"
"""Everything of ours on the server, relative to the login's home."""

MONGO_KEYFILE = f"{REMOTE_FOLDER}/mongo/keyfile"
"""MongoDB's key, 0400 and owned by 999, relative to the login's home."""

VOCABULARY_FOLDER = f"{REMOTE_FOLDER}/oneapi"
"""Folder of the token vocabulary, for TIKTOKEN_CACHE_DIR, relative to the login's home."""

BOOTED, DOCKER_INSTALLED, DOCKER_READY, DRIVER_PROVED, KEYFILE_WRITTEN = (
    "wait-for-boot",
    "docker",
    "daemon",
    "prove",
    "mongo-keyfile",
)
"""The steps that others wait for, by what is so when they are done."""

DATABASE_SECRETS = {"mysql": "{mysql}\n{mysql_root}", "pg": "{pg}", "mongo": "{mongo}"}
"""Databases whose passwords follow, and what their step reads on stdin."""

_SCRIPTS = Path(__file__).parent


@dataclass(frozen=True)
class HostPlan:
    """What a host is prepared for.

    Attributes:
        region: repositories and mirrors.
        images: what is pulled.
        gpu: whether the server has a GPU.
        xinference: whether Xinference runs here, so that its image is pulled.
        minimum_driver: of the Xinference release (`XinferenceRelease.minimum_driver`).
    """

    region: Region
    images: Images
    gpu: bool
    xinference: bool
    minimum_driver: int


@dataclass(frozen=True)
class Step:
    """One command on the host.

    Attributes:
        name: unique; also the script's.
        command: what the login's shell runs; holds no secret.
        files: remote path, relative to the login's home, to its text.
        stdin: what the command reads, a name in braces for each secret; None for nothing.
        time_limit_seconds: after which the command ends itself.
        depends_on: names of the steps that come before.
        files_after: names of the steps that come before the files. They need a booted server, not
            the steps before theirs, and go up side by side.
    """

    name: str
    command: str
    files: Mapping[str, str]
    time_limit_seconds: int
    depends_on: tuple[str, ...] = ()
    files_after: tuple[str, ...] = ()
    stdin: str | None = None

    @property
    def trigger(self) -> str:
        """Hash of all that the step does: it runs again when this changes, and only then."""
        told = [self.command, sorted(self.files.items())]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def image_pulled(service: str) -> str:
    """The step after which a service's image is on the server."""
    return f"pull-{service}"


def password_followed(database: str) -> str:
    """The step after which a standing database has its present password."""
    return f"db-password-{database}"


def pulled_services(plan: HostPlan) -> dict[str, str]:
    """The services whose images are pulled, and the images."""
    return {
        service: image.reference
        for service, image in vars(plan.images).items()
        if plan.xinference or service != "xinference"
    }


def steps(plan: HostPlan) -> tuple[Step, ...]:
    """The steps of a host, each after those it depends on.

    The driver comes before everything that a reboot would interrupt; pulls run side by side.
    """
    region = plan.region
    made = [
        _step(BOOTED, 1800),
        _step("base", 1200, region.apt_mirror, after=[BOOTED]),
    ]
    ready = "base"
    if plan.gpu:
        minimum = str(plan.minimum_driver)
        made += [
            _step("driver", 2400, NVIDIA_DRIVER_PACKAGE, minimum, after=["base"]),
            _step("driver-ready", 300, minimum, after=["driver"]),
        ]
        ready = "driver-ready"
    made.append(_step(DOCKER_INSTALLED, 1800, region.docker_apt, region.docker_key, after=[ready]))
    ready = DOCKER_INSTALLED
    if plan.gpu:
        made.append(_step("toolkit", 1200, region.toolkit_repo, after=[DOCKER_INSTALLED]))
        ready = "toolkit"
    made += [_daemon(plan, ready), *_pulls(plan)]
    made += [_prove(plan), _mongo_keyfile()]
    made += [_db_password(service) for service in DATABASE_SECRETS]
    return tuple(made)


def daemon_json(plan: HostPlan) -> str:
    """Docker's one configuration file: log rotation, mirrors, the GPU's runtime."""
    config: dict[str, Any] = {
        "log-driver": "json-file",
        "log-opts": {"max-size": "50m", "max-file": "3"},
        "live-restore": True,
        "max-concurrent-downloads": 3,
    }
    if plan.region.registry_mirrors:
        config["registry-mirrors"] = list(plan.region.registry_mirrors)
    if plan.gpu:
        config["runtimes"] = {"nvidia": {"path": "nvidia-container-runtime", "args": []}}
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def script(name: str) -> str:
    """The text of one script as the server gets it: the common part, then its own."""
    common = (_SCRIPTS / "lib.sh").read_text(encoding="utf-8")
    own = (_SCRIPTS / f"{name}.sh").read_text(encoding="utf-8")
    return f"{common}\n{own}"


def _step(
    name: str,
    seconds: int,
    *arguments: str,
    script_name: str | None = None,
    after: list[str] | None = None,
    files: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> Step:
    # A file of its own for each step: steps that run side by side must not write one file.
    path = f"{REMOTE_FOLDER}/host/{name}.sh"
    run = ["timeout", "--kill-after=30", str(seconds), "bash", path, *arguments]
    return Step(
        name=name,
        command=shlex.join(run),
        files={path: script(script_name or name), **(files or {})},
        stdin=stdin,
        time_limit_seconds=seconds,
        depends_on=tuple(after or ()),
        files_after=() if name == BOOTED else (BOOTED,),
    )


def _daemon(plan: HostPlan, after: str) -> Step:
    config = f"{REMOTE_FOLDER}/host/daemon.json"
    runtime = "nvidia" if plan.gpu else "none"
    text = {config: daemon_json(plan)}
    return _step(DOCKER_READY, 600, config, runtime, after=[after], files=text)


def _pulls(plan: HostPlan) -> list[Step]:
    return [
        _step(image_pulled(service), 5400, image, script_name="pull", after=[DOCKER_READY])
        for service, image in pulled_services(plan).items()
    ]


def _prove(plan: HostPlan) -> Step:
    # pg's image is small and has the C library that nvidia-smi wants; Alpine's would not do.
    minimum = str(plan.minimum_driver) if plan.gpu else "none"
    return _step(DRIVER_PROVED, 900, minimum, plan.images.pg.reference, after=[image_pulled("pg")])


def _mongo_keyfile() -> Step:
    # After Docker: a reboot for the driver may come before it.
    return _step(KEYFILE_WRITTEN, 60, stdin="{mongo_key}", after=[DOCKER_INSTALLED])


def _db_password(service: str) -> Step:
    # Enough for a database that has to start and recover first.
    secrets = DATABASE_SECRETS[service]
    name = password_followed(service)
    return _step(name, 400, service, script_name="db-password", after=[DOCKER_READY], stdin=secrets)
