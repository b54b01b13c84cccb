"""What the things of FastGPT share: root's session, and what becomes of their namesakes."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.http import Conflict, NotFound
from stack.resources.declaration import REACH, SECRET, Endpoint, Lab, Thing
from stack.resources.named import NamedThing, Row

if TYPE_CHECKING:
    from typing_extensions import Self

Found = TypeVar("Found", bound=Row)

SERVICE = FastGptClient.service
POLL_SECONDS = 2.0

# Sessions last seven days; a run opens one per password, whatever the number of resources.
_sessions: dict[tuple[str, int, str], str] = {}
_sessions_lock = threading.Lock()


@contextlib.contextmanager
def session(lab: Lab, endpoint: Endpoint, password: str) -> Iterator[FastGptClient]:
    """A client in root's session, the one of the whole run."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    key = (str(endpoint["host"]), int(str(endpoint["port"])), digest)
    with _sessions_lock:
        token = _sessions.get(key, "")
    client = FastGptClient(
        lab.address(endpoint),
        password=password,
        token=token,
        transport=lab.transport,
        clock=lab.clock,
    )
    with client:
        yield client
        with _sessions_lock:
            _sessions[key] = client.token


@dataclass(frozen=True, kw_only=True)
class Managed(Thing):
    """A thing of FastGPT that root manages."""

    endpoint: Annotated[Endpoint, REACH]
    password: Annotated[str, REACH, SECRET]

    def client(self, lab: Lab) -> AbstractContextManager[FastGptClient]:
        """A client in root's session."""
        return session(lab, self.endpoint, self.password)


@dataclass(frozen=True, kw_only=True)
class Named(Managed, NamedThing[FastGptClient, Found]):
    """A thing that FastGPT gives an id, by which others know it: a namesake is no substitute."""

    def update(self, lab: Lab, old: Self, changed: frozenset[str]) -> Self:
        """See `NamedThing.update`.

        Raises:
            NotFound: ours is gone; another would need another id.
        """
        with self.client(lab) as client:
            if self.find(client) is None:
                said = "it is gone; `pulumi up --refresh` makes it again"
                raise NotFound(SERVICE, f"update {self.name}", said)
        return super().update(lab, old, changed)


def refuse_several(named: Sequence[Row], what: str) -> None:
    """Adopt only what can be told from its namesakes.

    Raises:
        Conflict: there are several.
    """
    if len(named) > 1:
        raise Conflict(
            SERVICE,
            f"adopt {what}",
            f"there are {len(named)} of that name, and no way to tell which is the lab's; rename "
            "or delete all but one in the web page",
        )


def other_name(name: str, taken: Iterable[str]) -> str:
    """`name (2)`, or the next that is free: what people made by hand is never deleted."""
    names = set(taken)
    return next(
        other for other in (f"{name} ({n})" for n in itertools.count(2)) if other not in names
    )
