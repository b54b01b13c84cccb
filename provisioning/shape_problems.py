"""What does not fit a setting's shape, in the operator's words.

pydantic says it in a programmer's: types, patterns, members of a union. What would be right is read
from the field: its `title` (what it is) and `examples`, or else its type and limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from provisioning.problems import Problem, Wrong, nearest

_OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_SHOWN = 60


def shape_problems(error: ValidationError, shape: type[BaseModel]) -> Iterator[Problem]:
    """One problem per setting that `error` names; `shape` is what was validated."""
    told: set[str] = set()
    for found in error.errors(include_url=False):
        path, field = _place(shape, found["loc"])
        # A list counts as short of what is wrong in it.
        only_follows = found["type"] == "too_short" and found["input"]
        # Each member of a union fails for itself.
        if path not in told and not only_follows:
            told.add(path)
            yield _problem(path, found, field)


def _problem(path: str, found: Any, field: FieldInfo) -> Problem:  # noqa: ANN401 - ErrorDetails
    value, said = found["input"], found.get("ctx", {}).get("error")
    right = f"write {_form(field)}"
    if isinstance(said, Wrong):
        return Problem(path, said.wrong, said.right)
    if found["type"] == "extra_forbidden":
        key = str(found["loc"][-1])
        return Problem(_joined(path, key), "there is no such setting", nearest(key, _keys(field)))
    if found["type"] == "missing":
        return Problem(path, "it is missing", right)
    if found["type"] == "literal_error" and isinstance(value, str):
        return Problem(path, f"{value!r} is not known", nearest(value, _choices(field)))
    return Problem(path, _wrong(found["type"], value, field), right)


def _wrong(kind: str, value: Any, field: FieldInfo) -> str:  # noqa: ANN401 - whatever was written
    if value is None:
        return "nothing stands there"
    if value in ("", [], {}) and value != {}:
        return "it is empty"
    if kind == "string_too_long":
        return f"it has {len(value)} characters"
    shown = _shown(value) if field.repr is not False else "what stands there"
    if kind in _OUT_OF_RANGE:
        return f"{shown} is out of range"
    return f"{shown} cannot be used"


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever was written
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _place(shape: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, FieldInfo]:
    """The path as an operator writes it, and the field there."""
    path, field = "", FieldInfo.from_annotation(shape)
    for part in location:
        below = _below(field, part)
        # What is left names the member of a union that was tried, or a key that there is not.
        if below is None:
            break
        path, field = _joined(path, part), below
    return path, field


def _joined(path: str, part: int | str) -> str:
    return f"{path}[{part}]" if isinstance(part, int) else f"{path}.{part}" if path else part


def _below(field: FieldInfo, part: int | str) -> FieldInfo | None:
    for kind in _kinds(field):
        if isinstance(part, int) and get_origin(kind) is tuple:
            return FieldInfo.from_annotation(get_args(kind)[0])
        if isinstance(part, str) and get_origin(kind) is dict:
            return FieldInfo.from_annotation(get_args(kind)[1])
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for name, below in kind.model_fields.items():
                if part in (name, below.alias):
                    return below
    return None


def _kinds(field: FieldInfo) -> tuple[Any, ...]:
    """The types that a field may have, None aside."""
    annotation: Any = field.annotation
    united = get_origin(annotation) in (Union, UnionType)
    kinds = get_args(annotation) if united else (annotation,)
    return tuple(kind for kind in kinds if kind is not NoneType)


def _keys(field: FieldInfo) -> list[str]:
    shapes = [k for k in _kinds(field) if isinstance(k, type) and issubclass(k, BaseModel)]
    return [below.alias or name for shape in shapes for name, below in shape.model_fields.items()]


def _choices(field: FieldInfo) -> list[str]:
    return [c for kind in _kinds(field) if get_origin(kind) is Literal for c in get_args(kind)]


def _form(field: FieldInfo) -> str:
    """What a field takes, as words."""
    example = f", such as {field.examples[0]}" if field.examples else ""
    return f"{field.title or _form_of_type(field)}{example}"


def _form_of_type(field: FieldInfo) -> str:
    kind = _kinds(field)[0]
    if kind is bool:
        return "true or false"
    if kind is int:
        return f"a whole number{_limits(field)}, without a unit"
    if kind is float:
        return f"a number{_limits(field)}, without a unit"
    if get_origin(kind) is tuple:
        return "a list, each entry on a line that begins with `- `"
    if choices := _choices(field):
        return f"one of {', '.join(choices)}"
    if keys := _keys(field):
        return f"a mapping with the keys {', '.join(keys)}"
    if kind is str:
        return f"a text{_lengths(field)}"
    return "a mapping, each entry on a line: `key: value`"


def _limits(field: FieldInfo) -> str:
    words = {"ge": "from", "gt": "above", "le": "up to", "lt": "below"}
    said = [
        f" {word} {getattr(limit, name)}"
        for name, word in words.items()
        for limit in field.metadata
        if hasattr(limit, name)
    ]
    return "".join(said)


def _lengths(field: FieldInfo) -> str:
    most = [getattr(limit, "max_length", None) for limit in field.metadata]
    return "".join(f" of at most {length} characters" for length in most if length)
