"""The networks that may come in: what no visitor's address can be, and what lets in too many."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from provisioning.problems import Problem, repeated

_PLACEHOLDERS = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
_FORM = "write it like 203.0.113.5/32 or 198.18.0.0/24"


def cidr_problems(path: str, cidrs: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with the networks of the setting `path`."""
    for index, cidr in enumerate(cidrs):
        if (wrong := _cidr_problem(cidr)) is not None:
            yield Problem(f"{path}[{index}]", *wrong)
    yield from repeated(path, cidrs)


def _cidr_problem(cidr: str) -> tuple[str, str] | None:
    """What is wrong, and what would be right."""
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError:
        return _not_canonical(cidr)
    if network.version == 6:
        return f"{cidr} is IPv6", "give an IPv4 network: the server has an IPv4 address only"
    if network.prefixlen == 0:
        return (
            f"{cidr} would let everybody manage models and keys",
            "name your own network, such as 203.0.113.5/32. To open the chat pages alone, "
            "set publicChat: true",
        )
    if "/" not in cidr:
        return f"{cidr} has no mask", f"write {cidr}/32"
    if any(network.subnet_of(ipaddress.ip_network(p)) for p in _PLACEHOLDERS):  # type: ignore[arg-type]
        return (
            f"{cidr} is the example from the manual, nobody's address",
            "put your own there (`curl -4 https://ifconfig.me` shows it), followed by /32",
        )
    return None


def _not_canonical(cidr: str) -> tuple[str, str]:
    try:
        network = ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return f"{cidr!r} is not a network", _FORM
    return f"{cidr} has bits set behind its mask", f"the network is {network}"
