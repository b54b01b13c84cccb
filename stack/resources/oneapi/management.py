"""What OneAPI's channels and tokens share: the way to its management interface."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, TypeVar

from typing_extensions import Self

from provisioning.clients.oneapi import ENABLED, Channel, OneApiClient, Token, clean_models
from stack.resources.declaration import ID, OUTPUT, REACH, SECRET, STEADY, Endpoint, Lab, Props
from stack.resources.named import NamedThing

Row = TypeVar("Row", Channel, Token)


@dataclass(frozen=True, kw_only=True)
class Managed(NamedThing[OneApiClient, Row]):
    """A channel or token. `status` is 1 where it is enabled, `object_id` OneAPI's own."""

    made_again: ClassVar[Mapping[str, Any] | None] = {}

    name: Annotated[str, ID]
    endpoint: Annotated[Endpoint, REACH]
    access_token: Annotated[str, REACH, SECRET]
    models: Sequence[str] = ()
    status: Annotated[int, OUTPUT, STEADY] = ENABLED
    object_id: Annotated[int, OUTPUT] = 0

    def client(self, lab: Lab) -> OneApiClient:
        address, token = lab.address(self.endpoint), self.access_token
        return OneApiClient(address, access_token=token, **lab.options)

    def wanted(self, object_id: int = 0) -> Row:
        """The row that this asks for."""
        raise NotImplementedError

    def told(self, object_id: int) -> Props:
        """The columns of that row, and more."""
        ours = {"models": clean_models(self.models), "id": object_id, "status": ENABLED}
        return {**self.props(), **ours}

    def seen(self, found: Row) -> Self:
        """With what OneAPI shows, keys apart; an equal value keeps the form it was given in."""
        wanted = self.wanted()
        names = {field.name for field in fields(self)} & type(found).model_fields.keys() - {"key"}
        shown = {n: getattr(found, n) for n in names if getattr(found, n) != getattr(wanted, n)}
        return replace(self, **{"status": ENABLED, **shown}, object_id=found.id)
