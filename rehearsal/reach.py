"""The network outside of a rehearsed server: which hosts answer from where.

Reachability from the mainland as measured in `docs/facts/alicloud.md §3`. Times are short here: a
host that would keep a client waiting for minutes answers "timeout" at once.
"""

import json
import re
from pathlib import Path

_HOSTS: dict[str, list[str]] = json.loads(Path(__file__).with_suffix(".json").read_text())
"""Why not, to the hosts that do not answer for that reason; "" to those that do."""
_ALIYUN_REGISTRY = re.compile(
    r"registry(?P<vpc>-vpc)?\.(?P<region>[a-z]+-[a-z0-9-]+)\.aliyuncs\.com"
)
_HONG_KONG = "cn-hongkong"


def why_not(host: str, region: str) -> str:
    """Why `host` does not answer a server in `region`, "" where it does."""
    registry = _ALIYUN_REGISTRY.fullmatch(host)
    if registry:
        hidden = registry["vpc"] and registry["region"] != region
        return "no such host" if hidden else ""
    why = next((why for why, hosts in _HOSTS.items() if host in hosts), "no such host")
    on_the_mainland = region.startswith("cn-") and region != _HONG_KONG
    return why if on_the_mainland else why.removesuffix("timeout on the mainland")
