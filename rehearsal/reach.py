"""The network outside of a rehearsed server: which hosts answer from where.

Reachability from the mainland as measured in `docs/facts/alicloud.md §3`. Times are short here: a
host that would keep a client waiting for minutes answers "timed out" at once.
"""

from __future__ import annotations

import re
from enum import Enum


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
