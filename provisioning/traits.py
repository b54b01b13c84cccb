"""What Xinference's engines, and the providers that OneAPI relays to, are like: as data."""

from typing import Literal

from pydantic import BaseModel

from provisioning.tables import table

Kind = Literal["chat", "embedding", "rerank", "speech", "transcription"]
"""What a model of the lab is for."""


class EngineTraits(BaseModel, frozen=True, extra="forbid"):
    """What an engine of Xinference runs and takes.

    Attributes:
        formats: of a chat model (match_json in Xinference's model/llm/*/core.py).
        share: its argument for the share of the card that it takes at start; empty where it takes
            what the model needs.
        context: its argument for the context; empty where it reads what the model can.
        overhead_mib: beside weights and cache: activations, CUDA context and graphs. An estimate.
    """

    formats: tuple[str, ...] = ()
    share: str = ""
    context: str = ""
    overhead_mib: int = 2048


class Provider(BaseModel, frozen=True, extra="forbid"):
    """A model provider that OneAPI can relay to (`docs/facts/oneapi.md §4`).

    Attributes:
        type: OneAPI's channel type id.
        key_form: what the API key looks like, for error messages.
        abroad_only: its own address does not answer on the mainland.
        own_address: what an address must look like, where OneAPI has none that leads anywhere.
        narrow: where OneAPI's adaptor rebuilds a request without `dimensions` (read in the source
            of v0.6.10): what the provider has that is narrow enough by itself.
        only_embedding: what OneAPI asks of the provider, whatever name the request has.
    """

    type: int
    title: str
    key_form: str = "one API key"
    kinds: frozenset[Kind] = frozenset({"chat", "embedding"})
    abroad_only: bool = False
    own_address: str = ""
    narrow: str = ""
    only_embedding: str = ""


ENGINES = table("engines.json", dict[str, EngineTraits])
"""By their names; those that chat alone."""

PROVIDERS = table("providers.json", dict[str, Provider])
"""By the name that the settings use."""
