"""What the vendors say: the models of the pinned Xinference, and its engines' arguments.

`vendor.json` is made from the released wheels by `make catalogue`. It says nothing of models in
other releases, nor of those that somebody registers in a running Xinference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

DATA = Path(__file__).with_name("vendor.json")

ModelType = Literal["LLM", "embedding", "rerank", "audio"]
"""Xinference's `model_type`."""


@dataclass(frozen=True)
class VendorSpec:
    """One thing to download.

    Attributes:
        format: `pytorch`, `awq`, ...; empty for audio.
        size: billions of parameters as Xinference writes them (`14`, `0_5`); empty but for LLMs.
        quantizations: in the list's order; the first is what a launch without one takes.
        hubs: where it is: `huggingface`, `modelscope`.
    """

    format: str
    size: str
    quantizations: tuple[str, ...]
    hubs: tuple[str, ...]

    def quantization(self, wanted: str | None) -> str | None:
        """The list's spelling of a quantization (Xinference ignores case), or None."""
        if wanted is None:
            return self.quantizations[0]
        return next((q for q in self.quantizations if q.lower() == wanted.lower()), None)


@dataclass(frozen=True)
class VendorModel:
    """A model of the list.

    Attributes:
        context: tokens that it reads at once; 0 for audio.
        width: of an embedding's vectors; 0 for others.
        abilities: of an LLM or audio model: `chat`, `generate`, `tools`, `vision`, `reasoning` (it
            thinks first), `hybrid` (which can be switched off), `text2audio`, `audio2text`, ...
        engines: in lower case; empty where the list names none.
        billions: parameters as its name or repository tells them; 0 where they do not, and for
            LLMs, whose specs have sizes.
    """

    name: str
    type: ModelType
    specs: tuple[VendorSpec, ...]
    context: int = 0
    width: int = 0
    abilities: tuple[str, ...] = ()
    architecture: str = ""
    languages: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    billions: float = 0.0

    def matching(
        self, format_: str | None = None, size: str | None = None, quantization: str | None = None
    ) -> tuple[VendorSpec, ...]:
        """The specs that a launch with these three could mean, as Xinference matches them."""
        return tuple(
            spec
            for spec in self.specs
            if format_ in (None, spec.format)
            and (size in (None, spec.size) or not spec.size)
            and spec.quantization(quantization)
        )


def release() -> str:
    """The release of Xinference that the list is of: `2.12.0`."""
    return str(_data()["xinference"])


def engine_arguments(engine: str | None) -> frozenset[str]:
    """What an engine takes of a launch; empty where no vendor says so.

    `launch` is what Xinference itself takes.
    """
    return frozenset(_data()["arguments"].get(engine, ()))


@cache
def vendor_models(type_: ModelType) -> Mapping[str, VendorModel]:
    """The models of a type by name."""
    return {name: _model(name, type_, row) for name, row in _data()[type_].items()}


@cache
def _data() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return loaded


def _model(name: str, type_: ModelType, row: Mapping[str, Any]) -> VendorModel:
    told: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in row.items()
    }
    told["specs"] = tuple(
        VendorSpec(format_, size, tuple(quantizations), tuple(hubs))
        for format_, sizes, quantizations, hubs in row["specs"]
        for size in sizes
    )
    return VendorModel(name, type_, **told)
