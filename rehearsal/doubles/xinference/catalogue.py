"""The models that Xinference knows: the vendor's own list, and what it does not say of them.

The list is the project's (`provisioning/vendor.py`); bytes are those of published weights, and
memory is counted here by itself, so that an estimate of the product's is held against another one.
"""

from __future__ import annotations

from typing import Literal

from provisioning.vendor import ModelType, VendorModel, VendorSpec, vendor_models

MIB = 1024 * 1024
_TYPES: tuple[ModelType, ...] = ("LLM", "embedding", "rerank", "audio")
_GGUF_BITS = {"1": 2.0, "2": 2.9, "3": 3.9, "4": 4.9, "5": 5.7, "6": 6.6, "8": 8.5}
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


class Entry(VendorModel, frozen=True):
    """A model of the catalogue."""

    @property
    def runs_on(self) -> dict[str, str]:
        """Engines as they are spelt, by lower case; the first is the default of a non-LLM."""
        if self.type == "LLM":
            return {engine: _SPELLING.get(engine, engine) for engine in self.engines}
        ordered = sorted(self.engines, key=lambda name: name != _DEFAULT_ENGINE)
        return {engine: engine for engine in ordered or ("transformers",)}

    @property
    def told_abilities(self) -> tuple[str, ...]:
        """As the book of instances tells them."""
        return {"embedding": ("embed",), "rerank": ("rerank",)}.get(self.type, self.abilities)

    @property
    def own_code(self) -> bool:
        """Whether its repository's code has to be trusted."""
        return "BaichuanForCausalLM" in self.architecture

    @property
    def thinks(self) -> Literal["never", "always", "unless told not to"]:
        """Whether it reasons before it answers."""
        if "reasoning" not in self.abilities:
            return "never"
        return "unless told not to" if "hybrid" in self.abilities else "always"

    def weights(self, spec: VendorSpec, quantization: str) -> int:
        """Bytes."""
        if not spec.size:
            return _BYTES.get(self.name) or int(self.billions * 2e9) or _BYTES_OTHERS
        billions = _BILLIONS.get(spec.size) or float(spec.size.replace("_", "."))
        return int(billions * 1e9 * _bytes_per_parameter(spec.format, quantization))

    def token_bytes(self, size: str) -> int:
        """KV cache of one token."""
        return _TOKEN_KIB.get(size, _TOKEN_KIB_OTHERS) * 1024 if size else 0


def _bytes_per_parameter(format_: str, quantization: str) -> float:
    if format_ == "ggufv2":
        digit = next((letter for letter in quantization if letter in _GGUF_BITS), None)
        return _GGUF_BITS[digit] / 8 if digit else 2.0
    if format_ in ("awq", "gptq", "bnb", "fp4"):
        return 0.68 if "4" in quantization else 1.15
    return 1.06 if format_ == "fp8" else 2.0


CATALOGUE = {
    name: Entry.model_validate(listed.model_dump())
    for type_ in _TYPES
    for name, listed in vendor_models(type_).items()
}
