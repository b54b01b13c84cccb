"""Clients of FastGPT, one an edition: root's session, and the visitor's side of a share link."""

from provisioning.clients.fastgpt.current import CurrentClient as CurrentClient
from provisioning.clients.fastgpt.protocol import FastGptClient as FastGptClient
from provisioning.clients.fastgpt.seeds import SeedsClient as SeedsClient
from provisioning.editions import EditionName

_CLIENTS: dict[EditionName, type[FastGptClient]] = {
    "seeds": SeedsClient,
    "current": CurrentClient,
}


def client_class(edition: EditionName) -> type[FastGptClient]:
    """The client of an edition."""
    return _CLIENTS[edition]
