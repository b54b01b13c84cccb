"""OneAPI's channels from the catalogue: one per source and kind.

One per kind, because each must depend on its own models only: embeddings route while the chat
model still downloads. Rules: `docs/facts/oneapi.md §4 and §6`.
"""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from provisioning.catalogue import PROVIDERS, Kind, Model, RemoteSource, vendor_model
from provisioning.problems import PlanError, Problem, nearest
from provisioning.regions import Region
from provisioning.vendor import vendor_models

XINFERENCE_URL = "http://xinference:9997"
"""Where the containers reach Xinference; OneAPI appends /v1/..."""

XINFERENCE_KEY = "xinference"
"""OneAPI refuses an empty key; Xinference without login ignores it."""

WIDEST_EMBEDDING = 1536
"""FastGPT stores vector(1536) and cuts what is wider, silently (`docs/facts/fastgpt.md §2`)."""

# OneAPI routes every transcription by this name and passes the form's own name on.
_TRANSCRIPTION_ROUTE = "whisper-1"
_OPENAI_TYPE = 1  # no version of OneAPI has a type for Xinference
_DASHSCOPE_EMBEDDING = "text-embedding-v1"

# Widths of what is not in Xinference's list, by the beginning of the name; the longest one counts.
_WIDTHS = {
    "text-embedding-3-large": 3072,
    "gemini-embedding": 3072,
    "embedding-3": 2048,
    "doubao-embedding": 2048,
    "doubao-embedding-large": 4096,
    "gte-qwen2-1.5b": 1536,
    "gte-qwen2-7b": 3584,
    "bge-multilingual-gemma2": 3584,
    "bge-en-icl": 4096,
    "e5-mistral-7b-instruct": 4096,
    "nv-embed-v": 4096,
    "qwen3-embedding": 1024,
}


@dataclass(frozen=True)
class ChannelPlan:
    """One channel as OneAPI is to have it.

    Attributes:
        name: unique and stable: `xinference-chat`, `dashscope-embedding`.
        kind: the one kind of model behind it.
        type: OneAPI's channel type id.
        base_url: without /v1 and trailing slash; empty is the type's own address.
        models: what it routes, each once.
        model_mapping: the lab's name to the provider's name, where they differ.
        api_key: name of the secret that holds the key (`key-dashscope`); None for Xinference, which
            gets XINFERENCE_KEY.
        served: names of the catalogue's entries behind it.
        probe: the model of a real request that proves the channel.
    """

    name: str
    kind: Kind
    type: int
    base_url: str
    models: tuple[str, ...]
    model_mapping: dict[str, str]
    api_key: str | None
    served: tuple[str, ...]
    probe: str


def channel_plans(
    models: Iterable[Model], region: Region | None = None, xinference_url: str = XINFERENCE_URL
) -> list[ChannelPlan]:
    """The channels of a catalogue, in the order of the settings. Rerankers get none.

    Args:
        region: decides DashScope's address; None leaves OneAPI's own default.

    Raises:
        PlanError: two sources would get channels of one name, or no such provider.
    """
    groups: dict[str, list[Model]] = defaultdict(list)
    for model in models:
        if model.kind != "rerank":
            groups[_channel_name(model)].append(model)
    return [_plan(name, group, region, xinference_url) for name, group in groups.items()]


def channel_problems(models: Sequence[Model], mainland: bool = False) -> list[Problem]:
    """What OneAPI or FastGPT would get wrong, with what would be right.

    Args:
        mainland: whether the lab stands where some providers cannot be reached.
    """
    problems = _name_problems(models)
    for index, model in enumerate(models):
        path = f"models[{index}]"
        problems += _embedding_problems(path, model)
        if model.remote is not None:
            problems += _remote_problems(f"{path}.remote", model, model.remote)
            problems += _reach_problems(f"{path}.remote.baseUrl", model.remote, mainland)
    for kind, reason in (
        ("rerank", "FastGPT uses the first reranker only"),
        ("transcription", f"OneAPI routes every transcription as {_TRANSCRIPTION_ROUTE}"),
    ):
        problems += _only_one(models, kind, reason)
    return problems


def _plan(
    name: str, group: Sequence[Model], region: Region | None, xinference_url: str
) -> ChannelPlan:
    first = group[0]
    sources = {_source_of(model) for model in group}
    if len(sources) > 1:
        wrong = f"two different sources would share the channel {name}"
        raise PlanError("models", wrong, "give them different apiKey names")
    routed = [model.name for model in group]
    if first.kind == "transcription" and _TRANSCRIPTION_ROUTE not in routed:
        routed.append(_TRANSCRIPTION_ROUTE)
    remote = first.remote
    return ChannelPlan(
        name=name,
        kind=first.kind,
        type=_type(remote),
        base_url=_base_url(remote, region) if remote else xinference_url,
        models=tuple(routed),
        model_mapping={
            model.name: model.remote.model
            for model in group
            if model.remote and model.remote.model and model.remote.model != model.name
        },
        api_key=remote.secret_name if remote else None,
        served=tuple(model.name for model in group),
        probe=first.name,
    )


