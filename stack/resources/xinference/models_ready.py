"""A group of models that all serve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from provisioning.clients.waiting import Waiting, wait_until
from stack.resources.base import LabResource
from stack.resources.declaration import IGNORED, OUTPUT, Lab
from stack.resources.xinference.launch import POLL_SECONDS, Managed, Payload, Slot
from stack.resources.xinference.progress import Launch

_ADVICE = (
    "where it moves, `pulumi up` goes on waiting (nothing is lost), and a larger "
    "modelDeadlineMinutes waits longer; where it stands still, `docker restart xinference` on the "
    "server (`pulumi stack output sshCommand`) and then `pulumi up`, or another hub in "
    "mirrors.modelHub; `docker logs xinference` there says more"
)


@dataclass(frozen=True, kw_only=True)
class ModelsReady(Managed):
    """A group of models that all serve; the log tells their launches' stage, bytes and speed.

    Args:
        payloads: uid -> launch payload.
        deadline_minutes: for the whole group.
        generation: any text; a change of it makes the group be looked at again.
        ready: the uids that served when last looked at.
    """

    payloads: Mapping[str, Payload]
    deadline_minutes: Annotated[float, IGNORED] = 90
    generation: str | None = None
    ready: Annotated[Sequence[str], OUTPUT] = ()

    def create(self, lab: Lab) -> "ModelsReady":
        """Follow every launch until all serve."""
        uids = sorted(self.payloads)
        with self.client(lab) as client:
            launches = [Launch(client, self.payloads[uid]) for uid in uids]

            def look() -> bool | Waiting:
                waiting = [seen for launch in launches if (seen := launch.look())]
                return not waiting or Waiting("; ".join(waiting))

            wait_until(
                f"{', '.join(uids)} to serve",
                look,
                service=client.service,
                deadline=60 * self.deadline_minutes,
                advice=_ADVICE,
                every=POLL_SECONDS,
                clock=lab.clock,
            )
        return replace(self, ready=uids)

    def read(self, lab: Lab) -> "ModelsReady":
        """With those that serve now."""
        with self.client(lab) as client:
            slots = [Slot(client, payload) for _, payload in sorted(self.payloads.items())]
            ready = [slot.uid for slot in slots if slot.is_as_told(slot.state())]
        return replace(self, ready=ready)

    def drift(self, lab: Lab, wanted: "ModelsReady") -> frozenset[str]:  # noqa: ARG002
        """Some do not serve."""
        return frozenset({"ready"}) if set(wanted.payloads) - set(self.ready) else frozenset()


class XinferenceModelsReady(LabResource, thing=ModelsReady, token="xinference:ModelsReady"):
    pass
