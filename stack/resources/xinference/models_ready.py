"""A group of models that all serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pulumi

from provisioning.clients.http import Waiting, wait_until
from provisioning.clients.xinference import XinferenceClient
from stack.resources.base import LabResource
from stack.resources.declaration import IGNORED, OUTPUT, Lab
from stack.resources.xinference.launch import POLL_SECONDS, Managed, copies, differences
from stack.resources.xinference.progress import Launch


@dataclass(frozen=True, kw_only=True)
class ModelsReady(Managed):
    """Waits until a group of models serves; the models themselves belong to `Model`."""

    uids: Sequence[str]
    payloads: Mapping[str, Mapping[str, Any]] | None = None
    deadline_minutes: Annotated[float, IGNORED] = 90
    generation: str | None = None
    ready: Annotated[Sequence[str], OUTPUT] = ()

    @property
    def id(self) -> str:
        """The models' uids."""
        return "+".join(sorted(self.uids)) or "none"

    def create(self, lab: Lab) -> ModelsReady:
        """Follow every launch until all serve."""
        uids, payloads = sorted(self.uids), self.payloads or {}
        with self.client(lab) as client:
            launches = [Launch(client, uid, payloads.get(uid)) for uid in uids]

            def look() -> bool | Waiting:
                waiting = [seen for launch in launches if (seen := launch.look())]
                return Waiting("; ".join(waiting)) if waiting else True

            wait_until(
                f"{', '.join(uids)} to serve",
                look,
                service=client.service,
                deadline=60 * float(self.deadline_minutes),
                advice="run `pulumi up` again to go on waiting (nothing is lost), raise the "
                "deadline in the settings, or read `docker logs xinference` on the server",
                every=POLL_SECONDS,
                clock=lab.clock,
            )
        return replace(self, ready=uids)

    def read(self, lab: Lab) -> ModelsReady:
        """With those that serve now."""
        payloads = self.payloads or {}
        with self.client(lab) as client:
            serving = [uid for uid in self.uids if _is_as_told(client, uid, payloads.get(uid, {}))]
        return replace(self, ready=sorted(serving))

    def drift(self, lab: Lab, wanted: ModelsReady) -> frozenset[str]:  # noqa: ARG002
        """Some do not serve."""
        return frozenset({"ready"}) if set(wanted.uids) - set(self.ready or ()) else frozenset()


def _is_as_told(client: XinferenceClient, uid: str, payload: Mapping[str, Any]) -> bool:
    """Whether what serves under this uid is what was asked for."""
    state = client.state(uid, copies(payload))
    return state.standing == "serving" and not differences(payload, state.found)


class XinferenceModelsReady(LabResource, thing=ModelsReady, token="xinference:ModelsReady"):
    """A group of models that all serve.

    Follows the replicas to READY or ERROR with stage, bytes and speed in the log; a failed download
    is started again under the same uid a bounded number of times.

    Args:
        endpoint: Xinference's port on the server.
        uids: the models' uids.
        payloads: uid -> launch payload; without it a failed download cannot be repeated.
        deadline_minutes: for the whole group.
        generation: any text; a change of it makes the group be looked at again.

    Outputs: `ready`, the uids that served when last looked at.
    """

    ready: pulumi.Output[list[str]]
