"""The Debian packages that a rehearsed server can install: repository, version, what they bring."""

from __future__ import annotations

import re
from dataclasses import dataclass

KERNEL = "5.15.0-126-generic"
DOCKER_VERSION = "5:29.8.0-1~ubuntu.22.04~jammy"
TOOLKIT_VERSION = "1.20.0-1"
DRIVER_VERSIONS = {
    "535": "535.274.02",
    "550": "550.163.01",
    "570": "570.195.03",
    "580": "580.126.09",
}


@dataclass(frozen=True)
class Package:
    """One package.

    Attributes:
        repository: `ubuntu`, `docker` or `nvidia` (see `outside.repository`).
        commands: what it puts on PATH.
        depends: packages that come with it.
        services: units it brings; started when installed.
    """

    name: str
    repository: str
    version: str
    commands: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


def _ubuntu(*names: str) -> list[Package]:
    return [Package(name, "ubuntu", "1.0-0ubuntu22.04") for name in names]


_FIXED = {
    package.name: package
    for package in [
        *_ubuntu(
            "apt-transport-https",
            "apt-utils",
            "build-essential",
            "ca-certificates",
            "cloud-guest-utils",
            "cloud-init",
            "dkms",
            "e2fsprogs",
            "gcc",
            "git",
            "gnupg-agent",
            "htop",
            "iptables",
            "kmod",
            "lsof",
            "make",
            "nano",
            "needrestart",
            "nvidia-settings",
            "openssh-server",
            "openssl",
            "pciutils",
            "pigz",
            "python3",
            "python3-pip",
            "rsync",
            "software-properties-common",
            "systemd",
            "tmux",
            "tzdata",
            "unattended-upgrades",
            "unzip",
            "update-notifier-common",
            "vim",
            "xz-utils",
            "linux-generic",
            "linux-headers-generic",
            f"linux-headers-{KERNEL}",
            f"linux-image-{KERNEL}",
            f"linux-modules-{KERNEL}",
            f"linux-modules-extra-{KERNEL}",
        ),
        Package("curl", "ubuntu", "7.81.0-1ubuntu1.20", commands=("curl",)),
        Package("wget", "ubuntu", "1.21.2-2ubuntu1.1", commands=("wget",)),
        Package("gnupg", "ubuntu", "2.2.27-3ubuntu2.1", commands=("gpg",)),
        Package("gpg", "ubuntu", "2.2.27-3ubuntu2.1", commands=("gpg",)),
        Package("lsb-release", "ubuntu", "11.1.0ubuntu4", commands=("lsb_release",)),
        Package("psmisc", "ubuntu", "23.4-2build3", commands=("fuser",)),
        Package(
            "ubuntu-drivers-common", "ubuntu", "1:0.9.6.2~0.22.04.8", commands=("ubuntu-drivers",)
        ),
        Package(
            "docker-ce",
            "docker",
            DOCKER_VERSION,
            commands=("dockerd",),
            depends=("docker-ce-cli", "containerd.io"),
            services=("docker", "docker.socket"),
        ),
        Package("docker-ce-cli", "docker", DOCKER_VERSION, commands=("docker",)),
        Package("containerd.io", "docker", "2.2.1-1~ubuntu.22.04~jammy", services=("containerd",)),
        Package("docker-buildx-plugin", "docker", "0.31.0-1~ubuntu.22.04~jammy"),
        Package("docker-compose-plugin", "docker", "5.1.0-1~ubuntu.22.04~jammy"),
        Package("docker-ce-rootless-extras", "docker", DOCKER_VERSION),
        Package(
            "nvidia-container-toolkit",
            "nvidia",
            TOOLKIT_VERSION,
            commands=("nvidia-container-runtime",),
            depends=("nvidia-container-toolkit-base", "libnvidia-container-tools"),
        ),
        Package(
            "nvidia-container-toolkit-base", "nvidia", TOOLKIT_VERSION, commands=("nvidia-ctk",)
        ),
        Package(
            "libnvidia-container-tools",
            "nvidia",
            TOOLKIT_VERSION,
            depends=("libnvidia-container1",),
        ),
        Package("libnvidia-container1", "nvidia", TOOLKIT_VERSION),
    ]
}
_DRIVER = re.compile(r"nvidia-(driver|headless|utils|dkms)-(\d{3})(-server)?(-open)?")
_MODULES = re.compile(
    rf"linux-modules-nvidia-(\d{{3}})(-server)?(-open)?-(generic|{re.escape(KERNEL)})"
)


