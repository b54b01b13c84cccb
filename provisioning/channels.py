"""OneAPI's channels from the catalogue, by `docs/facts/oneapi.md §4 and §6`.

One per source and kind: embeddings route while the chat model still downloads.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from provisioning.catalogue import Model
from provisioning.regions import Region
from provisioning.traits import Kind

XINFERENCE_URL = "http://caddy:9997"
"""Where the containers reach Xinference; OneAPI appends /v1/..."""

XINFERENCE_KEY = "{xinference_key}"
"""Stands for the key of Xinference; the stack fills it in."""

TRANSCRIPTION_ROUTE = "whisper-1"
"""By this name OneAPI routes every transcription; it passes the form's own name on."""

_OPENAI_TYPE = 1  # no version of OneAPI has a type for Xinference


@dataclass(frozen=True)
class ChannelPlan:
    """One channel as OneAPI is to have it.

    Attributes:
        name: unique and stable: `xinference-chat`, `dashscope-embedding`.
        type: OneAPI's channel type id.
        base_url: without /v1 and trailing slash; empty is the type's own address.
        models: what it routes, each once; a real request to the first proves the channel.
        model_mapping: the lab's name to the provider's name, where they differ.
        api_key: name of the secret that holds it; None for Xinference's own.
    """

    name: str
    kind: Kind
    type: int
    base_url: str
    models: tuple[str, ...]
    model_mapping: dict[str, str]
    api_key: str | None


def channel_plans(models: Iterable[Model], region: Region) -> list[ChannelPlan]:
    """The channels of a catalogue, in the order of the settings. Rerankers get none."""
    groups: dict[str, list[Model]] = defaultdict(list)
    for model in models:
        if model.kind != "rerank":
            groups[channel_name(model)].append(model)
    return [_plan(name, group, region) for name, group in groups.items()]


def channel_name(model: Model) -> str:
    """Made of the model's own source only, so that another source never renames a channel."""
    remote = model.remote
    if remote is None:
        return f"xinference-{model.kind}"
    parts = [remote.provider]
    if remote.api_key and remote.api_key != remote.provider:
        parts.append(remote.api_key)
    if remote.address:
        host = urlsplit(remote.address).netloc.rpartition("@")[2]
        parts.append(re.sub(r"[^A-Za-z0-9]+", "-", host).strip("-"))
    return "-".join([*parts, model.kind])


def _plan(name: str, group: Sequence[Model], region: Region) -> ChannelPlan:
    kind, remote = group[0].kind, group[0].remote
    address = remote.address if remote else XINFERENCE_URL
    if remote and remote.provider == "dashscope":
        address = address or region.dashscope_url
    route = (TRANSCRIPTION_ROUTE,) if kind == "transcription" else ()
    mapped = [model for model in group if model.remote and model.upstream != model.name]
    return ChannelPlan(
        name=name,
        kind=kind,
        type=remote.offer.type if remote else _OPENAI_TYPE,
        base_url=address,
        models=tuple(dict.fromkeys((*(model.name for model in group), *route))),
        model_mapping={model.name: model.upstream for model in mapped},
        api_key=remote.secret_name if remote else None,
    )
