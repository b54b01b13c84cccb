"""Things that have a unique name in their service: found by it, adopted, and kept the only one."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Generic, Protocol, TypeVar

from typing_extensions import Self

from provisioning.clients.errors import NotFound
from stack.resources.declaration import OUTPUT, STEADY, Lab, Thing


class Row(Protocol):
    """One thing as its service lists it, with the service's own id."""

    @property
    def id(self) -> int | str: ...


Client = TypeVar("Client")
Found = TypeVar("Found", bound=Row)


@dataclass(frozen=True, kw_only=True)
class NamedThing(Thing, Generic[Client, Found]):
    """A thing told by its name; `namesakes` counts others of it, which are drift."""

    made_again: ClassVar[Mapping[str, Any] | None] = None
    """What cannot be told of one that somebody made again under its name; None: ours is gone."""

    name: str
    namesakes: Annotated[int, OUTPUT, STEADY] = 0

    def client(self, lab: Lab) -> AbstractContextManager[Client]:
        """A client of its service."""
        raise NotImplementedError

    def named(self, client: Client) -> Sequence[Found]:
        """All of exactly this name; the first is the one to adopt."""
        raise NotImplementedError

    def find(self, client: Client) -> Found | None:
        """The one that the state knows, by its id; None or NotFound where it is gone."""
        raise NotImplementedError

    def make(self, client: Client) -> Found:
        """Make it."""
        raise NotImplementedError

    def set_right(self, client: Client, found: Found, changed: frozenset[str] | None) -> Found:
        """Bring one that is there to this; `changed` is None where it was adopted."""
        raise NotImplementedError

    def put_aside(self, client: Client, other: Found) -> None:
        """Take another of the same name out of the way."""
        raise NotImplementedError

    def seen(self, found: Found) -> Self:
        """This, as its service shows it now, outputs included."""
        raise NotImplementedError

    def create(self, lab: Lab) -> Self:
        """Adopt the one of this name, or make it."""
        with self.client(lab) as client:
            return self._bring_about(client, None)

    def read(self, lab: Lab) -> Self | None:
        """By its id, else by its name."""
        with self.client(lab) as client:
            found, named = self._known(client), self.named(client)
        if found is not None:
            return replace(self.seen(found), namesakes=len(_others(named, found)))
        if not named or self.made_again is None:
            return None
        return replace(self.seen(named[0]), namesakes=len(named) - 1, **self.made_again)

    def update(self, lab: Lab, old: Self, changed: frozenset[str]) -> Self:  # noqa: ARG002
        """Set it right, and put others of the name aside."""
        with self.client(lab) as client:
            return self._bring_about(client, changed)

    def delete(self, lab: Lab) -> None:
        """Take it away, and what else bears its name with it."""
        with self.client(lab) as client:
            found = self._known(client)
            for row in (*([found] if found else ()), *_others(self.named(client), found)):
                self.put_aside(client, row)

    def _known(self, client: Client) -> Found | None:
        try:
            return self.find(client)
        except NotFound:
            return None

    def _bring_about(self, client: Client, changed: frozenset[str] | None) -> Self:
        named = self.named(client)
        known = None if changed is None else self._known(client)
        found = known or next(iter(named), None)
        if found is None:
            return self.seen(self.make(client))
        found = self.set_right(client, found, changed)
        for other in _others(named, found):
            self.put_aside(client, other)
        return replace(self.seen(found), namesakes=0)


def _others(named: Sequence[Found], found: Found | None) -> list[Found]:
    return [other for other in named if found is None or other.id != found.id]
