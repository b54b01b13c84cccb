"""A stack's file, read without the engine: `Pulumi.<stack>.yaml` over the defaults of Pulumi.yaml.

To the engine a setting is the text that stands there; to YAML `2.10` is a number. So a setting that
is one scalar stays as it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from provisioning.settings import parsed

PROJECT = "ai-lab"


class CannotRead(Exception):
    """There is no such stack, or its file is none; the text says why and what to do."""


@dataclass(frozen=True)
class StackFile:
    """What `read_settings` takes of a stack.

    Attributes:
        settings: bare names and `region` to values; what is secret is left out or empty.
        secrets: names of the secret keys.
    """

    settings: Mapping[str, Any]
    secrets: frozenset[str]


def read_stack(root: Path, stack: str) -> StackFile:
    """The stack's settings.

    Args:
        root: folder of Pulumi.yaml.

    Raises:
        CannotRead: no such stack, or its file is not one.
    """
    project, written = _file(root / "Pulumi.yaml"), _config(root / f"Pulumi.{stack}.yaml")
    settings = {"region": ""}
    for key, about in _pairs(project["config"]):
        if (default := dict(_pairs(about)).get("default")) is not None:
            settings[key] = _value(default)
    secrets = set()
    for full, node in written.items():
        namespace, _, key = full.partition(":")
        if namespace != PROJECT and full != "alicloud:region":
            continue
        if _is_secret(node):
            secrets.add(key)
        if key.startswith("key-"):
            settings[key] = ""
        elif key not in secrets:
            settings[key] = parsed(key, _value(node))
    return StackFile(settings, frozenset(secrets))


def config_of(path: Path) -> dict[str, Any]:
    """The `config:` of a stack's file: full keys (`ai-lab:models`) to values, a scalar as its text,
    a structure that was handed over as JSON read.

    Raises:
        CannotRead: it is not there, or no stack's file.
    """
    config = _config(path).items()
    return {key: parsed(key.partition(":")[2], _value(node)) for key, node in config}


def _config(path: Path) -> dict[str, yaml.Node]:
    try:
        written = _pairs(_file(path).get("config", yaml.MappingNode("", [])))
    except FileNotFoundError:
        there = sorted(p.name.split(".")[1] for p in path.parent.glob("Pulumi.*.yaml"))
        raise CannotRead(f"{path.name} is not there: STACK may be {', '.join(there)}") from None
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise CannotRead(f"{path.name} is no stack's file: {error}") from None
    # As to the engine: a key without a namespace is the project's.
    return {key if ":" in key else f"{PROJECT}:{key}": node for key, node in written}


def _file(path: Path) -> dict[str, yaml.Node]:
    """The nodes of a file, by name."""
    return dict(_pairs(yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)))


def _pairs(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("a mapping is wanted")
    return ((key.value, value) for key, value in node.value)


def _value(node: yaml.Node) -> Any:  # noqa: ANN401 - whatever the operator wrote
    if isinstance(node, yaml.ScalarNode):
        return node.value
    return yaml.safe_load(yaml.serialize(node))


def _is_secret(node: yaml.Node) -> bool:
    """Whether there is a `secure:` anywhere in it, as the engine asks."""
    if isinstance(node, yaml.MappingNode):
        return any(key == "secure" or _is_secret(below) for key, below in _pairs(node))
    return isinstance(node, yaml.SequenceNode) and any(map(_is_secret, node.value))
