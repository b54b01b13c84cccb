"""The network outside of a rehearsed server: which hosts answer from where.

Reachability from the mainland as measured in `docs/facts/alicloud.md §3`. Times are short here: a
host that would keep a client waiting for minutes answers "timed out" at once.
"""

import json
import re
from enum import Enum
from pathlib import Path


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


_HOSTS: dict[str, list[str]] = json.loads(Path(__file__).with_suffix(".json").read_text())
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
    if host in _HOSTS["gone"]:
        return Reach.NO_SUCH_HOST
    if host in _HOSTS["without_hub"]:
        return Reach.REFUSES_HUB
    if host in _HOSTS["blocked_on_the_mainland"]:
        return Reach.TIMEOUT if on_the_mainland(region) else Reach.OK
    if host == "ghcr.io":
        return Reach.RESET if on_the_mainland(region) else Reach.OK
    return Reach.OK if host in _HOSTS["everywhere"] else Reach.NO_SUCH_HOST
