"""A public chat page of an app."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import pulumi

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import ShareLink as Row
from stack.resources.base import LabResource
from stack.resources.declaration import IDENTITY, OUTPUT, Lab, Props
from stack.resources.fastgpt.session import Named

MOST_NAME_LETTERS = 20


@dataclass(frozen=True, kw_only=True)
class ShareLink(Named[Row]):
    """Upserts one share link of an app. A namesake is a door that the settings do not tell of."""

    app_id: Annotated[str, IDENTITY]
    response_detail: bool = True
    share_id: Annotated[str, OUTPUT] = ""
    link_id: Annotated[str, OUTPUT] = ""
    path: Annotated[str, OUTPUT] = ""

    @property
    def id(self) -> str:
        """What its address ends in."""
        return self.share_id

    def named(self, client: FastGptClient) -> Sequence[Row]:
        """See `NamedThing.named`."""
        return [link for link in client.share_links(self.app_id) if link.name == self.name]

    def find(self, client: FastGptClient) -> Row | None:
        """See `NamedThing.find`."""
        links = client.share_links(self.app_id)
        return next((link for link in links if link.share_id == self.share_id), None)

    def make(self, client: FastGptClient) -> Row:
        """See `NamedThing.make`."""
        return client.create_share_link(
            self.app_id, self.name, response_detail=self.response_detail
        )

    def set_right(self, client: FastGptClient, found: Row, changed: frozenset[str] | None) -> Row:  # noqa: ARG002
        """See `NamedThing.set_right`."""
        client.update_share_link(found.id, self.name, response_detail=self.response_detail)
        wanted = {"name": self.name, "response_detail": self.response_detail}
        return found.model_copy(update=wanted)

    def put_aside(self, client: FastGptClient, other: Row) -> None:
        """Close the door."""
        client.delete_share_link(other.id, app_id=self.app_id)

    def seen(self, found: Row) -> ShareLink:
        """See `NamedThing.seen`."""
        return replace(
            self,
            name=found.name,
            response_detail=found.response_detail,
            share_id=found.share_id,
            link_id=found.id,
            path=f"/chat/share?shareId={found.share_id}",
        )

    def delete(self, lab: Lab) -> None:
        """With its namesakes."""
        self.put_all_aside(lab)

    @classmethod
    def check(cls, olds: Props, news: Props) -> Iterator[tuple[str, str]]:  # noqa: ARG003
        """What FastGPT's page would not take."""
        if len(str(news.get("name") or "")) > MOST_NAME_LETTERS:
            yield "name", f"FastGPT's page takes {MOST_NAME_LETTERS} characters at the most"


class FastGptShareLink(LabResource, thing=ShareLink, token="fastgpt:ShareLink"):
    """A public chat page of an app.

    Args:
        app_id: of the app.
        name: unique in its app, at most 20 characters.
        response_detail: whether visitors see the citations.

    Outputs: `share_id`, `path` (`/chat/share?shareId=...`).
    """

    name: pulumi.Output[str]
    share_id: pulumi.Output[str]
    path: pulumi.Output[str]
