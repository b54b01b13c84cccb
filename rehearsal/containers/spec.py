"""What a container was asked to be, as the engine keeps it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rehearsal.docker.durations import SECOND

Json: TypeAlias = Any
"""Anything that JSON can hold; also what is only handed through."""


class EngineError(Exception):
    """What the daemon answers. `status` is the HTTP status of Docker's API."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


class NotFound(EngineError):
    """No such image, container, network or volume."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 404)


@dataclass(frozen=True)
class Port:
    """A published port. `ip` is the host address it is bound to."""

    internal: int
    external: int
    ip: str = "0.0.0.0"
    protocol: str = "tcp"


@dataclass(frozen=True)
class Mount:
    """A volume (`source` is its name) or a bind mount (`source` is an absolute host path)."""

    target: str
    source: str
    read_only: bool = False

    @property
    def is_bind(self) -> bool:
        """Whether the source is a host path."""
        return self.source.startswith("/")


@dataclass(frozen=True)
class HealthCheck:
    """Durations in nanoseconds; 0 means Docker's default."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

    @property
    def off(self) -> bool:
        """Whether the test is switched off."""
        return not self.test or self.test[0] == "NONE"


@dataclass(frozen=True)
class RestartPolicy:
    """`maximum` counts for on-failure only; 0 is without end."""

    name: str = "no"
    maximum: int = 0


@dataclass(frozen=True)
class Spec:
    """A container's configuration. Memory in bytes; empty command or entrypoint is the image's."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    hostname: str = ""
    user: str = ""
    working_dir: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    network_mode: str = "bridge"
    networks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    hosts: tuple[str, ...] = ()
    health: HealthCheck | None = None
    restart: RestartPolicy = RestartPolicy()
    log_driver: str = "json-file"
    log_options: dict[str, str] = field(default_factory=dict)
    gpus: str = ""
    memory: int = 0
    memory_swap: int = 0
    shm_size: int = 64 * 1024 * 1024
    stop_signal: str = ""
    stop_timeout: int = 10
    init: bool = False
    auto_remove: bool = False


_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_SIZE = re.compile(r"\d+(\.\d+)?\s*[bkmgtBKMGT]?")
_LOG_OPTIONS = {
    "json-file": {"max-size", "max-file", "compress", "labels", "labels-regex", "env", "tag"},
    "local": {"max-size", "max-file", "compress"},
    "none": set[str](),
}
_LEAST_MEMORY = 6 * 1024 * 1024


def validate(spec: Spec) -> None:
    """Refuse what the daemon refuses.

    Raises:
        EngineError: with the daemon's text.
    """
    if not _NAME.fullmatch(spec.name):
        raise EngineError(
            f"Invalid container name ({spec.name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", 400
        )
    check_log_options(spec.log_driver, spec.log_options)
    _check_restart(spec)
    _check_memory(spec)
    if spec.health and not spec.health.off:
        _check_health(spec.health)
    for mount in spec.mounts:
        if not mount.target.startswith("/"):
            raise EngineError(
                f"invalid mount config for type: invalid mount path: '{mount.target}' "
                "mount path must be absolute",
                400,
            )


def check_log_options(driver: str, options: dict[str, Any]) -> None:
    """Refuse log options that the driver does not know, or that are not strings."""
    if driver not in _LOG_OPTIONS:
        raise EngineError(
            f"failed to create task for container: failed to initialize logging driver: logger: "
            f"no log driver named '{driver}' is registered"
        )
    for name, value in options.items():
        if name not in _LOG_OPTIONS[driver]:
            raise EngineError(f"unknown log opt '{name}' for {driver} log driver", 400)
        if not isinstance(value, str):
            raise EngineError(
                f"json: cannot unmarshal {_go_type(value)} into Go value of type string", 400
            )
    size = options.get("max-size")
    if size is not None and not _SIZE.fullmatch(size):
        raise EngineError(f"invalid size: '{size}'", 400)
    count = options.get("max-file")
    if count is not None and not (count.isdigit() and int(count) >= 1):
        raise EngineError("max-file cannot be less than 1", 400)


def _go_type(value: object) -> str:
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else "value"


def _check_restart(spec: Spec) -> None:
    if spec.restart.name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise EngineError(
            f"invalid restart policy: unknown policy '{spec.restart.name}'; use one of 'no', "
            "'always', 'on-failure', or 'unless-stopped'",
            400,
        )
    if spec.auto_remove and spec.restart.name not in ("", "no"):
        raise EngineError("can't create 'AutoRemove' container with restart policy", 400)


def _check_memory(spec: Spec) -> None:
    if 0 < spec.memory < _LEAST_MEMORY:
        raise EngineError("Minimum memory limit allowed is 6MB", 400)
    if spec.memory_swap > 0 and not spec.memory:
        raise EngineError(
            "You should always set the Memory limit when using Memoryswap limit, see usage", 400
        )
    if 0 < spec.memory_swap < spec.memory:
        raise EngineError(
            "Minimum memoryswap limit should be larger than memory limit, see usage", 400
        )


def _check_health(check: HealthCheck) -> None:
    if check.test[0] not in ("CMD", "CMD-SHELL"):
        raise EngineError(
            f"invalid Healthcheck: unknown type of health check: {check.test[0]!r}", 400
        )
    names = ("Interval", "Timeout", "StartPeriod", "StartInterval")
    values = (check.interval, check.timeout, check.start_period, check.start_interval)
    for name, value in zip(names, values, strict=True):
        if value != 0 and value < SECOND // 1000:
            raise EngineError(f"{name} in Healthcheck cannot be less than 1ms", 400)
    if check.retries < 0:
        raise EngineError("Retries in Healthcheck cannot be negative", 400)
