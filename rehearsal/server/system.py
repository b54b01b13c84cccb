"""The operating system of a rehearsed server: packages, services, driver, and its file tree."""

from __future__ import annotations

import json
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rehearsal.containers import chown, toolbox
from rehearsal.server import packages

_CLIENT = Path(__file__).with_name("client.py")
_FOLDERS = [
    "boot",
    "dev",
    "etc/apt/keyrings",
    "etc/apt/sources.list.d",
    "etc/apt/apt.conf.d",
    "etc/docker",
    "etc/ssh",
    "etc/sysctl.d",
    "etc/systemd/system",
    "home",
    "opt",
    "proc",
    "root/.ssh",
    "run",
    "srv",
    "tmp",
    "usr/bin",
    "usr/local/bin",
    "usr/share/keyrings",
    "var/lib/dpkg",
    "var/lib/apt/lists",
    "var/log",
    "var/tmp",
]
_ALWAYS = [
    "apt",
    "apt-cache",
    "apt-get",
    "apt-mark",
    "cloud-init",
    "dpkg",
    "dpkg-query",
    "fuser",
    "growpart",
    "hostname",
    "hostnamectl",
    "journalctl",
    "lsmod",
    "lspci",
    "modprobe",
    "needrestart",
    "reboot",
    "sshd",
    "resize2fs",
    "service",
    "shutdown",
    "sysctl",
    "systemctl",
    "update-initramfs",
    "usermod",
]
_HINT = "\\${LAB_ROOT:-}"

SCRIPTS = {
    "id": """#!/bin/sh
case "$*" in -u|-g) echo 0 ;; -un|-gn) echo root ;;
"") echo "uid=0(root) gid=0(root) groups=0(root)" ;; *) exec %(id)s "$@" ;; esac
""",
    "whoami": "#!/bin/sh\necho root\n",
    "nproc": "#!/bin/sh\necho 16\n",
    "arch": "#!/bin/sh\necho x86_64\n",
    "sudo": """#!/bin/sh
while :; do case $1 in -n|-E|-H|-S) shift ;; -u) shift 2 ;; --) shift; break ;;
-*) echo "sudo: unknown option $1" >&2; exit 1 ;; *) break ;; esac; done
exec env "$@"
""",
    "uname": """#!/bin/sh
case $1 in ""|-s) echo Linux ;; -r) echo %(kernel)s ;; -m|-p|-i) echo x86_64 ;; -n) hostname ;;
-a) echo "Linux $(hostname) %(kernel)s #136-Ubuntu SMP x86_64 x86_64 x86_64 GNU/Linux" ;;
*) echo "uname: invalid option '$1'" >&2; exit 1 ;; esac
""",
    "install": """#!/bin/sh
# Owners cannot be set without root: they are dropped, the rest is real.
n=$#
while [ "$n" -gt 0 ]; do
  a=$1; shift; n=$((n-1))
  case $a in
    -o|-g|--owner|--group) shift; n=$((n-1)) ;;
    -o*|-g*|--owner=*|--group=*) ;;
    "$LAB_ROOT"/*|/dev/*) set -- "$@" "$a" ;;
    /*) echo "install: $a is outside of the rehearsed tree: write %(hint)s$a" >&2; exit 1 ;;
    *) set -- "$@" "$a" ;;
  esac
done
exec %(install)s "$@"
""",
}


@dataclass
class Unit:
    """A systemd unit."""

    name: str
    active: bool = True
    enabled: bool = True
    masked: bool = False
    failed: bool = False


