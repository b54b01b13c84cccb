"""A relay token, i.e. an API key for the lab's users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import pulumi

from provisioning.clients.http import NotFound
from provisioning.clients.oneapi import ENABLED, EXHAUSTED, OneApiClient, clean_models
from provisioning.clients.oneapi import Token as Row
from stack.resources.base import LabResource
from stack.resources.declaration import OUTPUT, SECRET, Props
from stack.resources.oneapi.management import Managed

MOST_NAME_BYTES = 30


@dataclass(frozen=True, kw_only=True)
class Token(Managed[Row]):
    """Upserts one relay token by its exact name."""

    models: Sequence[str] = ()
    unlimited: bool = True
    remain_quota: int = 0
    expired_time: int = -1
    key: Annotated[str, OUTPUT, SECRET] = ""
    token_id: Annotated[int, OUTPUT] = 0

    def named(self, client: OneApiClient) -> Sequence[Row]:
        """See `NamedThing.named`."""
        return client.tokens_named(self.name)

    def find(self, client: OneApiClient) -> Row | None:
        """See `NamedThing.find`."""
        try:
            return client.token(self.token_id) if self.token_id else None
        except NotFound:
            return None

    def make(self, client: OneApiClient) -> Row:
        """See `NamedThing.make`."""
        return client.create_token(self._wanted())

    def set_right(self, client: OneApiClient, found: Row, changed: frozenset[str] | None) -> Row:
        """What is left of a quota is what use has left of it: set only where it was changed."""
        set_quota = changed is None or bool(changed & {"remain_quota", "unlimited"})
        return client.update_token(found.id, self._wanted(), set_quota=set_quota)

    def put_aside(self, client: OneApiClient, other: Row) -> None:
        """See `NamedThing.put_aside`."""
        client.delete_token(other.id)

    def seen(self, found: Row) -> Token:
        """See `NamedThing.seen`."""
        wanted = self._wanted()
        # That a quota was used up is what a quota is for, and no drift.
        used_up = found.status == EXHAUSTED and not (self.unlimited or found.unlimited)
        return replace(
            self,
            name=found.name,
            models=self.models if found.models == wanted.models else list(found.models),
            unlimited=found.unlimited,
            expired_time=found.expired_time,
            key=f"sk-{found.key}",
            token_id=found.id,
            status=ENABLED if used_up else found.status,
        )

    @classmethod
    def check(cls, olds: Props, news: Props) -> Iterator[tuple[str, str]]:  # noqa: ARG003
        """What OneAPI's columns would not hold."""
        if len(str(news.get("name") or "").encode()) > MOST_NAME_BYTES:
            yield "name", f"OneAPI takes {MOST_NAME_BYTES} bytes at the most"
        if news.get("expired_time") == 0:
            yield "expired_time", "0 means expired long ago; -1 is never"

    def _wanted(self) -> Row:
        return Row(
            name=self.name,
            models=clean_models(self.models),
            unlimited_quota=self.unlimited,
            remain_quota=self.remain_quota,
            expired_time=self.expired_time,
        )


class OneApiToken(LabResource, thing=Token, token="oneapi:Token"):
    """One relay token.

    Args:
        name: exact, unique, at most 30 bytes.
        models: public names it may use; empty for all.
        unlimited: whether it has no quota.
        remain_quota: the quota to set, if limited; what is left of it later is not drift.
        expired_time: seconds since 1970; -1 for never.

    Outputs: `key` (secret, with `sk-`), `token_id`, `status` (1 enabled).
    """

    key: pulumi.Output[str]