def find(name: str) -> Package | None:
    """The package of this name in any repository."""
    return _FIXED.get(name) or _driver_package(name) or _modules_package(name)


def _driver_package(name: str) -> Package | None:
    match = _DRIVER.fullmatch(name)
    if match is None or match[2] not in DRIVER_VERSIONS:
        return None
    part, branch, rest = match[1], match[2], f"{match[3] or ''}{match[4] or ''}"
    version = f"{DRIVER_VERSIONS[branch]}-0ubuntu0.22.04.1"
    utils = f"nvidia-utils-{branch}{match[3] or ''}"
    brings = {
        "driver": (utils, f"nvidia-dkms-{branch}{rest}"),
        "headless": (f"nvidia-dkms-{branch}{rest}",),
        "dkms": ("dkms",),
    }
    commands = ("nvidia-smi",) if part == "utils" else ()
    return Package(name, "ubuntu", version, commands, brings.get(part, ()))


def _modules_package(name: str) -> Package | None:
    match = _MODULES.fullmatch(name)
    if match is None or match[1] not in DRIVER_VERSIONS:
        return None
    return Package(name, "ubuntu", f"{KERNEL}+1")


def driver_module(installed: dict[str, str]) -> str | None:
    """Version of the kernel module that the installed packages give for the running kernel.

    DKMS builds it only where the running kernel's headers are there; Ubuntu's ready-made modules
    come in a package of their own (docs/facts/alicloud.md §2.4 B2).
    """
    headers = {f"linux-headers-{KERNEL}", "linux-headers-generic"} & installed.keys()
    for name in installed:
        dkms = re.fullmatch(r"nvidia-dkms-(\d{3}).*", name)
        ready = _MODULES.fullmatch(name)
        if (dkms and headers) or ready:
            branch = (dkms or ready)[1]  # type: ignore[index]
            return DRIVER_VERSIONS[branch]
    return None


def driver_tools(installed: dict[str, str]) -> str | None:
    """Version of the installed `nvidia-smi` and its library."""
    for name in installed:
        match = re.fullmatch(r"nvidia-utils-(\d{3}).*", name)
        if match:
            return DRIVER_VERSIONS[match[1]]
    return None


PREINSTALLED = (
    "apt-utils",
    "ca-certificates",
    "cloud-guest-utils",
    "cloud-init",
    "curl",
    "e2fsprogs",
    "gnupg",
    "gpg",
    "iptables",
    "kmod",
    "linux-generic",
    f"linux-image-{KERNEL}",
    f"linux-modules-{KERNEL}",
    "lsb-release",
    "needrestart",
    "openssh-server",
    "openssl",
    "pciutils",
    "psmisc",
    "python3",
    "systemd",
    "tzdata",
    "unattended-upgrades",
    "wget",
)
"""What the plain image has."""


def on_gpu_image(image: str) -> tuple[str, ...]:
    """What Alibaba's GPU image of this id adds; the 24.04 one also has `DOCKER_ON_GPU_IMAGE`."""
    named = re.search(r"driver_(\d{3})\.", image)
    return (f"nvidia-driver-{named[1] if named else 580}-server", f"linux-headers-{KERNEL}")


DOCKER_ON_GPU_IMAGE = (
    "docker-ce",
    "docker-buildx-plugin",
    "docker-compose-plugin",
    "nvidia-container-toolkit",
)
