"""What an attached provider is: a `Package` that knows the `Kind` of each resource token.

As with the bridged providers, secrets arrive in plain: the engine itself keeps a property secret
whose input was.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from rehearsal.providers.values import UNKNOWN, Properties, Value

INTERNAL_KEYS = frozenset({"__defaults", "__meta", "__internal"})

Failure = tuple[str, str]
"""A refused input: the property, and why."""


class ProviderError(Exception):
    """What the user reads when the call fails, as the real provider words it."""


class InitFailed(ProviderError):
    """The resource exists, but is not in order: the engine keeps it in its state."""

    def __init__(self, message: str, id: str, inputs: Properties, outputs: Properties) -> None:
        super().__init__(message)
        self.id, self.inputs, self.outputs = id, inputs, outputs


@dataclass(frozen=True)
class Change:
    """What a new set of inputs means for a resource that exists: the properties that differ and
    can be changed in place, those that cannot, and whether the old one has to leave first."""

    updates: Sequence[str] = ()
    replaces: Sequence[str] = ()
    delete_before_replace: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything differs."""
        return bool(self.updates or self.replaces)


class Kind(ABC):
    """One resource type: what its properties are, and what happens to it.

    `name` is the resource's own, of the one call that it is made for. Property maps are those of
    `values.py`, with `UNKNOWN` for what a preview does not know. Every method may raise
    `ProviderError`.
    """

    name = ""

    computed: ClassVar[frozenset[str]] = frozenset()
    """Outputs that only a real `create` can tell; unknown in its preview."""

    recomputed: ClassVar[frozenset[str]] = frozenset()
    """Outputs that an `update` may change; unknown in its preview."""

    force_new: ClassVar[frozenset[str]] = frozenset()
    """Inputs that cannot be changed in place."""

    delete_before_replace: ClassVar[bool] = False

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """`new` with defaults filled in, and what is wrong with it. `old` is empty at first."""
        return new, []

    def diff(
        self,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore: Sequence[str],
    ) -> Change:
        """What changed. By default: the inputs that differ, sorted by `force_new`."""
        return self.compare(old_inputs, new_inputs, ignore)

    def compare(self, old: Properties, new: Properties, ignore: Iterable[str] = ()) -> Change:
        """The change between two sets of inputs, by top-level property."""
        names = (old.keys() | new.keys()) - INTERNAL_KEYS - set(ignore)
        changed = sorted(name for name in names if differs(old.get(name), new.get(name)))
        return Change(
            updates=[name for name in changed if name not in self.force_new],
            replaces=[name for name in changed if name in self.force_new],
            delete_before_replace=self.delete_before_replace,
        )

    def planned(self, inputs: Properties, old_outputs: Properties | None) -> Properties:
        """The outputs as a preview shows them; `old_outputs` is None before a create."""
        if old_outputs is None:
            return {**dict.fromkeys(self.computed, UNKNOWN), **inputs}
        return {**old_outputs, **inputs, **dict.fromkeys(self.recomputed, UNKNOWN)}

    @abstractmethod
    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """Make it; its id and outputs. `timeout` in seconds, 0 for the kind's own. InitFailed where
        it exists, but is not in order."""

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        """Its id, inputs and outputs as they really are; None as id when it is gone. By default as
        in the state: right only for what lives in the state alone."""
        return id, inputs, outputs

    def update(
        self,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        timeout: float,
    ) -> Properties:
        """Change it in place; its outputs from now on."""
        raise ProviderError(f"{type(self).__name__} cannot be changed in place")

    @abstractmethod
    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """Remove it. One that is gone already is no error."""


class Provider(Protocol):
    """A package with its configuration: what one `pulumi:providers:...` resource stands for."""

    def kind(self, token: str) -> Kind:
        """The resource type named by `token` (`alicloud:vpc/network:Network`)."""

    def invoke(self, token: str, args: Properties) -> Properties:
        """The answer of the function named by `token` (`alicloud:index/getZones:getZones`)."""

    def cancel(self) -> None:
        """End what waits: the user pressed Ctrl-C."""


class Package(Protocol):
    """What `serve` offers to the engine."""

    name: str
    version: str

    def configure(self, config: Properties) -> Provider:
        """A provider with these settings, nested ones decoded (`sshOpts` is a list). Called once
        per provider resource and run; several may be alive side by side."""


def unknown_inputs(given: Properties, allowed: Collection[str], lead: str = "") -> list[Failure]:
    """Inputs that a kind of the rehearsal lacks: left out silently, they would hide a mistake."""
    return [
        (f"{lead}{name}", "the rehearsal has no such property here")
        for name, value in given.items()
        if name not in allowed and not name.startswith("__") and value is not None
    ]


def unknown_token(token: str) -> ProviderError:
    """The error for a resource type or function that a package does not have."""
    return ProviderError(f"the rehearsal has no {token}: add it to rehearsal/providers")


def differs(old: Value, new: Value) -> bool:
    """Whether two property values differ; an unknown one always does."""
    if old is UNKNOWN or new is UNKNOWN:
        return True
    if isinstance(old, dict) and isinstance(new, dict):
        names = (old.keys() | new.keys()) - INTERNAL_KEYS
        return any(differs(old.get(name), new.get(name)) for name in names)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) != len(new) or any(map(differs, old, new))
    return bool(old != new)
