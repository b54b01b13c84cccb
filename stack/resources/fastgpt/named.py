"""Things of FastGPT that have a name, which FastGPT does not hold unique, and an id of its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, TypeVar

from provisioning.clients.errors import Conflict, NotFound
from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import NamedRow
from stack.resources.declaration import ID, IDENTITY, OUTPUT, Lab
from stack.resources.fastgpt.session import SERVICE, Managed
from stack.resources.named import NamedThing

if TYPE_CHECKING:
    from typing_extensions import Self

Found = TypeVar("Found", bound=NamedRow)


@dataclass(frozen=True, kw_only=True)
class Named(Managed, NamedThing[FastGptClient, Found]):
    """A thing that others know by FastGPT's id: a namesake is no substitute."""

    object_id: Annotated[str, OUTPUT, ID] = ""

    def listed(self, client: FastGptClient) -> Sequence[Found]:
        """All of its kind, whatever their name."""
        raise NotImplementedError

    def named(self, client: FastGptClient) -> Sequence[Found]:
        return [row for row in self.listed(client) if row.name == self.name]

    def find(self, client: FastGptClient) -> Found | None:
        return next((row for row in self.listed(client) if row.id == self.object_id), None)

    def seen(self, found: Found) -> Self:
        """With those of its properties that FastGPT shows."""
        shown = {field.name for field in fields(self)} & type(found).model_fields.keys()
        return replace(self, object_id=found.id, **{key: getattr(found, key) for key in shown})

    def update(self, lab: Lab, old: Self, changed: frozenset[str]) -> Self:
        """Refused where ours is gone: another would have another id."""
        with self.client(lab) as client:
            if self._known(client) is None:
                said = "it is gone; `pulumi up --refresh` makes it again"
                raise NotFound(SERVICE, f"update {self.name}", said)
        return super().update(lab, old, changed)


@dataclass(frozen=True, kw_only=True)
class Kept(Named[Found]):
    """A thing whose namesakes hold people's work: they get another name, and are never deleted."""

    def detail(self, client: FastGptClient) -> Found:
        """The one that the state knows, in whatever folder; NotFound where it is gone."""
        raise NotImplementedError

    def find(self, client: FastGptClient) -> Found:
        return self.detail(client)

    def refuse_several(self, client: FastGptClient) -> None:
        """Adopt only what can be told from its namesakes."""
        if (count := len(self.named(client))) > 1:
            raise Conflict(
                SERVICE,
                f"adopt {self.name}",
                f"there are {count} of that name, and no way to tell which is the lab's; rename or "
                "delete all but one in the web page",
            )

    def other_name(self, client: FastGptClient) -> str:
        """`name (2)`, or the next that is free."""
        taken = {row.name for row in self.listed(client)}
        names = (f"{self.name} ({number})" for number in itertools.count(2))
        return next(name for name in names if name not in taken)


@dataclass(frozen=True, kw_only=True)
class Door(Named[Found]):
    """A way into an app. A namesake is a door that the settings do not tell of: it is closed."""

    app_id: Annotated[str, IDENTITY]
