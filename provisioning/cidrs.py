"""The networks that may come in: what no visitor's address can be, and what lets in too many."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, collapse_addresses, ip_network

from provisioning.problems import Problem, repeated
from provisioning.tables import table

_YOUR_OWN = "write the address that `curl -4 https://ifconfig.me` shows, followed by /32"
# Python's `is_private` counts the networks of benchmarks and manuals too.
_NOBODYS = table("nobodys_networks.json", dict[IPv4Network, str])
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
        network = ip_network(cidr.strip(), strict=False)
    except ValueError:
        right = f"write it like 198.18.0.5/32 or 198.18.0.0/24, or {_YOUR_OWN}"
        return Problem(path, f"{cidr[:40]!r} is not a network", right)
    if cidr != cidr.strip():
        return Problem(path, f"{cidr!r} has blanks around it", f"write {cidr.strip()}")
    if not isinstance(network, IPv4Network):
        right = f"the server has an IPv4 address only: {_YOUR_OWN}"
        return Problem(path, f"{cidr} is IPv6", right)
    address, slash, _ = cidr.partition("/")
    if address != str(network.network_address):
        right = f"write {network}, or {address}/32 for this address alone"
        return Problem(path, f"{cidr} has bits set behind its mask", right)
    if cidr != str(network):
        wrong = f"{cidr} has its mask spelled out" if slash else f"{cidr} has no mask"
        return Problem(path, wrong, f"write {network}")
    if network.prefixlen < _WIDE:
        many = f"{network.num_addresses:,} addresses" if network.prefixlen else "everybody"
        right = (
            f"name your own network, /{_WIDE} or narrower. To open the chat pages alone to "
            "everybody, set publicChat: true"
        )
        wrong = f"{network} would let {many} in"
        return Problem(path, wrong, right, warning=network.prefixlen >= _WIDEST)
    what = next((what for place, what in _NOBODYS.items() if network.subnet_of(place)), None)
    return Problem(path, f"{network} is {what}", _YOUR_OWN) if what else None
