"""Which container of a lab can open a connection to which: the matrix of docs/security.md."""

from collections.abc import Mapping

from provisioning.containers import Container


def networks(containers: Mapping[str, Container]) -> dict[str, set[str]]:
    """Network to the containers in it."""
    return {
        name: {name, *(n for n, other in containers.items() if name in other.reaches)}
        for name in containers
    }


def reached(containers: Mapping[str, Container]) -> dict[str, set[str]]:
    """Container to those that it can reach: they share a network, and the other listens in it."""
    members = networks(containers)

    def listens(name: str) -> list[str]:
        """The networks in which it answers."""
        if containers[name].environment.get("HOSTNAME") == f"{name}.own":
            return [name]
        return [network for network, who in members.items() if name in who]

    return {
        name: {
            other
            for other in containers.keys() - {name}
            if any(name in members[network] for network in listens(other))
        }
        for name in containers
    }


def printed(containers: Mapping[str, Container]) -> str:
    """As Markdown: `asks` where it is meant to, `could` where it shares a network all the same."""
    found, names = reached(containers), sorted(containers)
    rows = [["from \\ to", *names], ["---"] * (len(names) + 1)]
    for name in names:
        asks = containers[name].reaches
        cells = ("asks" if n in asks else "could" if n in found[name] else "" for n in names)
        rows.append([f"**{name}**", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
