"""What does not fit a setting's shape, in the operator's words where pydantic's are a programmer's.

What would be right is read from the JSON schema: `title` and `examples`, or type and limits.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ModelSchema

from provisioning.problems import Problem, Wrong, nearest

Schema = Mapping[str, Any]

_SHOWN = 60
_OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_FORMS = {
    "boolean": "true or false",
    "integer": "a whole number{limits}, without a unit",
    "number": "a number{limits}, without a unit",
    "string": "a text{limits}",
    "array": "a list, each entry on a line that begins with `- `",
    "object": "a mapping, each entry on a line: `key: value`",
}
_LIMITS = {
    "minimum": " from {}",
    "exclusiveMinimum": " above {}",
    "maximum": " up to {}",
    "exclusiveMaximum": " below {}",
    "maxLength": " of at most {} characters",
}
# What is said of a union as a whole holds for each of its members.
_OF_THE_WHOLE = ("title", "examples", "writeOnly")


class _Schemas(GenerateJsonSchema):
    """Titles are those that a field was given; what a field never shows is `writeOnly`."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False

    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        made = super().model_schema(schema)
        for name, field in schema["cls"].model_fields.items():
            if field.repr is False:
                made["properties"][field.alias or name]["writeOnly"] = True
        return made


def shape_problems(
    error: ValidationError, shape: type[BaseModel], at: str = ""
) -> Iterator[Problem]:
    """One problem per setting that `error` names; `at` is the setting that has the shape."""
    schema = shape.model_json_schema(schema_generator=_Schemas)
    told: set[str] = set()
    for found in error.errors(include_url=False):
        path, kinds = _place(schema, at, found["loc"])
        # A list counts as short of what is wrong in it.
        only_follows = found["type"] == "too_short" and found["input"]
        # Each member of a union fails for itself.
        if path not in told and not only_follows:
            told.add(path)
            yield _problem(path, found, kinds)


def _problem(path: str, found: Any, kinds: Sequence[Schema]) -> Problem:  # noqa: ANN401 - ErrorDetails
    value, said = found["input"], found.get("ctx", {}).get("error")
    if isinstance(said, Wrong):
        return Problem(path, said.wrong, said.right)
    if found["type"] == "extra_forbidden":
        key = str(found["loc"][-1])
        known = [name for kind in kinds for name in kind.get("properties", {})]
        return Problem(_joined(path, key), "there is no such setting", nearest(key, known))
    if found["type"] == "literal_error" and isinstance(value, str):
        choices = [choice for kind in kinds for choice in kind.get("enum", ())]
        return Problem(path, f"{value!r} is not known", nearest(value, choices))
    return Problem(path, _wrong(found["type"], value, kinds[0]), f"write {_form(kinds[0])}")


def _wrong(error: str, value: Any, kind: Schema) -> str:  # noqa: ANN401 - whatever was written
    if error == "missing":
        return "it is missing"
    if value is None:
        return "nothing stands there"
    if value in ("", []):
        return "it is empty"
    if error == "string_too_long":
        return f"it has {len(value)} characters"
    shown = repr(value)
    if kind.get("writeOnly"):
        shown = "what stands there"
    elif isinstance(value, (Mapping, list, tuple)):
        shown = "a mapping" if isinstance(value, Mapping) else "a list"
    elif len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}..."
    return f"{shown} is out of range" if error in _OUT_OF_RANGE else f"{shown} cannot be used"


def _place(
    schema: Schema, at: str, location: tuple[int | str, ...]
) -> tuple[str, Sequence[Schema]]:
    """The path as an operator writes it, and the schemas of what may stand there."""
    definitions, path, kinds = schema.get("$defs", {}), at, [schema]
    for part in location:
        below = next((below for kind in kinds if (below := _below(kind, part))), None)
        # What is left names the member of a union that was tried, or a key that there is not.
        if below is None:
            break
        path, kinds = _joined(path, part), _kinds(below, definitions)
    return path, kinds


def _joined(path: str, part: int | str) -> str:
    return f"{path}[{part}]" if isinstance(part, int) else f"{path}.{part}".removeprefix(".")


def _below(kind: Schema, part: int | str) -> Schema | None:
    if isinstance(part, int):
        return kind.get("items")
    return kind.get("properties", {}).get(part) or kind.get("additionalProperties") or None


def _kinds(node: Schema, definitions: Schema) -> list[Schema]:
    """The members of a union, null aside, with their references followed."""
    whole = {name: node[name] for name in _OF_THE_WHOLE if name in node}
    named = [(member.get("$ref", ""), member) for member in node.get("anyOf", [node])]
    members = [definitions.get(ref.rpartition("/")[2], member) for ref, member in named]
    return [{**member, **whole} for member in members if member.get("type") != "null"]


def _form(kind: Schema) -> str:
    """What may stand there, as words."""
    if keys := kind.get("properties"):
        return f"a mapping with the keys {', '.join(keys)}"
    if choices := kind.get("enum"):
        return f"one of {', '.join(choices)}"
    limits = "".join(said.format(kind[name]) for name, said in _LIMITS.items() if name in kind)
    form = kind.get("title") or _FORMS[kind["type"]].format(limits=limits)
    return f"{form}, such as {kind['examples'][0]}" if "examples" in kind else form
