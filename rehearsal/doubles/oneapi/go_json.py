"""JSON read as Go reads it into a struct: typed fields, unknown ones ignored, names in any case."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = Any
"""A JSON value, as the json module gives it."""

Shape = Mapping[str, str]
"""Field name to Go type: `int`, `uint`, `float64`, `bool`, `string`, `[]`; `*` for pointers."""


class GoJsonError(ValueError):
    """The text is Go's."""


def parse(body: bytes) -> Json:
    """The value in `body`.

    Raises:
        GoJsonError: it is empty or not JSON.
    """
    if not body.strip():
        raise GoJsonError("EOF")
    try:
        return json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        position = getattr(error, "pos", 0)
        if position >= len(body):
            raise GoJsonError("unexpected EOF") from error
        character = chr(body[position])
        raise GoJsonError(
            f"invalid character '{character}' looking for beginning of value"
        ) from error


def bind(body: bytes, shape: Shape, struct: str) -> dict[str, Any]:
    """The fields of `shape` found in `body`; a null field counts as absent.

    Raises:
        GoJsonError: not JSON, not an object, or a field of the wrong type.
    """
    return bind_value(parse(body), shape, struct)


def bind_value(value: Json, shape: Shape, struct: str) -> dict[str, Any]:
    """As `bind`, from a parsed value."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise GoJsonError(f"json: cannot unmarshal {_kind(value)} into Go value of type {struct}")
    names = {name.casefold(): name for name in shape}
    bound: dict[str, Any] = {}
    for given, field_value in value.items():
        name = names.get(given.casefold())
        if name is not None and field_value is not None:
            bound[name] = _checked(field_value, shape[name], struct.rpartition(".")[2], name)
    return bound


def _checked(value: Json, kind: str, struct: str, name: str) -> Json:
    plain = kind.removeprefix("*")
    if not _fits(value, plain):
        found = _kind(value)
        if found == "number" and plain in ("int", "int64", "uint"):
            found = f"number {json.dumps(value)}"
        raise GoJsonError(
            f"json: cannot unmarshal {found} into Go struct field {struct}.{name} of type {plain}"
        )
    return value


def _fits(value: Json, kind: str) -> bool:
    number = isinstance(value, int) and not isinstance(value, bool)
    if kind in ("int", "int64"):
        return number
    if kind == "uint":
        return number and value >= 0
    if kind == "float64":
        return number or isinstance(value, float)
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "string":
        return isinstance(value, str)
    if kind.startswith("[]"):
        return isinstance(value, list)
    return True


def _kind(value: Json) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"
