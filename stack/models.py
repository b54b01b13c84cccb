"""The models that the lab's own Xinference serves: started one by one, awaited by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from provisioning.catalogue import in_xinference
from provisioning.plan import Plan
from provisioning.ports import XINFERENCE_PORT
from provisioning.settings import Settings
from stack.endpoints import endpoint
from stack.part import part
from stack.resources.server.containers_ready import ServerContainersReady
from stack.resources.xinference.eviction import XinferenceEviction
from stack.resources.xinference.model import XinferenceModel
from stack.resources.xinference.models_ready import XinferenceModelsReady
from stack.server import Server
from stack.services import Services

_Payload = dict[str, Any]


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
    settings: Settings, plan: Plan, server: Server, services: Services, lab: pulumi.Resource
) -> Models:
    """Start every model in Xinference, small ones first, and wait for each group.

    vLLM claims its share of the card when it loads and fails if less is left, so the chat models
    start once the others hold theirs (`docs/facts/xinference.md §4`), and what is no longer wanted,
    in either group, leaves before anything starts.
    """
    parent = part("Models", lab)
    kinds = {model.name: model.kind for model in in_xinference(settings.models)}
    side = {name: told for name, told in plan.launches.items() if kinds[name] != "chat"}
    chat = {name: told for name, told in plan.launches.items() if kinds[name] == "chat"}
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
        self, name: str, payloads: Mapping[str, _Payload], needs: Sequence[pulumi.Resource]
    ) -> XinferenceEviction:
        return XinferenceEviction(
            f"{name}-eviction",
            endpoint=self._endpoint,
            payloads=dict(payloads),
            opts=pulumi.ResourceOptions(parent=self._parent, depends_on=list(needs)),
        )

    def start(
        self,
        name: str,
        payloads: Mapping[str, _Payload],
        eviction: XinferenceEviction,
        needs: Sequence[pulumi.Resource],
    ) -> XinferenceModelsReady | None:
        if not payloads:
            return None
        started = [self._model(*launch, needs) for launch in payloads.items()]
        return XinferenceModelsReady(
            f"{name}-ready",
            endpoint=self._endpoint,
            payloads=dict(payloads),
            # A container that started anew has to load every model again.
            generation=pulumi.Output.all(
                self._container.generation, eviction.generation, *[model.id for model in started]
            ).apply(lambda seen: "/".join(str(part) for part in seen)),
            deadline_minutes=self._settings.model_deadline_minutes,
            opts=pulumi.ResourceOptions(parent=self._parent, depends_on=started),
        )

    def _model(
        self, name: str, payload: _Payload, needs: Sequence[pulumi.Resource]
    ) -> XinferenceModel:
        return XinferenceModel(
            name,
            endpoint=self._endpoint,
            payload=payload,
            opts=pulumi.ResourceOptions(parent=self._parent, depends_on=list(needs)),
        )
