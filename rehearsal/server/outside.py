"""The network outside of a rehearsed server: which hosts answer from where, and what they serve.

Reachability from the mainland as measured in `docs/facts/alicloud.md §3`. Times are short here: a
host that would keep a client waiting for minutes answers "timed out" at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit


class Reach(Enum):
    """How a host answers."""

    OK = "ok"
    TIMEOUT = "timeout"
    """Blocked or out of reach: packets vanish."""
    NO_SUCH_HOST = "no such host"
    REFUSES_HUB = "refuses hub"
    """Lives, but does not serve Docker Hub (any more): 403 on /v2/."""
    RESET = "reset"
    """Answers slowly and cuts large transfers."""


_EVERYWHERE = frozenset(
    {
        "archive.ubuntu.com",
        "docker.1ms.run",
        "docker.m.daocloud.io",
        "hf-mirror.com",
        "mirrors.aliyun.com",
        "mirrors.cloud.aliyuncs.com",
        "mirrors.tuna.tsinghua.edu.cn",
        "mirrors.ustc.edu.cn",
        "modelscope.cn",
        "pypi.tuna.tsinghua.edu.cn",
        "security.ubuntu.com",
        "www.modelscope.cn",
        "100.100.100.200",
    }
)
_BLOCKED_ON_THE_MAINLAND = frozenset(
    {
        "auth.docker.io",
        "developer.download.nvidia.com",
        "docker.io",
        "download.docker.com",
        "gcr.io",
        "get.docker.com",
        "github.com",
        "huggingface.co",
        "nvidia.github.io",
        "openaipublic.blob.core.windows.net",
        "production.cloudflare.docker.com",
        "raw.githubusercontent.com",
        "registry-1.docker.io",
    }
)
_GONE = frozenset({"dockerproxy.com", "registry.docker-cn.com", "docker.mirrors.ustc.edu.cn"})
_WITHOUT_HUB = frozenset({"docker.nju.edu.cn", "hub-mirror.c.163.com", "mirror.baidubce.com"})
_ALIYUN_REGISTRY = re.compile(
    r"registry(?P<vpc>-vpc)?\.(?P<region>[a-z]+-[a-z0-9-]+)\.aliyuncs\.com"
)
_HONG_KONG = "cn-hongkong"


def on_the_mainland(region: str) -> bool:
    """Whether a region lies behind the mainland's network."""
    return region.startswith("cn-") and region != _HONG_KONG


def reach(host: str, region: str) -> Reach:
    """How `host` answers a server in `region`."""
    registry = _ALIYUN_REGISTRY.fullmatch(host)
    if registry:
        hidden = registry["vpc"] and registry["region"] != region
        return Reach.NO_SUCH_HOST if hidden else Reach.OK
    if host in _GONE:
        return Reach.NO_SUCH_HOST
    if host in _WITHOUT_HUB:
        return Reach.REFUSES_HUB
    if host in _BLOCKED_ON_THE_MAINLAND:
        return Reach.TIMEOUT if on_the_mainland(region) else Reach.OK
    if host == "ghcr.io":
        return Reach.RESET if on_the_mainland(region) else Reach.OK
    return Reach.OK if host in _EVERYWHERE else Reach.NO_SUCH_HOST


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes = b""


class Unreachable(Exception):
    """The connection failed.

    Attributes:
        reach: how.
        host, port: to whom.
    """

    def __init__(self, how: Reach, host: str, port: int) -> None:
        super().__init__(f"{host}:{port}: {how.value}")
        self.reach, self.host, self.port = how, host, port


def get(url: str, region: str) -> Answer:
    """What `url` answers to a GET from a server in `region`.

    Raises:
        Unreachable: nobody answers.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    how = reach(host, region)
    # The mirror inside the cloud's network listens on port 80 only.
    if host == "mirrors.cloud.aliyuncs.com" and secure:
        how = Reach.TIMEOUT
    if how in (Reach.TIMEOUT, Reach.NO_SUCH_HOST):
        raise Unreachable(how, host, port)
    return _served(host, parts.path or "/", how)


def _served(host: str, path: str, how: Reach) -> Answer:
    if path == "/v2/":
        return Answer(403 if how is Reach.REFUSES_HUB else 401)
    owner = key_owner(host, path)
    if owner:
        return Answer(200, armored_key(owner))
    if repository(host, path.rsplit("/", 1)[0]) is None and path.endswith(".list"):
        return _toolkit_list(host, path)
    return Answer(200) if path == "/" else Answer(404, b"404 Not Found")


_DOCKER_HOSTS = frozenset(
    {
        "download.docker.com",
        "mirrors.aliyun.com",
        "mirrors.cloud.aliyuncs.com",
        "mirrors.tuna.tsinghua.edu.cn",
        "mirrors.ustc.edu.cn",
    }
)
_TOOLKIT_HOSTS = frozenset({"mirrors.ustc.edu.cn", "nvidia.github.io"})
_UBUNTU_HOSTS = frozenset(
    {
        "archive.ubuntu.com",
        "mirrors.aliyun.com",
        "mirrors.cloud.aliyuncs.com",
        "mirrors.tuna.tsinghua.edu.cn",
        "mirrors.ustc.edu.cn",
        "security.ubuntu.com",
    }
)


def _docker_folder(host: str) -> str:
    return "/linux/ubuntu" if host == "download.docker.com" else "/docker-ce/linux/ubuntu"


def key_owner(host: str, path: str) -> str | None:
    """Whose package signing key lies there: `docker`, `nvidia`, or nobody's."""
    if host in _DOCKER_HOSTS and path == f"{_docker_folder(host)}/gpg":
        return "docker"
    if host in _TOOLKIT_HOSTS and path == "/libnvidia-container/gpgkey":
        return "nvidia"
    return None


def repository(host: str, path: str) -> str | None:
    """Which package repository lies there: `docker`, `nvidia`, `ubuntu`, or none.

    Args:
        path: the address of an apt source, without its suite.
    """
    path = path.rstrip("/")
    if host in _DOCKER_HOSTS and path == _docker_folder(host):
        return "docker"
    if host in _TOOLKIT_HOSTS and path == "/libnvidia-container/stable/deb/amd64":
        return "nvidia"
    if host in _UBUNTU_HOSTS and path == "/ubuntu":
        return "ubuntu"
    return None


def _toolkit_list(host: str, path: str) -> Answer:
    """The file that mirrors serve unchanged: it points at the original host, and needs a key."""
    wanted = "/libnvidia-container/stable/deb/nvidia-container-toolkit.list"
    if host not in _TOOLKIT_HOSTS or path != wanted:
        return Answer(404, b"404 Not Found")
    return Answer(
        200,
        b"deb https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH) /\n"
        b"#deb https://nvidia.github.io/libnvidia-container/experimental/deb/$(ARCH) /\n",
    )


_ARMOR = (
    "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n"
    "rehearsal/{owner}\n"
    "-----END PGP PUBLIC KEY BLOCK-----\n"
)


def armored_key(owner: str) -> bytes:
    """A signing key in text form, as `.asc` files hold it."""
    return _ARMOR.format(owner=owner).encode()


def binary_key(owner: str) -> bytes:
    """A signing key in binary form, as `.gpg` files hold it."""
    return b"\x99\x02\x0d\x04" + f"rehearsal/{owner}".encode()


def owner_of_key(content: bytes) -> tuple[str, bool] | None:
    """Whose key a file holds and whether it is the text form; None where it holds no key."""
    found = re.search(rb"rehearsal/(\w+)", content)
    if found is None:
        return None
    armored = content.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    return (found[1].decode(), armored) if armored or content[:1] == b"\x99" else None
