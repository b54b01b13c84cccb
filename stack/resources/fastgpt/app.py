"""An app, published each time its graph changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import App as Row
from stack.resources.base import LabResource
from stack.resources.declaration import Lab
from stack.resources.fastgpt.named import Kept
from stack.resources.fastgpt.published import as_wanted

CARD = ("name", "intro")
GRAPH = ("nodes", "edges", "chat_config")


@dataclass(frozen=True, kw_only=True)
class App(Kept[Row]):
    """Upserts and publishes one app by its exact name."""

    nodes: Sequence[Any]
    edges: Sequence[Any]
    chat_config: Mapping[str, Any]
    intro: str = ""

    def listed(self, client: FastGptClient) -> Sequence[Row]:
        """See `Named.listed`."""
        return client.apps()

    def detail(self, client: FastGptClient) -> Row:
        """See `Kept.detail`."""
        return client.app(self.object_id)

    def make(self, client: FastGptClient) -> Row:
        """Make and publish it."""
        return self._set(client, client.create_app(self.name, self.nodes, self.edges), None)

    def set_right(self, client: FastGptClient, found: Row, changed: frozenset[str] | None) -> Row:
        """Publish only what changed."""
        if changed is None:
            self.refuse_several(client)
        return self._set(client, found.id, changed)

    def put_aside(self, client: FastGptClient, other: Row) -> None:
        """Give a namesake another name."""
        client.update_app(other.id, name=self.other_name(client))

    def seen(self, found: Row) -> App:
        """What FastGPT itself adds, drops and orders anew is no drift."""
        shown = {key: as_wanted(getattr(self, key), getattr(found, key)) for key in GRAPH}
        return super().seen(found.model_copy(update=shown))

    def delete(self, lab: Lab) -> None:
        """With its links and keys."""
        with self.client(lab) as client:
            client.delete_app(self.object_id)

    def _set(self, client: FastGptClient, app_id: str, changed: frozenset[str] | None) -> Row:
        card = {key: getattr(self, key) for key in CARD}
        graph = {key: getattr(self, key) for key in GRAPH}
        if changed is None or changed & set(CARD):
            client.update_app(app_id, **card)
        if changed is None or changed & set(GRAPH):
            version = f"ai-lab {client.clock.now():%Y-%m-%d %H:%M}"
            client.publish_app(app_id, **graph, version_name=version)
        return Row.model_validate({"id": app_id, **card, **graph})


class FastGptApp(LabResource, thing=App, token="fastgpt:App"):
    """A simple app; nodes, edges and chat_config as `provisioning.app_graph` builds them."""
