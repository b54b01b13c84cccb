"""The models that the lab's own Xinference serves: started one by one, awaited by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from provisioning.catalogue import Model, in_xinference
from provisioning.launch import launch_payload
from provisioning.ports import XINFERENCE_PORT
from provisioning.settings import Settings
from stack.endpoints import endpoint
from stack.plan import region_of, release_of
from stack.resources.server.containers_ready import ServerContainersReady
from stack.resources.xinference.eviction import XinferenceEviction
from stack.resources.xinference.model import XinferenceModel
from stack.resources.xinference.models_ready import XinferenceModelsReady
from stack.server import Server
from stack.services import Services


@dataclass(frozen=True)
class Models:
    """The running models.

    Attributes:
        side_ready: embeddings, reranker, speech: small, first on the card; None without any.
        chat_ready: the chat models; None without any.
    """

    side_ready: XinferenceModelsReady | None
    chat_ready: XinferenceModelsReady | None

    def ready(self, kind: str) -> list[pulumi.Resource]:
        """What a channel of this kind waits for."""
        waits = self.chat_ready if kind == "chat" else self.side_ready
        return [waits] if waits else []


def start_models(
    settings: Settings, server: Server, services: Services, lab: pulumi.Resource
) -> Models:
    """Start every model in Xinference, small ones first, and wait for each group.

    vLLM claims its share of the card when it loads and fails if less is left, so the chat models
    start once the others hold theirs (`docs/facts/xinference.md §4`), and what is no longer wanted,
    in either group, leaves before anything starts.
    """
    parent = pulumi.ComponentResource(
        "lab:stack:Models", "models", opts=pulumi.ResourceOptions(parent=lab)
    )
    ours = in_xinference(settings.models)
    side = [model for model in ours if model.kind != "chat"]
    chat = [model for model in ours if model.kind == "chat"]
    if services.xinference is None:
        parent.register_outputs({})
        return Models(None, None)
    group = _Group(settings, server, services.xinference, parent)
    evictions = [
        group.evict("side-models", side, [services.xinference]),
        group.evict("chat-models", chat, [services.xinference]),
    ]
    side_ready = group.start("side-models", side, evictions[0], evictions)
    chat_ready = group.start(
        "chat-models", chat, evictions[1], [*evictions, *([side_ready] if side_ready else [])]
    )
    parent.register_outputs({})
    return Models(side_ready, chat_ready)


class _Group:
    def __init__(
        self,
        settings: Settings,
        server: Server,
        container: ServerContainersReady,
        parent: pulumi.Resource,
    ) -> None:
        self._settings = settings
        self._endpoint = endpoint(server, XINFERENCE_PORT)
        self._parent = parent
        self._container = container

    def evict(
        self, name: str, models: Sequence[Model], needs: Sequence[pulumi.Resource]
    ) -> XinferenceEviction:
        return XinferenceEviction(
            f"{name}-eviction",
            endpoint=self._endpoint,
            payloads={model.name: self._payload(model) for model in models},
            opts=pulumi.ResourceOptions(parent=self._parent, depends_on=list(needs)),
        )

    def start(
        self,
        name: str,
        models: Sequence[Model],
        eviction: XinferenceEviction,
        needs: Sequence[pulumi.Resource],
    ) -> XinferenceModelsReady | None:
        if not models:
            return None
        started = [self._model(model, needs) for model in models]
        return XinferenceModelsReady(
            f"{name}-ready",
            endpoint=self._endpoint,
            uids=[model.name for model in models],
            payloads={model.name: self._payload(model) for model in models},
            # A container that started anew has to load every model again.
            generation=pulumi.Output.all(
                self._container.generation, eviction.generation, *[model.id for model in started]
            ).apply(lambda seen: "/".join(str(part) for part in seen)),
            deadline_minutes=self._settings.model_deadline_minutes,
            opts=pulumi.ResourceOptions(parent=self._parent, depends_on=started),
        )

    def _model(self, model: Model, needs: Sequence[pulumi.Resource]) -> XinferenceModel:
        return XinferenceModel(
            model.name,
            endpoint=self._endpoint,
            payload=self._payload(model),
            opts=pulumi.ResourceOptions(parent=self._parent, depends_on=list(needs)),
        )

    def _payload(self, model: Model) -> dict[str, Any]:
        return launch_payload(model, region_of(self._settings), release_of(self._settings))
