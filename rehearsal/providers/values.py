"""Plain Python for the engine's property values, and back.

The engine sends property maps as protobuf structs. Some strings and objects in them carry a
signature that gives them a meaning: "not known yet", "secret", "asset" (Pulumi's
sdk/go/common/resource/properties.go). Here they become `UNKNOWN`, what is secret itself, and dicts
that keep their signature, so that they go back unharmed.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from google.protobuf import struct_pb2  # type: ignore[import-untyped]

SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE: Final = "1b47061264138c4ac30d75fd1eb44270"
ASSET_SIGNATURE: Final = "c44067f5952c0a294b673a41bacd8c17"

_UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS = frozenset(
    {
        _UNKNOWN_STRING,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)

Value: TypeAlias = Any
"""Anything a property can hold: None, bool, int, float, str, lists, dicts, and the special ones."""

Properties: TypeAlias = dict[str, Any]
"""A property map: names as the engine has them (`vpcName`) to `Value`s."""


class _Unknown:
    """A value that the engine does not know before the run."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __bool__(self) -> bool:
        raise TypeError("an unknown value has no truth: handle UNKNOWN first")


UNKNOWN: Final = _Unknown()


def from_struct(struct: struct_pb2.Struct) -> Properties:
    """The property map in `struct`; whole numbers as int, special values as this module's."""
    return {key: _from_value(value) for key, value in struct.fields.items()}


def to_struct(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    """`properties` as the engine reads them; TypeError for what no property can hold."""
    struct = struct_pb2.Struct()
    for key, value in properties.items():
        struct.fields[key].CopyFrom(_to_value(value, key))
    return struct


def is_asset(value: Value) -> bool:
    """Whether `value` is an asset: a dict with `text` or `path`, and its `hash`."""
    return isinstance(value, dict) and value.get(SIGNATURE) == ASSET_SIGNATURE


def _from_value(value: struct_pb2.Value) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in _UNKNOWNS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_from_value(item) for item in value.list_value.values]
    if kind == "struct_value":
        found = from_struct(value.struct_value)
        return found["value"] if found.get(SIGNATURE) == SECRET_SIGNATURE else found
    return None


def _to_value(value: Value, where: str) -> struct_pb2.Value:
    made = struct_pb2.Value
    if value is None:
        return made(null_value=struct_pb2.NULL_VALUE)
    if value is UNKNOWN:
        return made(string_value=_UNKNOWN_STRING)
    if isinstance(value, bool):
        return made(bool_value=value)
    if isinstance(value, (int, float)):
        return made(number_value=value)
    if isinstance(value, str):
        return made(string_value=value)
    if isinstance(value, (list, tuple)):
        items = [_to_value(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return made(list_value=struct_pb2.ListValue(values=items))
    if isinstance(value, Mapping):
        return made(struct_value=to_struct(value))
    raise TypeError(f"{where}: a property cannot hold a {type(value).__name__}")