def _type(remote: RemoteSource | None) -> int:
    if remote is None:
        return _OPENAI_TYPE
    if remote.provider not in PROVIDERS:
        wrong = f"OneAPI knows no provider {remote.provider!r}"
        raise PlanError("models", wrong, nearest(remote.provider, PROVIDERS))
    return PROVIDERS[remote.provider].type


def _base_url(remote: RemoteSource, region: Region | None) -> str:
    if remote.base_url:
        return remote.base_url.rstrip("/")
    return region.dashscope_url if region and remote.provider == "dashscope" else ""


def _source_of(model: Model) -> tuple[str, str, str]:
    remote = model.remote
    if remote is None:
        return "xinference", "", ""
    return remote.provider, remote.secret_name, (remote.base_url or "").rstrip("/")


def _channel_name(model: Model) -> str:
    """Made of the model's own source only, so that another source never renames a channel."""
    remote = model.remote
    if remote is None:
        return f"xinference-{model.kind}"
    parts = [remote.provider]
    if remote.api_key and remote.api_key != remote.provider:
        parts.append(remote.api_key)
    if remote.base_url:
        host = urlsplit(remote.base_url).netloc.rpartition("@")[2]
        parts.append(re.sub(r"[^A-Za-z0-9]+", "-", host).strip("-"))
    return "-".join([*parts, model.kind])


def _name_problems(models: Sequence[Model]) -> list[Problem]:
    # MySQL compares without case, so Qwen and qwen would break one another's rows.
    seen: dict[str, str] = {}
    problems: list[Problem] = []
    for index, model in enumerate(models):
        earlier = seen.get(model.name.lower())
        if earlier is not None:
            wrong = f"{model.name} is there twice (as {earlier})"
            right = "names must differ in more than upper and lower case"
            problems.append(Problem(f"models[{index}].name", wrong, right))
        seen[model.name.lower()] = model.name
    return problems


def _only_one(models: Sequence[Model], kind: str, reason: str) -> list[Problem]:
    found = [(index, model) for index, model in enumerate(models) if model.kind == kind]
    return [
        Problem(
            f"models[{index}].kind",
            f"{model.name} is a second model for {kind}, and {reason}",
            f"keep one of {', '.join(m.name for _, m in found)}",
        )
        for index, model in found[1:]
    ]


def _embedding_problems(path: str, model: Model) -> list[Problem]:
    if model.kind != "embedding":
        return []
    narrower = f"set dimensions to {WIDEST_EMBEDDING} or less"
    if model.dimensions is not None and model.dimensions > WIDEST_EMBEDDING:
        wrong = f"FastGPT keeps {WIDEST_EMBEDDING} dimensions and cuts the rest off"
        return [Problem(f"{path}.dimensions", wrong, narrower)]
    width = _width(model)
    too_wide = f"{model.upstream} answers {width} dimensions and FastGPT cuts at {WIDEST_EMBEDDING}"
    if model.xinference is not None:
        return _local_width_problems(path, model, width, too_wide)
    if width <= WIDEST_EMBEDDING:
        return []
    provider = PROVIDERS.get(model.remote.provider) if model.remote else None
    if provider and provider.narrow:
        wrong = f"{too_wide}, and OneAPI hands no dimensions on to {provider.title}"
        return [Problem(f"{path}.remote.model", wrong, f"use {provider.narrow}")]
    return [] if model.dimensions else [Problem(f"{path}.dimensions", too_wide, narrower)]


def _local_width_problems(path: str, model: Model, width: int, too_wide: str) -> list[Problem]:
    """Xinference's engine answers its whole width, whatever a request asks for."""
    if width > WIDEST_EMBEDDING:
        where = f"{path}.xinference.model" if model.upstream != model.name else f"{path}.name"
        right = "use one that is narrow enough, such as bge-m3 or Qwen3-Embedding-0.6B"
        return [Problem(where, f"{too_wide}, also where dimensions are asked for", right)]
    if model.dimensions is None or model.dimensions == width or not width:
        return []
    wrong = f"Xinference answers {width} dimensions, whatever is asked for"
    return [Problem(f"{path}.dimensions", wrong, "leave it out", warning=True)]


