"""The kinds of things that a lab has in the cloud: how each is listed, known for its own, removed.

From `account_kinds.json`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from provisioning.tables import table


class Kind(BaseModel):
    """How things of a kind are listed and removed.

    Attributes:
        api: `ecs` or `vpc`.
        list, rows: the action that lists them, and where its answer holds them.
        tag_filter: the listing picks by tag; where it does not, all are read: a thing of this kind
            gets its tags by a call of its own, so one without them may be the lab's, by its name.
        inside: the field that names the lab's own network, for what is known by its name alone.
        tag_type: as TagResources calls the kind, where it may lack the tag.
        detach: frees it from its server.
        with_: what `remove` is told; ID stands for the thing's.
        seconds: how long removing one may take.
    """

    api: str
    list: str
    rows: str
    page: int
    tag_filter: bool
    id: str
    name: str
    created: str
    attached_to: str
    costs: bool
    remove: str
    with_: dict[str, str] = Field(alias="with")
    seconds: float
    tag_type: str = ""
    inside: str = ""
    detach: str = ""


class _Table(BaseModel):
    soon: tuple[str, ...]
    kinds: dict[str, Kind]


_TABLE = table("account_kinds.json", _Table)
KINDS = _TABLE.kinds
"""By name, in the order in which things can be removed."""
SOON = _TABLE.soon
"""How the codes begin that say "not yet"."""
ORDER = list(KINDS)


@dataclass(frozen=True)
class Belonging:
    """Something of a lab's in the cloud.

    Attributes:
        kind: `server`, `elastic address`, `disk`, `security group`, `vSwitch`, `VPC`, `key pair`.
        id: the cloud's; a key pair's is its name.
        created: in UTC, as the API writes it.
        status: the API's word; "" where the kind has none.
        costs: it is paid for by the hour while it is there.
        attached_to: the server that has it; "" for none.
        tag: the lab's, `(key, value)`; `tagged`: it bears that, and is not only called like it.
    """

    kind: str
    id: str
    name: str
    created: str
    status: str
    costs: bool
    zone: str
    attached_to: str
    tag: tuple[str, str]
    tagged: bool

    def __str__(self) -> str:
        """`server i-bp1 (ai-lab-dev-1, Running, since 2026-11-22T10:00Z, costs)`."""
        about = [self.name if self.name != self.id else "", self.status]
        about += [f"since {self.created}", "costs" if self.costs else ""]
        return f"{self.kind} {self.id} ({', '.join(part for part in about if part)})"


def is_labs(kind: Kind, row: Mapping[str, Any], tag: tuple[str, str], own: set[str]) -> bool:
    if kind.tag_filter or tag[0] in _tags(row):
        return bears(row, tag)
    return row.get(kind.name) == f"{tag[0]}-{tag[1]}" and (
        not kind.inside or row.get(kind.inside) in own
    )


def bears(row: Mapping[str, Any], tag: tuple[str, str]) -> bool:
    return _tags(row).get(tag[0]) == tag[1]


def _tags(row: Mapping[str, Any]) -> dict[str, str]:
    """ECS writes TagKey, VPC writes Key."""
    return dict(_pairs((row.get("Tags") or {}).get("Tag") or []))


def _pairs(tags: Iterable[Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    for tag in tags:
        yield tag.get("TagKey") or tag.get("Key") or "", tag.get("TagValue", tag.get("Value", ""))


def belonging_of(name: str, row: Mapping[str, Any], tag: tuple[str, str]) -> Belonging:
    kind = KINDS[name]
    return Belonging(
        kind=name,
        id=str(row[kind.id]),
        name=str(row.get(kind.name) or ""),
        created=str(row.get(kind.created) or ""),
        status=str(row.get("Status") or ""),
        costs=kind.costs,
        zone=str(row.get("ZoneId") or ""),
        attached_to=str(row.get(kind.attached_to) or "") if kind.attached_to else "",
        tag=tag,
        tagged=bears(row, tag),
    )