class AptLock:
    """dpkg's lock. At boot unattended-upgrades holds it for a moment."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._holder: str | None = None
        self._until = 0.0

    def hold_at_boot(self, seconds: float) -> None:
        """Let unattended-upgrades have it for some seconds."""
        with self._condition:
            self._holder, self._until = "unattended-upgr", time.monotonic() + seconds

    def let_go(self) -> None:
        """unattended-upgrades was stopped."""
        with self._condition:
            if self._holder == "unattended-upgr":
                self._holder = None
            self._condition.notify_all()

    def holder(self) -> str | None:
        """The name of the process that has it."""
        with self._condition:
            return self._current()

    def _current(self) -> str | None:
        if self._holder == "unattended-upgr" and time.monotonic() >= self._until:
            self._holder = None
        return self._holder

    def take(self, process: str, timeout: float) -> str | None:
        """Get the lock; the name of who still has it after `timeout` seconds, else None."""
        deadline = time.monotonic() + timeout
        with self._condition:
            while self._current() is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return self._holder
                self._condition.wait(min(left, 0.05))
            self._holder = process
            return None

    def release(self) -> None:
        """Give it back."""
        with self._condition:
            self._holder = None
            self._condition.notify_all()


@dataclass
class System:
    """What an Ubuntu server knows about itself.

    Attributes:
        root: its file tree.
        image: the image it was made from; one with `gpu` in its name has the driver.
        socket: where the rehearsed commands reach the world.
        packages: installed ones, name to version.
        lists: repositories that the last `apt-get update` could read.
        loaded_driver: version of the kernel module in use.
    """

    root: Path
    region: str
    image: str
    gpus: list[dict[str, Any]]
    socket: str
    hostname: str
    packages: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    lists: set[str] = field(default_factory=set)
    units: dict[str, Unit] = field(default_factory=dict)
    apt_lock: AptLock = field(default_factory=AptLock)
    cloud_init_done: threading.Event = field(default_factory=threading.Event)
    loaded_driver: str | None = None
    start_service: Callable[[str], str | None] = lambda _: None
    stop_service: Callable[[str], None] = lambda _: None
    notes: list[str] = field(default_factory=list)
    """What the journal says about failed services."""

    @property
    def has_gpu_image(self) -> bool:
        """Whether the image came with a driver."""
        return "gpu" in self.image.lower()

    @property
    def release(self) -> tuple[str, str]:
        """Number and code name."""
        return ("24.04", "noble") if "24_04" in self.image else ("22.04", "jammy")

    def install_image(self) -> None:
        """Lay out the file tree of a new server."""
        for folder in _FOLDERS:
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "root/.ssh").chmod(0o700)
        self._write_etc()
        toolbox.fill(self.root / "usr/bin", "LAB_ROOT", _HINT)
        self._write_scripts()
        for unit in ("ssh", "unattended-upgrades", "apt-daily.timer", "apt-daily-upgrade.timer"):
            self.units[unit] = Unit(unit)
        for unit in ("apt-daily.service", "apt-daily-upgrade.service"):
            self.units[unit.removesuffix(".service")] = Unit(unit, active=False)
        wanted = list(packages.PREINSTALLED)
        if self.has_gpu_image:
            wanted += packages.on_gpu_image(self.image)
            wanted += packages.DOCKER_ON_GPU_IMAGE if self.release[0] == "24.04" else ()
        for name in wanted:
            self.add(name)

    def _write_etc(self) -> None:
        number, name = self.release
        files = {
            "etc/os-release": f'PRETTY_NAME="Ubuntu {number} LTS"\nNAME="Ubuntu"\n'
            f'VERSION_ID="{number}"\nVERSION_CODENAME={name}\nID=ubuntu\nID_LIKE=debian\n'
            f"UBUNTU_CODENAME={name}\n",
            "etc/hostname": f"{self.hostname}\n",
            "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {self.hostname}\n",
            "etc/apt/sources.list": "".join(
                f"deb http://mirrors.cloud.aliyuncs.com/ubuntu/ {name}{pocket} main universe\n"
                for pocket in ("", "-updates", "-security")
            ),
            "etc/ssh/sshd_config": "PermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\nAcceptEnv LANG LC_*\n",
            "etc/sysctl.conf": "",
            "var/lib/dpkg/lock-frontend": "",
            "var/lib/dpkg/lock": "",
        }
        for place, text in files.items():
            (self.root / place).write_text(text)

    def _write_scripts(self) -> None:
        folder = self.root / "usr/bin"
        words = {"kernel": packages.KERNEL, "hint": _HINT, "id": "/usr/bin/id"}
        words["install"] = "/usr/bin/install"
        for name, text in SCRIPTS.items():
            (folder / name).unlink(missing_ok=True)
            toolbox.script(folder / name, text % words)
        toolbox.script(folder / "python3", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        for name in ("chown", "chgrp"):
            command = shlex.join([sys.executable, "-I", "-S", chown.__file__, name])
            toolbox.script(folder / name, f'#!/bin/sh\nexec {command} "$@"\n')
        for name in _ALWAYS:
            self.add_command(name)

    def add_command(self, name: str) -> None:
        """Put a rehearsed command on PATH."""
        command = shlex.join([sys.executable, "-I", "-S", str(_CLIENT), self.socket, name])
        place = self.root / "usr/bin" / name
        place.unlink(missing_ok=True)
        toolbox.script(place, f'#!/bin/sh\nexec {command} "$@"\n')

    def add(self, name: str) -> list[str]:
        """Install a package and what it depends on; the names of those that are new."""
        package = packages.find(name)
        if package is None or name in self.packages:
            return []
        new = [added for other in package.depends for added in self.add(other)]
        self.packages[name] = package.version
        for command in package.commands:
            self.add_command(command)
        for service in package.services:
            self.units[service] = Unit(service)
        return [*new, name]

    def remove(self, name: str) -> None:
        """Remove a package, its commands and services."""
        package = packages.find(name)
        self.packages.pop(name, None)
        for command in package.commands if package else ():
            (self.root / "usr/bin" / command).unlink(missing_ok=True)
        for service in package.services if package else ():
            self.stop_service(service)
            self.units.pop(service, None)

    def load_driver(self) -> bool:
        """Load the kernel module, as `modprobe nvidia` does; False where there is none."""
        module = packages.driver_module(self.packages)
        if module is None or not self.gpus:
            return False
        self.loaded_driver = self.loaded_driver or module
        return True

    def container_gpus(self) -> list[dict[str, Any]] | None:
        """The GPUs that containers can be given; None without the container toolkit."""
        if "nvidia-container-toolkit" not in self.packages:
            return None
        return self.gpus if self.loaded_driver else []

    def daemon_config(self) -> dict[str, Any]:
        """The content of daemon.json.

        Raises:
            ConfigError: the daemon would not start with it.
        """
        place = self.root / "etc/docker/daemon.json"
        return read_daemon_config(place) if place.exists() else {}


class ConfigError(Exception):
    """Docker's daemon does not start with this configuration."""


