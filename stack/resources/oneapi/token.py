"""A relay token, i.e. an API key for the lab's users."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import pulumi

from provisioning.clients.oneapi import OneApiClient
from provisioning.clients.oneapi import Token as Row
from stack.resources.base import LabResource
from stack.resources.declaration import OUTPUT, SECRET
from stack.resources.oneapi.management import Managed


@dataclass(frozen=True, kw_only=True)
class Token(Managed[Row]):
    """One relay token of this exact name, unique, at most 30 bytes: without quota, and for ever.

    Args:
        models: public names it may use; empty for all.
        key: with `sk-`.
    """

    unlimited: bool = True
    expired_time: int = -1
    key: Annotated[str, OUTPUT, SECRET] = ""

    def named(self, client: OneApiClient) -> Sequence[Row]:
        return client.tokens_named(self.name)

    def find(self, client: OneApiClient) -> Row:
        return client.token(self.object_id)

    def make(self, client: OneApiClient) -> Row:
        return client.create_token(self.wanted())

    def set_right(self, client: OneApiClient, found: Row, changed: frozenset[str] | None) -> Row:  # noqa: ARG002
        return client.update_token(found.id, self.wanted())

    def put_aside(self, client: OneApiClient, other: Row) -> None:
        client.delete_token(other.id)

    def seen(self, found: Row) -> "Token":
        return replace(super().seen(found), key=f"sk-{found.key}")

    def wanted(self, object_id: int = 0) -> Row:
        return Row.model_validate(self.told(object_id))


class OneApiToken(LabResource, thing=Token, token="oneapi:Token"):
    key: pulumi.Output[str]
