"""The models that Xinference knows: the vendor's own list, and what it does not say of them.

The list is the project's (`provisioning/vendor.py`). Bytes are those of published weights, and a
token's cache is layers x KV heads x head width x 4 bytes (`catalogue.json`); memory is counted here
by itself, so that an estimate of the product's is held against another one.
"""

import json
from pathlib import Path
from typing import Any

from provisioning.vendor import ModelType, VendorModel, VendorSpec, billions_of, vendor_models

MIB = 1024 * 1024
_TYPES: tuple[ModelType, ...] = ("LLM", "embedding", "rerank", "audio")
_TOLD: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_bytes())


class Entry(VendorModel, frozen=True):
    """A model of the catalogue."""

    @property
    def runs_on(self) -> tuple[str, ...]:
        """Its engines; the first is the default of a non-LLM."""
        ordered = sorted(self.engines, key=lambda name: name != "sentence_transformers")
        return tuple(ordered) or ("transformers",)

    def thinks(self, told: object) -> bool:
        """Whether it reasons before it answers; a hybrid unless it is told not to."""
        hybrid = "hybrid" in self.abilities
        return "reasoning" in self.abilities and not (hybrid and told is False)

    def weights(self, spec: VendorSpec, quantization: str) -> int:
        """Bytes."""
        if not spec.size:
            return int(_TOLD["bytes"].get(self.name) or self.billions * 2e9 or 1.3e9)
        billions = _TOLD["billions of a size"].get(spec.size) or billions_of(spec.size)
        return int(billions * 1e9 * _bytes_per_parameter(spec.format, quantization))

    def token_bytes(self, size: str) -> int:
        """KV cache of one token."""
        return int(_TOLD["KiB of a token"].get(size, 160)) * 1024 if size else 0


def _bytes_per_parameter(format_: str, quantization: str) -> float:
    if format_ == "ggufv2":
        bits = _TOLD["bits of a digit"]
        return float(next((bits[letter] / 8 for letter in quantization if letter in bits), 2.0))
    if format_ in ("awq", "gptq", "bnb", "fp4"):
        return 0.68 if "4" in quantization else 1.15
    return 1.06 if format_ == "fp8" else 2.0


CATALOGUE = {
    name: Entry.model_validate(listed.model_dump())
    for type_ in _TYPES
    for name, listed in vendor_models(type_).items()
}
