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

from provisioning.images import Image, Images
from provisioning.regions import Region
from provisioning.versions import NVIDIA_DRIVER_PACKAGE

REMOTE_FOLDER = "ai-lab"
"""Everything of ours on the server, relative to the login's home."""

MONGO_KEYFILE = f"{REMOTE_FOLDER}/mongo/keyfile"
"""MongoDB's key, 0400 and owned by 999, relative to the login's home."""

VOCABULARY_FOLDER = f"{REMOTE_FOLDER}/oneapi"
"""Folder of the token vocabulary, for TIKTOKEN_CACHE_DIR, relative to the login's home."""

MONGO_KEY = "mongo-key"
"""Name of the secret that the step `mongo-keyfile` reads on stdin."""

DATABASES = ("mysql", "pg", "mongo")
"""Databases whose passwords follow; the step `db-password-<name>` reads the secret of its name."""

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
        stdin: name of the secret that the command reads; None for none.
        time_limit_seconds: after which the command ends itself.
        depends_on: names of the steps that come before, this step's files included: the server
            may reboot between two steps.
    """

    name: str
    command: str
    files: Mapping[str, str]
    time_limit_seconds: int
    depends_on: tuple[str, ...] = ()
    stdin: str | None = None

    @property
    def trigger(self) -> str:
        """Hash of all that the step does: it runs again when this changes, and only then."""
        told = [self.command, sorted(self.files.items())]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def steps(plan: HostPlan) -> tuple[Step, ...]:
    """The steps of a host, each after those it depends on.

    The driver comes before everything that a reboot would interrupt; pulls run side by side.
    """
    region = plan.region
    made = [
        _step("wait-for-boot", 1800),
        _step("base", 1200, region.apt_mirror, after=["wait-for-boot"]),
    ]
    ready = "base"
    if plan.gpu:
        minimum = str(plan.minimum_driver)
        made += [
            _step("driver", 2400, NVIDIA_DRIVER_PACKAGE, minimum, after=["base"]),
            _step("driver-ready", 300, minimum, after=["driver"]),
        ]
        ready = "driver-ready"
    made.append(_step("docker", 1800, region.docker_apt, region.docker_key, after=[ready]))
    ready = "docker"
    if plan.gpu:
        made.append(_step("toolkit", 1200, region.toolkit_repo, after=["docker"]))
        ready = "toolkit"
    made += [_daemon(plan, ready), *_pulls(plan)]
    made += [_prove(plan), _mongo_keyfile()]
    made += [_db_password(service) for service in DATABASES]
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
    )


def _daemon(plan: HostPlan, after: str) -> Step:
    config = f"{REMOTE_FOLDER}/host/daemon.json"
    runtime = "nvidia" if plan.gpu else "none"
    text = {config: daemon_json(plan)}
    return _step("daemon", 600, config, runtime, after=[after], files=text)


def _pulls(plan: HostPlan) -> list[Step]:
    return [
        _step(f"pull-{service}", 5400, image.reference, script_name="pull", after=["daemon"])
        for service, image in _services(plan).items()
    ]


def _services(plan: HostPlan) -> dict[str, Image]:
    named = plan.images
    services = {
        "xinference": named.xinference,
        "fastgpt": named.fastgpt,
        "pg": named.pg,
        "mongo": named.mongo,
        "mysql": named.mysql,
        "oneapi": named.oneapi,
        "sandbox": named.sandbox,
    }
    if not plan.xinference:
        del services["xinference"]
    return services


def _prove(plan: HostPlan) -> Step:
    # pg's image is small and has the C library that nvidia-smi wants; Alpine's would not do.
    minimum = str(plan.minimum_driver) if plan.gpu else "none"
    return _step("prove", 900, minimum, plan.images.pg.reference, after=["pull-pg"])


def _mongo_keyfile() -> Step:
    # After Docker: a reboot for the driver may come before it.
    return _step("mongo-keyfile", 60, stdin=MONGO_KEY, after=["docker"])


def _db_password(service: str) -> Step:
    # Enough for a database that has to start and recover first.
    name = f"db-password-{service}"
    return _step(name, 400, service, script_name="db-password", after=["daemon"], stdin=name)