_TYPES: dict[str, type | tuple[type, ...]] = {
    "bip": str,
    "cgroup-parent": str,
    "containerd": str,
    "data-root": str,
    "debug": bool,
    "default-address-pools": list,
    "default-runtime": str,
    "default-shm-size": (str, int),
    "default-ulimits": dict,
    "dns": list,
    "exec-opts": list,
    "experimental": bool,
    "features": dict,
    "hosts": list,
    "insecure-registries": list,
    "ip-forward": bool,
    "iptables": bool,
    "ipv6": bool,
    "labels": list,
    "live-restore": bool,
    "log-driver": str,
    "log-format": str,
    "log-level": str,
    "log-opts": dict,
    "max-concurrent-downloads": int,
    "max-concurrent-uploads": int,
    "max-download-attempts": int,
    "metrics-addr": str,
    "mtu": int,
    "no-new-privileges": bool,
    "proxies": dict,
    "registry-mirrors": list,
    "runtimes": dict,
    "shutdown-timeout": int,
    "storage-driver": str,
    "storage-opts": list,
    "userland-proxy": bool,
}


def read_daemon_config(place: Path) -> dict[str, Any]:
    """Docker's configuration file, checked as `dockerd --validate` does.

    Raises:
        ConfigError: with the daemon's words.
    """
    name = "/etc/docker/daemon.json"
    start = f"unable to configure the Docker daemon with file {name}:"
    try:
        config = json.loads(place.read_text() or "{}")
    except ValueError as error:
        raise ConfigError(f"{start} invalid character in JSON: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{start} json: cannot unmarshal array into Go value of type map")
    unknown = sorted(config.keys() - _TYPES.keys())
    if unknown:
        raise ConfigError(
            f"{start} the following directives don't match any configuration option: "
            f"{', '.join(unknown)}"
        )
    for key, value in config.items():
        if not isinstance(value, _TYPES[key]) or (_TYPES[key] is int and isinstance(value, bool)):
            raise ConfigError(f"{start} json: cannot unmarshal value of {key} into its Go type")
    _check_values(config, start)
    return config


def _check_values(config: dict[str, Any], start: str) -> None:
    for key, value in config.get("log-opts", {}).items():
        if not isinstance(value, str):
            raise ConfigError(
                f"{start} json: cannot unmarshal number into Go struct field Config.log-opts.{key} "
                "of type string"
            )
    for mirror in config.get("registry-mirrors", []):
        if not re.fullmatch(r"https?://[\w.-]+(:\d+)?/?", str(mirror)):
            raise ConfigError(f"{start} invalid mirror: {mirror!r}")
