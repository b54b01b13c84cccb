"""An API key of an app. A leftover is adopted where FastGPT shows it again, and else replaced."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import pulumi

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import ApiKey as Row
from stack.resources.base import LabResource
from stack.resources.declaration import OUTPUT, SECRET, Lab
from stack.resources.fastgpt.named import Door


@dataclass(frozen=True, kw_only=True)
class ApiKey(Door[Row]):
    """Makes one API key of an app."""

    key: Annotated[str, OUTPUT, SECRET] = ""

    def create(self, lab: Lab) -> "ApiKey":
        """Make it, once what bears its name is gone, or adopt that."""
        with self.client(lab) as client:
            kept = client.shows_keys
        if not kept:
            self.delete(lab)
        return super().create(lab)

    def listed(self, client: FastGptClient) -> Sequence[Row]:
        return client.api_keys(self.app_id)

    def find(self, client: FastGptClient) -> Row | None:
        return client.find_api_key(self.object_id, app_id=self.app_id)

    def make(self, client: FastGptClient) -> Row:
        return client.create_api_key(self.app_id, self.name)

    def set_right(self, client: FastGptClient, found: Row, changed: frozenset[str] | None) -> Row:  # noqa: ARG002
        """Another name; the key stays."""
        if found.name != self.name:
            client.rename_api_key(found.id, self.name, app_id=self.app_id)
        key = client.api_key(found.id, app_id=self.app_id)
        return found.model_copy(update={"name": self.name, "key": key})

    def put_aside(self, client: FastGptClient, other: Row) -> None:
        """Close the door."""
        client.delete_api_key(other.id, app_id=self.app_id)

    def seen(self, found: Row) -> "ApiKey":
        """A list does not show the key itself."""
        return super().seen(found.model_copy(update={"key": found.key or self.key}))


class FastGptApiKey(LabResource, thing=ApiKey, token="fastgpt:ApiKey"):
    """An API key of an app; outputs `key`, secret."""

    key: pulumi.Output[str]
