"""What the things of FastGPT share: root's session, and one way to wait."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from provisioning.clients.fastgpt import FastGptClient, client_class
from provisioning.clients.fastgpt.session import SharedToken
from provisioning.clients.waiting import wait_until
from provisioning.editions import EditionName
from stack.resources.base import say
from stack.resources.declaration import REACH, SECRET, Endpoint, Lab, Thing

SERVICE = FastGptClient.service
NOT_RERANKED = (
    "FastGPT goes on without a word where Xinference's reranker fails; `make status` says whether "
    "it is served, `docker logs xinference` why it does not answer"
)

# Sessions last seven days; a run opens one per password, whatever the number of resources.
_sessions: dict[tuple[str, str, int, str], SharedToken] = {}
_sessions_lock = threading.Lock()


@contextlib.contextmanager
def session(
    lab: Lab, endpoint: Endpoint, password: str, edition: EditionName
) -> Iterator[FastGptClient]:
    """A client in root's session, the one of the whole run."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    key = (edition, str(endpoint["host"]), int(str(endpoint["port"])), digest)
    with _sessions_lock:
        token = _sessions.setdefault(key, SharedToken())
    made, address, tell = client_class(edition), lab.address(endpoint), say(SERVICE)
    with made(address, password=password, token=token, progress=tell, **lab.options) as client:
        yield client


wait = partial(wait_until, service=SERVICE, progress=say(SERVICE))
"""`wait_until` for something in FastGPT, told in the log of `pulumi up`."""


@dataclass(frozen=True, kw_only=True)
class Managed(Thing):
    """A thing of FastGPT that root manages."""

    endpoint: Annotated[Endpoint, REACH]
    password: Annotated[str, REACH, SECRET]
    # States of before there were two have none.
    edition: Annotated[EditionName, REACH] = "seeds"

    def client(self, lab: Lab) -> AbstractContextManager[FastGptClient]:
        """A client in root's session."""
        return session(lab, self.endpoint, self.password, self.edition)
