"""The models that Xinference knows: the vendor's own list, and what it does not say of them.

The list is the project's (`provisioning/vendor.py`); bytes are those of published weights, and
memory is counted here by itself, so that an estimate of the product's is held against another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from provisioning.vendor import ModelType, VendorModel, vendor_models

MIB = 1024 * 1024
_TYPES: tuple[ModelType, ...] = ("LLM", "embedding", "rerank", "audio")
_GGUF_BITS = {"1": 2.0, "2": 2.9, "3": 3.9, "4": 4.9, "5": 5.7, "6": 6.6, "8": 8.5}


@dataclass(frozen=True)
class Spec:
    """One line of a model's list: a format and size, with its quantizations and homes."""

    format: str
    size: str
    quantizations: tuple[str, ...]
    hubs: tuple[str, ...]
    repository: str


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue.

    Attributes:
        context: tokens an LLM reads, or an embedding's or a reranker's longest input.
        width: of an embedding.
        engines: in the order in which they are looked at; the first is the default of a non-LLM.
        billions: parameters by size, in billions.
        token_bytes: KV cache of one token by size.
        bytes: of a model without sizes.
        own_code: its repository's code has to be trusted.
        thinks: "never", "unless told not to", "always".
    """

    name: str
    type: ModelType
    context: int
    specs: tuple[Spec, ...]
    engines: tuple[str, ...]
    abilities: tuple[str, ...] = ()
    width: int = 0
    billions: Mapping[str, float] = field(default_factory=dict)
    token_bytes: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    own_code: bool = False
    thinks: str = "never"
    languages: tuple[str, ...] = ("en", "zh")

    def weights(self, spec: Spec, quantization: str) -> int:
        """Bytes to download, which are also those in memory."""
        if self.bytes:
            return self.bytes
        return int(self.billions[spec.size] * 1e9 * _bytes_per_parameter(spec, quantization))


def _bytes_per_parameter(spec: Spec, quantization: str) -> float:
    if spec.format == "ggufv2":
        digit = next((letter for letter in quantization if letter in _GGUF_BITS), None)
        return _GGUF_BITS[digit] / 8 if digit else 2.0
    if spec.format in ("awq", "gptq", "bnb", "fp4"):
        return 0.68 if "4" in quantization else 1.15
    return 1.06 if spec.format == "fp8" else 2.0


# Where the list rounds, and layers x KV heads x head width x 4 bytes of a token's cache.
_BILLIONS = {"7": 7.62, "8": 8.19, "14": 14.77, "32": 32.76, "13": 13.9, "9": 9.4}
_TOKEN_KIB = {"0_5": 12, "1_5": 28, "3": 36, "7": 56, "14": 192, "32": 256, "72": 320, "8": 144}
_TOKEN_KIB_OTHERS = 160
_BYTES = {
    "m3e-base": 409_000_000,
    "bge-m3": 2_270_000_000,
    "bge-reranker-v2-m3": 2_270_000_000,
    "whisper-large-v3": 3_090_000_000,
    "CosyVoice2-0.5B": 4_800_000_000,
    "Kokoro-82M": 330_000_000,
}
_BYTES_OTHERS = 1_300_000_000
_DEFAULT_ENGINE = "sentence_transformers"
_SPELLING = {"vllm": "vLLM", "sglang": "SGLang", "transformers": "Transformers"}  # of LLMs' engines


def _entry(listed: VendorModel) -> Entry:
    sizes = {spec.size for spec in listed.specs if spec.size}
    specs = (
        Spec(s.format, s.size, s.quantizations, s.hubs, f"{listed.name}-{s.size}".rstrip("-"))
        for s in listed.specs
    )
    thinks = "unless told not to" if "hybrid" in listed.abilities else "always"
    return Entry(
        listed.name,
        listed.type,
        listed.context,
        tuple(specs),
        _engines(listed),
        listed.abilities or ({"embedding": "embed"}.get(listed.type, listed.type),),
        listed.width,
        {size: _BILLIONS.get(size, float(size.replace("_", "."))) for size in sizes},
        {size: _TOKEN_KIB.get(size, _TOKEN_KIB_OTHERS) * 1024 for size in sizes},
        0 if sizes else _bytes(listed),
        "BaichuanForCausalLM" in listed.architecture,
        thinks if "reasoning" in listed.abilities else "never",
        listed.languages or ("en", "zh"),
    )


def _engines(listed: VendorModel) -> tuple[str, ...]:
    if listed.type == "LLM":
        return tuple(_SPELLING.get(engine, engine) for engine in listed.engines)
    ordered = sorted(listed.engines, key=lambda name: name != _DEFAULT_ENGINE)
    return tuple(ordered) or ("transformers",)


def _bytes(listed: VendorModel) -> int:
    return _BYTES.get(listed.name) or int(listed.billions * 2e9) or _BYTES_OTHERS


CATALOGUE: dict[str, Entry] = {
    name: _entry(listed) for type_ in _TYPES for name, listed in vendor_models(type_).items()
}


def of_type(type_: str) -> Iterator[Entry]:
    """All entries of one type."""
    return (entry for entry in CATALOGUE.values() if entry.type == type_)


def normal_size(size: object) -> str | None:
    """`14`, `"14"`, `"0_5"` and `"0.5"` as the catalogue writes them."""
    return None if size is None else str(size).replace(".", "_")
