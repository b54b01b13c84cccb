"""The host's preparation: bash scripts, and the pure builder of the steps that run them.

Scripts are idempotent and know no region: what differs comes as arguments, secrets on stdin. Facts:
`docs/facts/alicloud.md §3 and §4`.
"""

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioning.images import Images
from provisioning.ports import has_visitors_door
from provisioning.regions import Region
from provisioning.settings import Settings
from provisioning.versions import NVIDIA_DRIVER_PACKAGE, XinferenceRelease

REMOTE_FOLDER = "ai-lab"
"""Everything of ours on the server, relative to the login's home."""

VOCABULARY_FOLDER = f"{REMOTE_FOLDER}/oneapi"
"""Folder of the token vocabulary, for TIKTOKEN_CACHE_DIR, relative to the login's home."""

_SCRIPTS = Path(__file__).parent
_DAEMON_JSON = f"{REMOTE_FOLDER}/host/daemon.json"
# Databases whose passwords follow, and what their step reads on stdin.
_DATABASE_SECRETS = {"mysql": "{mysql}\n{mysql_root}", "pg": "{pg}", "mongo": "{mongo}"}


@dataclass(frozen=True, eq=False)
class Step:
    """One command on the host, run as root over SSH once its files are there.

    Attributes:
        command: holds no secret; ends itself after `time_limit_seconds`.
        files: remote path, relative to the login's home, to its text.
        after: the step that comes before.
        stdin: what the command reads, a name in braces for each secret; None for nothing.
    """

    name: str
    command: str
    files: Mapping[str, str]
    time_limit_seconds: int
    after: "Step | None" = None
    stdin: str | None = None

    @property
    def trigger(self) -> str:
        """Hash of all that the step does: it runs again when this changes, and only then."""
        told = [self.command, sorted(self.files.items())]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @property
    def way(self) -> list["Step"]:
        """All that comes before, in order, and the step itself."""
        return [*(self.after.way if self.after else []), self]


@dataclass(frozen=True)
class HostSteps:
    """The steps of a host: by what is so when they are done, and all of them in order.

    Attributes:
        booted: the server takes files; no other step's go up before.
        docker_installed: there is no reboot after it.
        docker_ready: Docker runs with its final configuration.
        pulled: by service, its image is on the server.
        driver_proved: driver and GPU were seen, on the host and in a container.
        password_followed: by database, a standing one has its present password.
        visitors_counted: the connections to the visitors' door, where there is one.
    """

    booted: Step
    docker_installed: Step
    docker_ready: Step
    pulled: Mapping[str, Step]
    driver_proved: Step
    keyfile_written: Step
    password_followed: Mapping[str, Step]
    visitors_counted: Step | None

    def __iter__(self) -> Iterator[Step]:
        last = [self.driver_proved, self.keyfile_written, *self.password_followed.values()]
        last += [self.visitors_counted] if self.visitors_counted else []
        steps = (step for end in [*self.pulled.values(), *last] for step in end.way)
        return iter(dict.fromkeys(steps))


def host_steps(
    settings: Settings, region: Region, images: Images, release: XinferenceRelease
) -> HostSteps:
    """The driver comes before everything that a reboot would interrupt; pulls run side by side."""
    runtime, minimum = "none", "none"
    booted = _step("wait-for-boot", 1800)
    ready = _step("base", 1200, region.apt_mirror, after=booted)
    if settings.gpus:
        runtime, minimum = "nvidia", str(release.minimum_driver)
        ready = _step("driver", 2400, NVIDIA_DRIVER_PACKAGE, minimum, after=ready)
        ready = _step("driver-ready", 300, minimum, after=ready)
    docker = _step("docker", 1800, region.docker_apt, region.docker_key, after=ready)
    toolkit = _step("toolkit", 1200, region.toolkit_repo, after=docker) if settings.gpus else docker
    config = {_DAEMON_JSON: _daemon_json(region.registry_mirrors, bool(settings.gpus))}
    daemon = _step("daemon", 600, _DAEMON_JSON, runtime, after=toolkit, files=config)
    pulled = {
        service: _step(f"pull-{service}", 5400, image.reference, after=daemon, runs="pull")
        for service, image in images.items()
    }
    return HostSteps(
        booted=booted,
        docker_installed=docker,
        docker_ready=daemon,
        pulled=pulled,
        # pg's image is small and has the C library that nvidia-smi wants; Alpine's would not do.
        driver_proved=_step("prove", 900, minimum, images["pg"].reference, after=pulled["pg"]),
        # After Docker: a reboot for the driver may come before it.
        keyfile_written=_step("mongo-keyfile", 60, after=docker, stdin="{mongo_key}"),
        # Enough for a database that has to start and recover first.
        password_followed={
            name: _step(
                f"db-password-{name}", 400, name, after=daemon, runs="db-password", stdin=secrets
            )
            for name, secrets in _DATABASE_SECRETS.items()
        },
        visitors_counted=_step("door", 60, after=daemon) if has_visitors_door(settings) else None,
    )


def script(name: str) -> str:
    """The text of one script as the server gets it: the common part, then its own."""
    return "\n".join((_SCRIPTS / f"{part}.sh").read_text("utf-8") for part in ("lib", name))


def _daemon_json(mirrors: Sequence[str], gpu: bool) -> str:
    """Docker's one configuration file: log rotation, mirrors, the GPU's runtime."""
    config = json.loads((_SCRIPTS / "daemon.json").read_bytes())
    if mirrors:
        config["registry-mirrors"] = mirrors
    if not gpu:
        del config["runtimes"]
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def _step(
    name: str,
    seconds: int,
    *arguments: str,
    after: Step | None = None,
    runs: str = "",
    files: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> Step:
    # A file of its own for each step: steps that run side by side must not write one file.
    path = f"{REMOTE_FOLDER}/host/{name}.sh"
    command = shlex.join(["timeout", "--kill-after=30", str(seconds), "bash", path, *arguments])
    return Step(name, command, {path: script(runs or name), **(files or {})}, seconds, after, stdin)
