"""Whether the server answers."""

from dataclasses import dataclass
from functools import partial

from provisioning import remote
from provisioning.clients.errors import ServiceError
from provisioning.clients.waiting import wait_until
from stack.resources.base import LabResource
from stack.resources.declaration import Lab
from stack.resources.server.watched import Watched

ANSWER_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Ready(Watched):
    """The server answers. All that is on it comes after this, so that one error says everything."""

    def create(self, lab: Lab) -> "Ready":
        """Wait until it does, one minute at the most."""
        server = lab.server(self.endpoint)
        wait_until(
            f"the server {server.place} to answer",
            partial(remote.answers, server),
            service="SSH",
            deadline=ANSWER_SECONDS,
            advice="nothing on it was touched; run `pulumi up` again when it answers",
            clock=lab.clock,
        )
        return self

    def amiss(self, lab: Lab) -> str:
        """Why it does not answer."""
        try:
            remote.answers(lab.server(self.endpoint))
        except ServiceError as error:
            return f"the server does not answer. {error}"
        return ""


class ServerReady(LabResource, thing=Ready, token="server:Ready"):
    pass
