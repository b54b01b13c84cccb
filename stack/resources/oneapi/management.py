"""What OneAPI's channels and tokens share: the way to its management interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from provisioning.clients.oneapi import ENABLED, OneApiClient
from stack.resources.declaration import ID, OUTPUT, REACH, SECRET, STEADY, Endpoint, Lab
from stack.resources.named import NamedThing
from stack.resources.named import Row as NamedRow

Row = TypeVar("Row", bound=NamedRow)


@dataclass(frozen=True, kw_only=True)
class Managed(NamedThing[OneApiClient, Row]):
    """A channel or token. `status` is 1 where it is enabled."""

    made_again: ClassVar[Mapping[str, Any] | None] = {}

    name: Annotated[str, ID]
    endpoint: Annotated[Endpoint, REACH]
    access_token: Annotated[str, REACH, SECRET]
    status: Annotated[int, OUTPUT, STEADY] = ENABLED

    def client(self, lab: Lab) -> OneApiClient:
        address, token = lab.address(self.endpoint), self.access_token
        return OneApiClient(address, access_token=token, **lab.options)

    def delete(self, lab: Lab) -> None:
        """Take it away, and what else bears its name with it."""
        self.put_all_aside(lab)
