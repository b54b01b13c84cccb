"""An app, published each time its graph changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import App as Row
from provisioning.clients.http import Json
from stack.resources.base import LabResource
from stack.resources.declaration import Lab
from stack.resources.fastgpt.named import Kept

CARD = ("name", "intro")
GRAPH = ("nodes", "edges", "chat_config")
# How the editor shows an input: 4.16 puts a way of its own in front.
SHOWN = frozenset({"renderTypeList"})


@dataclass(frozen=True, kw_only=True)
class App(Kept[Row]):
    """Upserts and publishes one app by its exact name."""

    nodes: Sequence[Any]
    edges: Sequence[Any]
    chat_config: Mapping[str, Any]
    intro: str = ""

    def listed(self, client: FastGptClient) -> Sequence[Row]:
        return client.apps()

    def detail(self, client: FastGptClient) -> Row:
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

    def seen(self, found: Row) -> "App":
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


def as_wanted(wanted: Json, found: Json) -> Json:
    """What was found, in the form of what was wanted: equal where it means the same.

    FastGPT adds fields of its own and drops empty ones, and may order lists anew; none of that is
    drift. Nodes, inputs and outputs are told by their ids.
    """
    if wanted == found or (not wanted and not found):
        return wanted
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return {
            key: value if key in SHOWN else as_wanted(value, found.get(key))
            for key, value in wanted.items()
        }
    if isinstance(wanted, list) and isinstance(found, list):
        mine, theirs = _by_identity(wanted), _by_identity(found)
        kept = [as_wanted(item, theirs[key]) for key, item in mine.items() if key in theirs]
        return kept + [item for key, item in theirs.items() if key not in mine]
    return found


def _by_identity(items: list[Json]) -> dict[str, Json]:
    """What tells them apart, or else their place in the list."""
    placed = {str(place): item for place, item in enumerate(items)}
    named = {_identity(item) or place: item for place, item in placed.items()}
    return named if len(named) == len(items) else placed


def _identity(item: Json) -> str | None:
    if not isinstance(item, Mapping):
        return None
    if "source" in item and "target" in item:
        return f"{item['source']} -> {item['target']} {item.get('targetHandle')}"
    for key in ("nodeId", "key", "id", "datasetId"):
        if key in item:
            return str(item[key])
    return None


class FastGptApp(LabResource, thing=App, token="fastgpt:App"):
    """A simple app; nodes, edges and chat_config as `provisioning.app_graph` builds them."""
