"""The networks that may come in: what no visitor's address can be, and what lets in too many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, collapse_addresses, ip_network

from provisioning.problems import Problem, repeated

_YOUR_OWN = "write the address that `curl -4 https://ifconfig.me` shows, followed by /32"
# Python's `is_private` counts the networks of benchmarks and manuals too.
_NOBODYS = {
    "10.0.0.0/8": "a private network, which the server never sees",
    "172.16.0.0/12": "a private network, which the server never sees",
    "192.168.0.0/16": "a private network, which the server never sees",
    "100.64.0.0/10": "your provider's inner network, which the server never sees",
    "127.0.0.0/8": "a loopback address: every machine's own, and no other's",
    "169.254.0.0/16": "a link-local network, which ends at the next router",
    "224.0.0.0/4": "a multicast network, from which nobody calls",
    "240.0.0.0/4": "reserved, so nobody calls from there",
    "0.0.0.0/8": "nobody's network",
    "192.0.2.0/24": "the example from the manual, nobody's address",
    "198.51.100.0/24": "the example from the manual, nobody's address",
    "203.0.113.0/24": "the example from the manual, nobody's address",
}
# The largest blocks that were ever given to one organisation; and what is larger than the address
# pools of most providers, so that whole countries come in by mistake.
_WIDEST, _WIDE = 8, 16


def cidr_problems(path: str, cidrs: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with the networks of the setting `path`, each alone and all together."""
    right: list[IPv4Network] = []
    for index, cidr in enumerate(cidrs):
        problem = _cidr_problem(f"{path}[{index}]", cidr)
        if problem is not None:
            yield problem
        if problem is None or problem.warning:
            right.append(IPv4Network(cidr))
    yield from repeated(path, cidrs)
    if sum(network.num_addresses for network in collapse_addresses(right)) > 2 ** (32 - _WIDEST):
        wrong = f"together they let in more than a /{_WIDEST}"
        yield Problem(path, wrong, "name fewer, or narrower ones")


def _cidr_problem(path: str, cidr: str) -> Problem | None:
    try:
        network = ip_network(cidr)
    except ValueError:
        return _not_canonical(path, cidr)
    if not isinstance(network, IPv4Network):
        right = f"the server has an IPv4 address only: {_YOUR_OWN}"
        return Problem(path, f"{cidr} is IPv6", right)
    if cidr != str(network):
        wrong = f"{cidr} has no mask" if "/" not in cidr else f"{cidr} has its mask spelled out"
        return Problem(path, wrong, f"write {network}")
    return _wide(path, network) or _nobodys(path, network)


def _not_canonical(path: str, cidr: str) -> Problem:
    try:
        network = ip_network(cidr.strip(), strict=False)
    except ValueError:
        right = f"write it like 198.18.0.5/32 or 198.18.0.0/24, or {_YOUR_OWN}"
        return Problem(path, f"{cidr[:40]!r} is not a network", right)
    if cidr != cidr.strip():
        return Problem(path, f"{cidr!r} has blanks around it", f"write {cidr.strip()}")
    alone = f"{cidr.split('/')[0]}/{network.max_prefixlen}"
    right = f"write {network}, or {alone} for this address alone"
    return Problem(path, f"{cidr} has bits set behind its mask", right)


def _wide(path: str, network: IPv4Network) -> Problem | None:
    if network.prefixlen >= _WIDE:
        return None
    wrong = f"{network} would let {network.num_addresses:,} addresses manage models and keys"
    if network.prefixlen == 0:
        wrong = f"{network} would let everybody manage models and keys"
    right = (
        f"name your own network, /{_WIDE} or narrower. To open the chat pages alone to everybody, "
        "set publicChat: true"
    )
    return Problem(path, wrong, right, warning=network.prefixlen >= _WIDEST)


def _nobodys(path: str, network: IPv4Network) -> Problem | None:
    for place, what in _NOBODYS.items():
        if network.subnet_of(IPv4Network(place)):
            return Problem(path, f"{network} is {what}", _YOUR_OWN)
    return None
