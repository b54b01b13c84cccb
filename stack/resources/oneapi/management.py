"""What OneAPI's channels and tokens share: the way to its management interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from provisioning.clients.oneapi import ENABLED, OneApiClient
from stack.resources.declaration import OUTPUT, REACH, SECRET, Endpoint, Lab
from stack.resources.named import NamedThing
from stack.resources.named import Row as NamedRow

if TYPE_CHECKING:
    from typing_extensions import Self

Row = TypeVar("Row", bound=NamedRow)


def management(lab: Lab, endpoint: Endpoint, access_token: str) -> OneApiClient:
    """A client of OneAPI's management interface."""
    return OneApiClient(
        lab.address(endpoint),
        access_token=access_token,
        transport=lab.transport,
        clock=lab.clock,
    )


@dataclass(frozen=True, kw_only=True)
class Managed(NamedThing[OneApiClient, Row]):
    """A channel or token. `status` is 1 where it is enabled; anything else is drift."""

    made_again: ClassVar[Mapping[str, Any] | None] = {}

    endpoint: Annotated[Endpoint, REACH]
    access_token: Annotated[str, REACH, SECRET]
    status: Annotated[int, OUTPUT] = ENABLED

    @property
    def id(self) -> str:
        """Its name."""
        return self.name

    def client(self, lab: Lab) -> OneApiClient:
        """See `NamedThing.client`."""
        return management(lab, self.endpoint, self.access_token)

    def drift(self, lab: Lab, wanted: Self) -> frozenset[str]:
        """Disabled, or there more than once."""
        disabled = frozenset({"status"}) if self.status != ENABLED else frozenset[str]()
        return super().drift(lab, wanted) | disabled

    def delete(self, lab: Lab) -> None:
        """Take it away, and what else bears its name with it."""
        self.put_all_aside(lab)