def _width(model: Model) -> int:
    """Width of an embedding's vectors; 0 where nothing tells it."""
    listed = vendor_model(model)
    if listed is not None:
        return listed.width
    # An owner in front (`BAAI/...`), and Ollama's tag behind, are no part of the name.
    name = model.upstream.lower().rpartition("/")[2].replace(":", "-")
    known = _WIDTHS | {m.name.lower(): m.width for m in vendor_models("embedding").values()}
    return known.get(max((key for key in known if name.startswith(key)), key=len, default=""), 0)


def _remote_problems(path: str, model: Model, remote: RemoteSource) -> list[Problem]:
    provider = PROVIDERS.get(remote.provider)
    if provider is None:
        wrong = f"OneAPI knows no provider {remote.provider!r}"
        return [Problem(f"{path}.provider", wrong, nearest(remote.provider, PROVIDERS))]
    problems = _base_url_problems(path, remote)
    if model.kind == "rerank":
        wrong = "OneAPI cannot relay a reranker"
        right = "serve it with xinference:, FastGPT calls that directly"
        problems.append(Problem(f"{path}.provider", wrong, right))
    elif model.kind not in provider.kinds:
        wrong = f"OneAPI relays no {model.kind} to {provider.title}"
        right = f"it relays {', '.join(sorted(provider.kinds))}"
        problems.append(Problem(f"{path}.provider", wrong, right))
    if model.kind == "embedding" and remote.provider == "dashscope":
        problems += _dashscope_embedding(path, model)
    if model.kind in ("speech", "transcription") and model.upstream != model.name:
        wrong = "OneAPI maps no names for audio"
        right = f"call the model {model.upstream} and leave remote.model out"
        problems.append(Problem(f"{path}.model", wrong, right))
    return problems


def _dashscope_embedding(path: str, model: Model) -> list[Problem]:
    if model.upstream == _DASHSCOPE_EMBEDDING:
        return []
    wrong = f"OneAPI always asks DashScope for {_DASHSCOPE_EMBEDDING}, whatever the name says"
    right = f"name it {_DASHSCOPE_EMBEDDING}, or set remote.model to it"
    return [Problem(f"{path}.model", wrong, right)]


def _base_url_problems(path: str, remote: RemoteSource) -> list[Problem]:
    path = f"{path}.baseUrl"
    if remote.base_url is None:
        return []
    url = _split(remote.base_url)
    if url and (url.username or url.password):
        wrong = "it holds a user name or password"
        return [Problem(path, wrong, f"put the key into the secret {remote.secret_name}")]
    if url is None or url.scheme not in ("http", "https") or not _HOST.fullmatch(url.netloc):
        wrong = f"{remote.base_url!r} is no address"
        return [Problem(path, wrong, "write it like https://api.example.com")]
    if url.query or url.fragment:
        wrong = "OneAPI appends /v1/... to it, and what follows ? or # would be in between"
        return [Problem(path, wrong, f"write {_without_version(url)}")]
    if re.search(r"/v\d+[a-z]*/?$|/chat/completions/?$", url.path):
        wrong = f"OneAPI appends /v1/... itself, so {remote.base_url!r} would become a wrong path"
        return [Problem(path, wrong, f"write {_without_version(url)}")]
    return []


_HOST = re.compile(r"([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\])(:\d{1,5})?")


def _without_version(url: SplitResult) -> str:
    path = re.sub(r"(/v\d+[a-z]*)?(/chat/completions)?/?$", "", url.path)
    return f"{url.scheme}://{url.netloc}{path}"


def _reach_problems(path: str, remote: RemoteSource, mainland: bool) -> list[Problem]:
    """Whether OneAPI, in a container of a server in the cloud, gets there."""
    if remote.base_url is None:
        if remote.provider == "ollama":
            wrong = "OneAPI would look for Ollama inside its own container"
            return [Problem(path, wrong, "give its address: http://host:11434")]
        provider = PROVIDERS.get(remote.provider)
        if mainland and provider and provider.abroad_only:
            title = provider.title.partition(",")[0]
            wrong = f"the address of {title} does not answer on the mainland"
            right = "give baseUrl one that does (a gateway of yours), or choose another provider"
            return [Problem(path, wrong, right)]
        return []
    url = _split(remote.base_url)
    host = (url and url.hostname) or ""
    if host == "localhost" or host.endswith(".localhost"):
        return [_inside(path, host)]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return []  # a name, or no address at all, which is said already
    if address.is_loopback or address.is_unspecified:
        return [_inside(path, host)]
    if address.is_private:
        wrong = f"{host} is a private address, and the server is in the cloud"
        return [Problem(path, wrong, "give one that the server reaches", warning=True)]
    return []


def _inside(path: str, host: str) -> Problem:
    wrong = f"inside OneAPI's container {host} is the container itself"
    right = "give an address that the server reaches, or serve the model with xinference:"
    return Problem(path, wrong, right)


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None
