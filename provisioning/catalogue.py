"""The catalogue: a model is written once, in the settings; three systems are told from it.

The shapes here are the items of the setting `models`. YAML writes camelCase, Python snake_case.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from pydantic.alias_generators import to_camel

from provisioning.problems import Wrong
from provisioning.vendor import ModelType, VendorModel, vendor_models

Kind = Literal["chat", "embedding", "rerank", "speech", "transcription"]
Engine = Literal["vllm", "sglang", "transformers", "llama.cpp", "sentence_transformers", "flag"]

Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]*$",
        title="at most 100 letters, digits, and . _ / : - in between",
        examples=["qwen2.5-instruct"],
    ),
]


class Shape(BaseModel):
    """Base of every nested setting: frozen, camelCase in YAML, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Provider(BaseModel):
    """A model provider that OneAPI can relay to (`docs/facts/oneapi.md §4`).

    Attributes:
        type: OneAPI's channel type id.
        key_form: what the API key looks like, for error messages.
        kinds: what this provider offers through OneAPI.
        abroad_only: its own address does not answer on the mainland.
        narrow: where OneAPI's adaptor rebuilds a request without `dimensions` (read in the source
            of v0.6.10): what the provider has that is narrow enough by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: int
    title: str
    key_form: str = "one API key"
    kinds: frozenset[Kind] = frozenset({"chat", "embedding"})
    abroad_only: bool = False
    narrow: str = ""


PROVIDERS = TypeAdapter(dict[str, Provider]).validate_json(
    Path(__file__).with_name("providers.json").read_bytes()
)
"""By the name that the settings use."""


class XinferenceSource(Shape):
    """Served by the lab's own Xinference (`docs/facts/xinference.md §2, §4`)."""

    model: str | None = Field(
        default=None, description="Name in Xinference's catalogue; the model's own name if absent."
    )
    engine: Engine | None = Field(
        default=None, description="Chat models need one; vllm is the fast one and needs a GPU."
    )
    format: Literal["pytorch", "awq", "gptq", "fp8", "fp4", "bnb", "ggufv2", "mlx"] | None = None
    size: int | float | str | None = Field(
        default=None, description='Billions of parameters: 14, or "0_5" for a half.'
    )
    quantization: str | None = Field(default=None, description='"Int4", "none", "q4_k_m", ...')
    memory_share: float | None = Field(
        default=None,
        gt=0.05,
        le=0.95,
        description="vLLM takes this share of the whole card, whatever the model needs. "
        "What is left is for the embedding and the reranker.",
    )
    memory_gib: float | None = Field(
        default=None, alias="memoryGiB", gt=0, description="What it takes, where you know better."
    )
    replicas: int = Field(default=1, ge=1, le=8)
    gpus: int = Field(default=1, ge=0, le=8, description="Cards per replica; 0 runs it on the CPU.")
    engine_arguments: dict[str, Any] = Field(
        default_factory=dict, description="Handed to the engine as they are."
    )

    @property
    def size_text(self) -> str | None:
        """The size as Xinference writes it: `14`, `0_5`."""
        return None if self.size is None else str(self.size).replace(".", "_")


class RemoteSource(Shape):
    """Served by a provider outside, through OneAPI."""

    provider: str = Field(description="One of: " + ", ".join(sorted(PROVIDERS)) + ".")
    api_key: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        # Whoever mistakes it for the key itself must not read it in a message.
        repr=False,
        json_schema_extra={"writeOnly": True},
        title="the name of a secret in small letters, digits and dashes, never the key itself",
        examples=["dashscope"],
        description="Name of the secret: `dashscope` is read from `key-dashscope`. "
        "The provider's name if absent.",
    )
    base_url: str | None = Field(
        default=None, description="Only for a provider at another address; without /v1 at its end."
    )
    model: str | None = Field(
        default=None, description="The provider's own name; the model's name if absent."
    )

    @property
    def secret_name(self) -> str:
        """The top-level secret that holds the key, `key-<name>`."""
        return f"key-{self.api_key or self.provider}"


class Model(Shape):
    """One entry of the catalogue."""

    name: Name = Field(description="The one name that OneAPI, FastGPT and the users see.")
    kind: Kind
    xinference: XinferenceSource | None = None
    remote: RemoteSource | None = None
    title: str | None = Field(
        default=None, min_length=1, description="What FastGPT shows; the name if absent."
    )
    context: int = Field(default=8192, ge=512, description="Tokens a chat model reads at once.")
    max_response: int | None = Field(
        default=None, ge=64, description="Tokens of an answer; a quarter of the context if absent."
    )
    vision: bool = Field(default=False, description="Whether it reads images.")
    tools: bool = Field(default=False, description="Whether it calls tools.")
    dimensions: int | None = Field(
        default=None,
        ge=1,
        description="Width asked of an embedding model. FastGPT keeps 1536 at the most.",
    )
    max_input: int | None = Field(
        default=None,
        ge=64,
        description="Tokens an embedding model reads; what Xinference's list says if absent.",
    )
    voices: tuple[str, ...] = Field(default=(), description="Voices of a speech model.")

    @model_validator(mode="before")
    @classmethod
    def _empty_source_means_defaults(cls, data: object) -> object:
        # `xinference:` with nothing behind it is null in YAML; the operator means "all defaults".
        if isinstance(data, dict) and "xinference" in data and data["xinference"] is None:
            return {**data, "xinference": {}}
        return data

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        if (self.xinference is None) == (self.remote is None):
            wrong = f"{self.name} has no source" if self.remote is None else "it has two sources"
            raise Wrong(wrong, "give it exactly one of `xinference:` and `remote:`")
        return self

    @property
    def served_by(self) -> str:
        """`xinference`, or the provider's name."""
        return self.remote.provider if self.remote else "xinference"

    @property
    def upstream(self) -> str:
        """What the one who serves it calls it."""
        source = self.xinference or self.remote
        return (source.model if source else None) or self.name

    @property
    def answer_tokens(self) -> int:
        """The longest answer, in tokens."""
        return self.max_response or max(256, self.context // 4)


def of_kind(models: Iterable[Model], kind: Kind) -> tuple[Model, ...]:
    """The models of one kind, in the order of the settings."""
    return tuple(model for model in models if model.kind == kind)


MODEL_TYPES: dict[Kind, ModelType] = {
    "chat": "LLM",
    "embedding": "embedding",
    "rerank": "rerank",
    "speech": "audio",
    "transcription": "audio",
}
"""What Xinference calls each kind."""

_USUAL_INPUT = 512  # what a model of which nothing is known can be trusted to read


def vendor_model(model: Model) -> VendorModel | None:
    """The model as Xinference's list has it; None where it does not, or another serves it."""
    if model.xinference is None:
        return None
    return vendor_models(MODEL_TYPES[model.kind]).get(model.upstream)


def input_tokens(model: Model) -> int:
    """Tokens that an embedding model reads of one text; what is longer is cut off by its engine.

    The setting's, else Xinference's list's. Of a provider's model only the setting tells.
    """
    listed = vendor_model(model)
    return model.max_input or (listed.context if listed else 0) or _USUAL_INPUT


def in_xinference(models: Iterable[Model]) -> tuple[Model, ...]:
    """The models that the lab's own Xinference serves."""
    return tuple(model for model in models if model.xinference is not None)
