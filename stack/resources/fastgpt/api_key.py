"""An API key of an app. FastGPT shows it once, so a leftover is replaced, never adopted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import pulumi

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import ApiKey as Row
from stack.resources.base import LabResource
from stack.resources.declaration import IDENTITY, OUTPUT, SECRET, Lab
from stack.resources.fastgpt.session import Named


@dataclass(frozen=True, kw_only=True)
class ApiKey(Named[Row]):
    """Makes one API key of an app. A namesake is a door that the settings do not tell of."""

    app_id: Annotated[str, IDENTITY]
    key: Annotated[str, OUTPUT, SECRET] = ""
    key_id: Annotated[str, OUTPUT] = ""

    @property
    def id(self) -> str:
        """FastGPT's own, which is not the key."""
        return self.key_id

    def create(self, lab: Lab) -> ApiKey:
        """Make it, once what bears its name is gone."""
        self.put_all_aside(lab)
        return super().create(lab)

    def named(self, client: FastGptClient) -> Sequence[Row]:
        """See `NamedThing.named`."""
        return [key for key in client.api_keys(self.app_id) if key.name == self.name]

    def find(self, client: FastGptClient) -> Row | None:
        """See `NamedThing.find`."""
        return next((k for k in client.api_keys(self.app_id) if k.id == self.key_id), None)

    def make(self, client: FastGptClient) -> Row:
        """See `NamedThing.make`."""
        return client.create_api_key(self.app_id, self.name)

    def set_right(self, client: FastGptClient, found: Row, changed: frozenset[str] | None) -> Row:  # noqa: ARG002
        """Another name; the key stays."""
        if found.name != self.name:
            client.rename_api_key(found.id, self.name)
        return found.model_copy(update={"name": self.name})

    def put_aside(self, client: FastGptClient, other: Row) -> None:
        """Close the door."""
        client.delete_api_key(other.id, app_id=self.app_id)

    def seen(self, found: Row) -> ApiKey:
        """The key itself is never seen again."""
        return replace(self, name=found.name, key=found.key or self.key, key_id=found.id)

    def delete(self, lab: Lab) -> None:
        """With its namesakes."""
        self.put_all_aside(lab)


class FastGptApiKey(LabResource, thing=ApiKey, token="fastgpt:ApiKey"):
    """An API key of an app.

    Args:
        app_id: of the app.
        name: unique in its app.

    Outputs: `key` (secret), `key_id`.
    """

    name: pulumi.Output[str]
    key: pulumi.Output[str]
