"""A dynamic resource is declared once, as a *thing*: a frozen dataclass of its properties.

From the types, defaults and marks of its fields follow the resource's constructor, what is secret,
what replaces it, and the typed object that `create`, `read`, `update` and `delete` work on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypedDict, get_type_hints

import httpx
import pulumi
from typing_extensions import Self

from provisioning.clients.http import Options
from provisioning.clients.waiting import SYSTEM_CLOCK, Clock
from provisioning.tunnel import SshServer, open_tunnel

Props = dict[str, Any]
"""Properties as the engine hands them over: decoded JSON by name."""


def plain(props: Mapping[str, Any]) -> Props:
    """Properties without the engine's own keys, and whole numbers as int.

    The wire knows only floats; Xinference refuses a size of 14.0 (`docs/facts/xinference.md §2`).
    """
    return {key: _plain(value) for key, value in props.items() if not key.startswith("__")}


def _plain(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


class Mark(Enum):
    """What a property is beside an input; written as `Annotated[str, IDENTITY]`."""

    IDENTITY = "a change makes it another thing: replaced, not updated"
    REACH = "tells only how to get there: a change is taken in by an update that calls nothing"
    IGNORED = "a change means nothing"
    OUTPUT = "comes from the service"
    SECRET = "encrypted in the state"  # noqa: S105 - a sentence
    STEADY = "anything but its default is drift"
    ID = "what the engine knows it by, once it is made"


IDENTITY, REACH, IGNORED = Mark.IDENTITY, Mark.REACH, Mark.IGNORED
OUTPUT, SECRET, STEADY, ID = Mark.OUTPUT, Mark.SECRET, Mark.STEADY, Mark.ID


class Login(TypedDict):
    """Where the server is; `host_key` is the line `ssh-ed25519 AAAA...`."""

    host: pulumi.Input[str]
    ssh_port: pulumi.Input[int]
    user: pulumi.Input[str]
    host_key: pulumi.Input[str]


class Endpoint(Login):
    """Where a service is: `port` of the server itself, reached through its SSH server."""

    port: pulumi.Input[int]


class Lab:
    """What a thing needs to reach its service: the operator's SSH key, time, the network; `config`
    is the stack's, `alicloud:region` and all."""

    # Set on an instance after it was loaded; class defaults stay out of what the engine stores.
    ssh_key_file: Path | None = None
    config: Mapping[str, Any] = MappingProxyType({})
    clock: Clock = SYSTEM_CLOCK
    transport: httpx.BaseTransport | None = None

    @property
    def options(self) -> Options:
        """What every client takes beside its address."""
        return {"transport": self.transport, "clock": self.clock}

    def server(self, endpoint: Mapping[str, Any]) -> SshServer:
        """The SSH server behind a `Login` or `Endpoint`, with the operator's identity."""
        return SshServer(
            host=str(endpoint["host"]),
            port=int(endpoint["ssh_port"]),
            user=str(endpoint["user"]),
            host_key=str(endpoint["host_key"]),
            key_file=self.ssh_key_file,
        )

    def address(self, endpoint: Mapping[str, Any]) -> str:
        """The local base URL of what is behind an `Endpoint`, through the one SSH connection."""
        if self.transport is not None:
            return f"http://{endpoint['host']}:{endpoint['port']}"
        return open_tunnel(self.server(endpoint), int(endpoint["port"]))


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Base of the declarations. A subclass is a frozen dataclass with keyword-only fields."""

    delete_first: ClassVar[bool] = False
    """Whether the old one must have left before the new one comes."""

    @property
    def id(self) -> str:
        """What the engine knows it by: the property marked so, or what kind of thing it is."""
        for name in self.marked(ID):
            return str(getattr(self, name))
        return type(self).__name__.lower()

    def create(self, lab: Lab) -> Self:
        """Create or adopt it; returns it with its outputs."""
        raise NotImplementedError

    def read(self, lab: Lab) -> Self | None:  # noqa: ARG002
        """It as the service shows it now; None when the service itself says that it is gone."""
        return self

    def update(self, lab: Lab, old: Self, changed: frozenset[str]) -> Self:  # noqa: ARG002
        """Bring `old` to this; `changed` is never only about the way there."""
        return self.create(lab)

    def delete(self, lab: Lab) -> None:
        """Take it away; done already is done."""

    def drift(self, lab: Lab, wanted: Self) -> frozenset[str]:  # noqa: ARG002
        """Of the thing last seen: outputs that show that it is no longer what was asked for."""
        moved = {f.name for f in fields(self) if getattr(self, f.name) != f.default}
        return self.marked(STEADY) & moved

    @classmethod
    def check(cls, olds: Props, news: Props) -> Iterator[tuple[str, str]]:  # noqa: ARG003
        """What is wrong with the inputs, as (input, reason); `news` holds only known values."""
        yield from ()

    def changes(self, old: Self) -> frozenset[str]:
        """Inputs whose value differs from what the state (or the last refresh) says."""
        before, now = old.props(), self.props()
        return frozenset(n for n in now if now[n] != before[n]) - self.marked(OUTPUT)

    @classmethod
    def marked(cls, mark: Mark) -> frozenset[str]:
        """The properties that bear a mark."""
        hints = get_type_hints(cls, include_extras=True)
        names = (field.name for field in fields(cls))
        return frozenset(n for n in names if mark in getattr(hints[n], "__metadata__", ()))

    @classmethod
    def of(cls, props: Mapping[str, Any]) -> Self:
        """The typed object of the engine's properties; what is not there is None or its default."""
        given = plain(props)
        told = (f.name for f in fields(cls) if f.name in given or f.default is MISSING)
        return cls(**{name: given.get(name) for name in told})

    def props(self) -> Props:
        """The engine's properties of it."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def inputs(cls, given: Mapping[str, Any]) -> Props:
        """What to register of what the program gave; a TypeError if one is missing or unknown."""
        props = {**cls(**given).props(), **dict.fromkeys(cls.marked(OUTPUT))}
        secrets = (name for name in cls.marked(SECRET) if props[name] is not None)
        return {**props, **{name: pulumi.Output.secret(props[name]) for name in secrets}}
