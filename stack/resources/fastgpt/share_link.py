"""A public chat page of an app."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import ShareLink as Row
from stack.resources.base import LabResource
from stack.resources.declaration import ID, OUTPUT
from stack.resources.fastgpt.named import Door


@dataclass(frozen=True, kw_only=True)
class ShareLink(Door[Row]):
    """Upserts one share link of an app."""

    response_detail: bool = True
    # What its address ends in.
    share_id: Annotated[str, OUTPUT, ID] = ""
    object_id: Annotated[str, OUTPUT] = ""

    def listed(self, client: FastGptClient) -> Sequence[Row]:
        return client.share_links(self.app_id)

    def make(self, client: FastGptClient) -> Row:
        return client.create_share_link(
            self.app_id, self.name, response_detail=self.response_detail
        )

    def set_right(self, client: FastGptClient, found: Row, changed: frozenset[str] | None) -> Row:  # noqa: ARG002
        client.update_share_link(found.id, self.name, response_detail=self.response_detail)
        wanted = {"name": self.name, "response_detail": self.response_detail}
        return found.model_copy(update=wanted)

    def put_aside(self, client: FastGptClient, other: Row) -> None:
        """Close the door."""
        client.delete_share_link(other.id, app_id=self.app_id)


class FastGptShareLink(LabResource, thing=ShareLink, token="fastgpt:ShareLink"):
    """A chat page, `/chat/share?shareId=` and its id; `response_detail` shows the citations."""
