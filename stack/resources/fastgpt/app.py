"""An app, published each time its graph changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pulumi

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import App as Row
from provisioning.clients.http import NotFound
from stack.resources.base import LabResource
from stack.resources.declaration import OUTPUT, Lab
from stack.resources.fastgpt.published import as_wanted
from stack.resources.fastgpt.session import Named, other_name, refuse_several

CARD = ("name", "intro", "avatar")
GRAPH = ("nodes", "edges", "chat_config")


@dataclass(frozen=True, kw_only=True)
class App(Named[Row]):
    """Upserts and publishes one app by its exact name."""

    nodes: Sequence[Any]
    edges: Sequence[Any]
    chat_config: Mapping[str, Any]
    intro: str = ""
    avatar: str = ""
    app_id: Annotated[str, OUTPUT] = ""

    @property
    def id(self) -> str:
        """FastGPT's own."""
        return self.app_id

    def named(self, client: FastGptClient) -> Sequence[Row]:
        """See `NamedThing.named`."""
        return [found for found in client.apps() if found.name == self.name]

    def find(self, client: FastGptClient) -> Row | None:
        """See `NamedThing.find`."""
        try:
            return client.app(self.app_id) if self.app_id else None
        except NotFound:
            return None

    def make(self, client: FastGptClient) -> Row:
        """Make and publish it."""
        return self._set(client, client.create_app(self.name, self.nodes, self.edges), None)

    def set_right(self, client: FastGptClient, found: Row, changed: frozenset[str] | None) -> Row:
        """Publish only what changed."""
        if changed is None:
            refuse_several(self.named(client), f"app {self.name}")
        return self._set(client, found.id, changed)

    def put_aside(self, client: FastGptClient, other: Row) -> None:
        """Give a namesake another name."""
        client.update_app(other.id, name=other_name(self.name, (a.name for a in client.apps())))

    def seen(self, found: Row) -> App:
        """What FastGPT itself adds, drops and orders anew is no drift."""
        shown = {key: as_wanted(getattr(self, key), getattr(found, key)) for key in GRAPH}
        return replace(self, name=found.name, intro=found.intro, app_id=found.id, **shown)

    def delete(self, lab: Lab) -> None:
        """With its links and keys."""
        with self.client(lab) as client:
            client.delete_app(self.app_id)

    def _set(self, client: FastGptClient, app_id: str, changed: frozenset[str] | None) -> Row:
        if changed is None or changed & set(CARD):
            avatar = {"avatar": self.avatar} if self.avatar else {}
            client.update_app(app_id, name=self.name, intro=self.intro, **avatar)
        if changed is None or changed & set(GRAPH):
            client.publish_app(
                app_id,
                nodes=self.nodes,
                edges=self.edges,
                chat_config=self.chat_config,
                version_name=f"ai-lab {client.clock.now():%Y-%m-%d %H:%M}",
            )
        graph = {key: getattr(self, key) for key in GRAPH}
        ours = {"id": app_id, "name": self.name, "intro": self.intro, **graph}
        return Row.model_validate(ours)


class FastGptApp(LabResource, thing=App, token="fastgpt:App"):
    """A simple app.

    Args:
        name: exact, unique.
        nodes, edges, chat_config: the graph, as `provisioning.app_graph` builds it.
        intro: what the app's card says.
        avatar: its picture, a path in FastGPT; "" for FastGPT's own.

    Outputs: `app_id`.
    """

    name: pulumi.Output[str]
    app_id: pulumi.Output[str]
