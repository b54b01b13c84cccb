"""The tables that stand beside the code as JSON."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

_T = TypeVar("_T")


def table(name: str, shape: type[_T]) -> _T:
    """The JSON file of this name in this folder, held to its shape."""
    return TypeAdapter(shape).validate_json(Path(__file__).with_name(name).read_bytes())
