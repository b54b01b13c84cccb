"""The models that the lab's own Xinference serves: started one by one, awaited by group."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import pulumi

from provisioning.plan import Plan
from provisioning.ports import XINFERENCE_PORT
from stack.part import part
from stack.resources.declaration import Endpoint
from stack.resources.server.containers_ready import ServerContainersReady
from stack.resources.xinference.eviction import XinferenceEviction
from stack.resources.xinference.model import XinferenceModel
from stack.resources.xinference.models_ready import XinferenceModelsReady
from stack.server import Server
from stack.services import Services


class _Reached(TypedDict):
    endpoint: Endpoint
    api_key: pulumi.Input[str]


_SIDE, _CHAT = "side-models", "chat-models"


@dataclass(frozen=True)
class Models:
    """What waits for the small models (embeddings, reranker, speech), and for the chat models."""

    groups: Mapping[str, XinferenceModelsReady]

    def ready(self, kind: str) -> list[pulumi.Resource]:
        """What a channel of this kind waits for."""
        waits = self.groups.get(_CHAT if kind == "chat" else _SIDE)
        return [waits] if waits else []


def start_models(plan: Plan, server: Server, services: Services, lab: pulumi.Resource) -> Models:
    """Start every model in Xinference, small ones first, and wait for each group.

    vLLM claims its share of the card when it loads and fails if less is left, so the chat models
    start once the others hold theirs (`docs/facts/xinference.md §4`), and what is no longer wanted,
    in either group, leaves before anything starts.
    """
    parent, ready = part("Models", lab), {}
    if xinference := services.healthy.get("xinference"):
        there: _Reached = {
            "endpoint": server.endpoint(XINFERENCE_PORT),
            "api_key": services.passwords.xinference_key,
        }
        ready = _start(plan, there, xinference, parent)
    parent.register_outputs({})
    return Models(ready)


def _start(
    plan: Plan,
    there: _Reached,
    container: ServerContainersReady,
    parent: pulumi.Resource,
) -> dict[str, XinferenceModelsReady]:
    def after(*needs: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=parent, depends_on=list(needs))

    groups: dict[str, dict[str, dict[str, Any]]] = {_SIDE: {}, _CHAT: {}}
    for model, payload in plan.launches.items():
        groups[_CHAT if payload["model_type"] == "LLM" else _SIDE][model] = payload
    evictions = {
        name: XinferenceEviction(
            f"{name}-eviction", **there, payloads=launches, opts=after(container)
        )
        for name, launches in groups.items()
    }
    ready: dict[str, XinferenceModelsReady] = {}
    for name, launches in groups.items():
        if not launches:
            continue
        opts = after(*evictions.values(), *ready.values())
        started = [
            XinferenceModel(model, **there, payload=payload, opts=opts)
            for model, payload in launches.items()
        ]
        # A container that started anew has to load every model again.
        seen = (container.generation, evictions[name].generation, *[model.id for model in started])
        ready[name] = XinferenceModelsReady(
            f"{name}-ready",
            **there,
            payloads=launches,
            generation=pulumi.Output.all(*seen).apply(lambda parts: "/".join(map(str, parts))),
            deadline_minutes=plan.settings.model_deadline_minutes,
            opts=after(*started),
        )
    return ready
