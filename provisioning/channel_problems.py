"""What OneAPI or FastGPT would get wrong of the catalogue, with what would be right."""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from pydantic import AnyHttpUrl

from provisioning.catalogue import Model, RemoteSource, each_model
from provisioning.channels import TRANSCRIPTION_ROUTE, channel_name
from provisioning.problems import Problem
from provisioning.tables import table
from provisioning.traits import Kind
from provisioning.vendor import vendor_models

WIDEST_EMBEDDING = 1536
"""FastGPT stores vector(1536) and cuts what is wider, silently (`docs/facts/fastgpt.md §2`)."""

# Widths of what is not in Xinference's list, by the beginning of the name; the longest one counts.
_WIDTHS = table("embedding_widths.json", dict[str, int])
_ONLY_ONE: Mapping[Kind, str] = {
    "rerank": "FastGPT uses the first reranker only",
    "transcription": f"OneAPI routes every transcription as {TRANSCRIPTION_ROUTE}",
}
_VERSION = re.compile(r"(/v\d+[a-z]*)?(/chat/completions)?$")


def channel_problems(models: Sequence[Model], mainland: bool = False) -> list[Problem]:
    """All of them; on the `mainland` some providers cannot be reached."""
    remote = partial(_remote_problems, mainland=mainland)
    return [*_beside_problems(models), *each_model(models, _embedding_problems, remote)]


def _beside_problems(models: Sequence[Model]) -> Iterator[Problem]:
    """What one model is beside those before it."""
    names: dict[str, str] = {}
    kinds: dict[Kind, str] = {}
    sources: dict[str, tuple[str, str]] = {}
    for index, model in enumerate(models):
        path, kind = f"models[{index}]", model.kind
        # MySQL compares without case, so Qwen and qwen would break one another's rows.
        if earlier := names.get(model.name.lower()):
            wrong = f"{model.name} is there twice (as {earlier})"
            right = "names must differ in more than upper and lower case"
            yield Problem(f"{path}.name", wrong, right)
        if kind in _ONLY_ONE and kind in kinds:
            wrong = f"{model.name} is a second model for {kind}, and {_ONLY_ONE[kind]}"
            yield Problem(f"{path}.kind", wrong, f"keep it or {kinds[kind]}")
        if remote := model.remote:
            name, own = channel_name(model), (remote.secret_name, remote.address)
            if sources.setdefault(name, own) != own:
                wrong = f"two different sources would share the channel {name}"
                yield Problem(f"{path}.remote.apiKey", wrong, "give them different apiKey names")
        names[model.name.lower()] = model.name
        kinds.setdefault(kind, model.name)


def _embedding_problems(model: Model) -> Iterator[Problem]:
    if model.kind != "embedding":
        return
    width, asked, widest = _width(model), model.dimensions, WIDEST_EMBEDDING
    wrong = f"{model.upstream} answers {width} dimensions and FastGPT cuts at {widest}"
    narrower = f"set dimensions to {widest} or less"
    if asked and asked > widest:
        wrong = f"FastGPT keeps {widest} dimensions and cuts the rest off"
        yield Problem("dimensions", wrong, narrower)
    elif model.remote is None and width > widest:
        where = "xinference.model" if model.upstream != model.name else "name"
        right = "use one that is narrow enough, such as bge-m3 or Qwen3-Embedding-0.6B"
        yield Problem(where, f"{wrong}, also where dimensions are asked for", right)
    elif model.remote is None and width and asked not in (None, width):
        wrong = f"Xinference answers {width} dimensions, whatever is asked for"
        yield Problem("dimensions", wrong, "leave it out", warning=True)
    elif model.remote and width > widest and model.remote.offer.narrow:
        wrong += f", and OneAPI hands no dimensions on to {model.remote.offer.title}"
        yield Problem("remote.model", wrong, f"use {model.remote.offer.narrow}")
    elif model.remote and width > widest and not asked:
        yield Problem("dimensions", wrong, narrower)


def _width(model: Model) -> int:
    """Width of an embedding's vectors; 0 where nothing tells it."""
    if model.listed is not None:
        return model.listed.width
    # An owner in front (`BAAI/...`), and Ollama's tag behind, are no part of the name.
    name = model.upstream.lower().rpartition("/")[2].replace(":", "-")
    known = _WIDTHS | {m.name.lower(): m.width for m in vendor_models("embedding").values()}
    return known.get(max((key for key in known if name.startswith(key)), key=len, default=""), 0)


def _remote_problems(model: Model, mainland: bool) -> Iterator[Problem]:
    """What OneAPI does not relay to a provider, or under another name, or not from there."""
    if model.remote is None:
        return
    offer, url = model.remote.offer, model.remote.base_url
    title, only = offer.title.partition(",")[0], offer.only_embedding
    if model.kind == "rerank":
        right = "serve it with xinference:, FastGPT calls that directly"
        yield Problem("remote.provider", "OneAPI cannot relay a reranker", right)
    elif model.kind not in offer.kinds:
        wrong = f"OneAPI relays no {model.kind} to {offer.title}"
        yield Problem("remote.provider", wrong, f"it relays {', '.join(sorted(offer.kinds))}")
    if model.kind == "embedding" and only not in ("", model.upstream):
        wrong = f"OneAPI always asks {offer.title} for {only}, whatever the name says"
        yield Problem("remote.model", wrong, f"name it {only}, or set remote.model to it")
    if model.kind in ("speech", "transcription") and model.upstream != model.name:
        right = f"call the model {model.upstream} and leave remote.model out"
        yield Problem("remote.model", "OneAPI maps no names for audio", right)
    if url is not None:
        yield from _address_problems(model.remote, url)
    elif offer.own_address:
        wrong = f"OneAPI would look for {title} inside its own container"
        yield Problem("remote.baseUrl", wrong, f"give its address: {offer.own_address}")
    elif mainland and offer.abroad_only:
        wrong = f"the address of {title} does not answer on the mainland"
        right = "give baseUrl one that does (a gateway of yours), or choose another provider"
        yield Problem("remote.baseUrl", wrong, right)


def _address_problems(remote: RemoteSource, url: AnyHttpUrl) -> Iterator[Problem]:
    """Whether OneAPI, in a container of a server in the cloud, gets there with its /v1/..."""
    plain = _VERSION.sub("", re.split("[?#]", remote.address)[0].rstrip("/"))
    if url.username or url.password:
        right = f"put the key into the secret {remote.secret_name}"
        yield Problem("remote.baseUrl", "it holds a user name or password", right)
    elif url.query or url.fragment:
        wrong = "OneAPI appends /v1/... to it, and what follows ? or # would be in between"
        yield Problem("remote.baseUrl", wrong, f"write {plain}")
    elif plain != remote.address:
        wrong = f"OneAPI appends /v1/... itself, so {remote.address!r} would become a wrong path"
        yield Problem("remote.baseUrl", wrong, f"write {plain}")
    host = (url.host or "").strip("[]")
    try:
        address = ipaddress.ip_address(host)
        itself = address.is_loopback or address.is_unspecified
    except ValueError:  # a name
        address, itself = None, host == "localhost" or host.endswith(".localhost")
    if itself:
        wrong = f"inside OneAPI's container {host} is the container itself"
        right = "give an address that the server reaches, or serve the model with xinference:"
        yield Problem("remote.baseUrl", wrong, right)
    elif address and address.is_private:
        wrong = f"{host} is a private address, and the server is in the cloud"
        yield Problem("remote.baseUrl", wrong, "give one that the server reaches", warning=True)
