"""The catalogue: a model is written once, in the settings; three systems are told from it.

The shapes here are the items of the setting `models`. YAML writes camelCase, Python snake_case.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from provisioning.problems import Problem, Wrong, nearest
from provisioning.traits import ENGINES, PROVIDERS, EngineTraits, Kind, Provider
from provisioning.vendor import ModelType, VendorModel, vendor_models

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


def _known(provider: str) -> str:
    if provider not in PROVIDERS:
        raise Wrong(f"OneAPI knows no provider {provider!r}", nearest(provider, PROVIDERS))
    return provider


class XinferenceSource(Shape):
    """Served by the lab's own Xinference (`docs/facts/xinference.md §2, §4`).

    Attributes:
        model: name in Xinference's catalogue; the model's own name if absent.
        engine: chat models need one; vllm is the fast one and needs a GPU.
        size: billions of parameters: 14, or "0_5" for a half.
        quantization: `Int4`, `none`, `q4_k_m`, ...
        memory_share: of the whole card: vLLM takes it, whatever the model needs.
        memory_gib: what the model needs, where the operator knows better.
        gpus: cards per replica; 0 runs it on the CPU.
        engine_arguments: handed to the engine as they are.
    """

    model: str | None = None
    engine: Engine | None = None
    format: Literal["pytorch", "awq", "gptq", "fp8", "fp4", "bnb", "ggufv2", "mlx"] | None = None
    size: int | float | str | None = None
    quantization: str | None = None
    memory_share: float | None = Field(default=None, gt=0.05, le=0.95)
    memory_gib: float | None = Field(default=None, alias="memoryGiB", gt=0)
    replicas: int = Field(default=1, ge=1, le=8)
    gpus: int = Field(default=1, ge=0, le=8)
    engine_arguments: dict[str, Any] = Field(default_factory=dict)

    @property
    def traits(self) -> EngineTraits:
        """Its engine's; of none in particular where it names none."""
        return ENGINES.get(self.engine or "", EngineTraits())

    @property
    def size_text(self) -> str | None:
        """The size as Xinference writes it: `14`, `0_5`."""
        return None if self.size is None else str(self.size).replace(".", "_")


class RemoteSource(Shape):
    """Served by a provider outside, through OneAPI.

    Attributes:
        api_key: name of the secret, see `secret_name`; the provider's name if absent.
        base_url: only for a provider at another address; without /v1 at its end.
        model: the provider's own name; the model's name if absent.
    """

    provider: Annotated[str, AfterValidator(_known)]
    api_key: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        # Whoever mistakes it for the key itself must not read it in a message.
        repr=False,
        title="the name of a secret in small letters, digits and dashes, never the key itself",
        examples=["dashscope"],
    )
    # It may hold a password.
    base_url: AnyHttpUrl | None = Field(
        default=None, repr=False, title="an address", examples=["https://api.example.com"]
    )
    model: str | None = None

    @property
    def address(self) -> str:
        """`base_url` as OneAPI wants it, without a slash at its end; empty where there is none."""
        return str(self.base_url or "").rstrip("/")

    @property
    def offer(self) -> Provider:
        """The provider itself."""
        return PROVIDERS[self.provider]

    @property
    def secret_name(self) -> str:
        """The top-level secret that holds the key, `key-<name>`."""
        return f"key-{self.api_key or self.provider}"


class Model(Shape):
    """One entry of the catalogue.

    Attributes:
        name: the one that OneAPI, FastGPT and the users see.
        title: what FastGPT shows; the name if absent.
        context: tokens that a chat model reads at once.
        max_response: tokens of an answer; a quarter of the context if absent.
        dimensions: width asked of an embedding model.
        max_input: tokens that an embedding model reads; what Xinference's list says if absent.
    """

    name: Name
    kind: Kind
    xinference: XinferenceSource | None = None
    remote: RemoteSource | None = None
    title: str | None = Field(default=None, min_length=1)
    context: int = Field(default=8192, ge=512)
    max_response: int | None = Field(default=None, ge=64)
    vision: bool = False
    tools: bool = False
    dimensions: int | None = Field(default=None, ge=1)
    max_input: int | None = Field(default=None, ge=64)
    voices: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _empty_source_means_defaults(cls, data: object) -> object:
        # `xinference:` with nothing behind it is null in YAML; the operator means "all defaults".
        if isinstance(data, dict) and "xinference" in data and data["xinference"] is None:
            return {**data, "xinference": {}}
        return data

    @model_validator(mode="after")
    def _one_source(self) -> "Model":
        if (self.xinference is None) == (self.remote is None):
            wrong = f"{self.name} has no source" if self.remote is None else "it has two sources"
            raise Wrong(wrong, "give it exactly one of `xinference:` and `remote:`")
        return self

    @property
    def served_by(self) -> str:
        """`xinference`, or the provider's name."""
        return self.remote.provider if self.remote else "xinference"

    @property
    def local(self) -> XinferenceSource:
        """Its `xinference:`; a ValueError where another serves it."""
        if self.xinference is None:
            raise ValueError(f"{self.name} is not served by Xinference")
        return self.xinference

    @property
    def listed(self) -> VendorModel | None:
        """The model as Xinference's list has it; None where it does not, or another serves it."""
        known = vendor_models(MODEL_TYPES[self.kind])
        return known.get(self.upstream) if self.xinference else None

    @property
    def upstream(self) -> str:
        """What the one who serves it calls it."""
        source = self.xinference or self.remote
        return (source.model if source else None) or self.name

    @property
    def answer_tokens(self) -> int:
        """The longest answer, in tokens."""
        return self.max_response or max(256, self.context // 4)


MODEL_TYPES: dict[Kind, ModelType] = {
    "chat": "LLM",
    "embedding": "embedding",
    "rerank": "rerank",
    "speech": "audio",
    "transcription": "audio",
}
"""What Xinference calls each kind."""

_USUAL_INPUT = 512  # what a model of which nothing is known can be trusted to read


def input_tokens(model: Model) -> int:
    """Tokens that an embedding model reads of one text; its engine cuts off what is longer."""
    return model.max_input or (model.listed.context if model.listed else 0) or _USUAL_INPUT


def of_kind(models: Iterable[Model], kind: Kind) -> tuple[Model, ...]:
    """The models of one kind, in the order of the settings."""
    return tuple(model for model in models if model.kind == kind)


def in_xinference(models: Iterable[Model]) -> tuple[Model, ...]:
    """The models that the lab's own Xinference serves."""
    return tuple(model for model in models if model.xinference is not None)


def each_model(
    models: Sequence[Model], *checks: Callable[[Model], Iterable[Problem]]
) -> Iterator[Problem]:
    """What is wrong with each model by itself; the checks' paths begin at the model."""
    for index, model in enumerate(models):
        for problem in (problem for check in checks for problem in check(model)):
            yield replace(problem, path=f"models[{index}].{problem.path}")
