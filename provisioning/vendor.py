"""What the vendors say: the models of the pinned Xinference, and its engines' arguments.

`vendor.json` is made from the released wheels by `make catalogue`.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from pydantic import BaseModel

DATA = Path(__file__).with_name("vendor.json")

ModelType = Literal["LLM", "embedding", "rerank", "audio"]
"""Xinference's `model_type`."""


class VendorSpec(NamedTuple):
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


class VendorModel(BaseModel, frozen=True, extra="forbid"):
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
        """The specs that a launch with these could mean; a quantization in whatever case."""
        wanted = (quantization or "").lower()
        return tuple(
            spec
            for spec in self.specs
            if format_ in (None, spec.format)
            and (size in (None, spec.size) or not spec.size)
            and (quantization is None or wanted in map(str.lower, spec.quantizations))
        )


def billions_of(size: str | None) -> float:
    """A size as a number: `0_5` is 0.5; 0 where it is none."""
    try:
        return max(float((size or "0").replace("_", ".")), 0.0)
    except ValueError:
        return 0.0


def release() -> str:
    """The release of Xinference that the list is of: `2.12.0`."""
    return str(_data()["xinference"])


def engine_arguments(engine: str | None) -> frozenset[str]:
    """What an engine takes, or `launch` itself; empty where no vendor says so."""
    return frozenset(_data()["arguments"].get(engine, ()))


@cache
def vendor_models(type_: ModelType) -> Mapping[str, VendorModel]:
    """The models of a type by name."""
    return {n: VendorModel(name=n, type=type_, **row) for n, row in _data()[type_].items()}


@cache
def _data() -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(DATA.read_bytes()))
