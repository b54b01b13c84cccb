"""One model, started and not awaited."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from stack.resources.base import LabResource
from stack.resources.declaration import ID, IDENTITY, OUTPUT, STEADY, Lab
from stack.resources.xinference.launch import Managed, Payload, Slot, differences


@dataclass(frozen=True, kw_only=True)
class Model(Managed):
    """One model, started (awaited by `ModelsReady`); a running equal one is adopted.

    A changed `payload` replaces it, the old one leaving first: there is one GPU. `autostart` tells
    whether Xinference starts it again after a restart.
    """

    delete_first: ClassVar[bool] = True

    payload: Annotated[Payload, IDENTITY]
    uid: Annotated[str, OUTPUT, ID] = ""
    autostart: Annotated[bool, OUTPUT, STEADY] = True

    def create(self, lab: Lab) -> "Model":
        """Start or adopt it, and have it started again after a restart."""
        with self.client(lab) as client:
            slot = Slot(client, self.payload)
            slot.start()
        return replace(self, uid=slot.uid, autostart=True)

    def read(self, lab: Lab) -> "Model | None":
        """With what its payload shows of the model that runs."""
        with self.client(lab) as client:
            entries = client.autostart()
            state = Slot(client, self.payload).state()
        seen = replace(self, autostart=self.uid in entries)
        if state.standing == "serving":
            return replace(seen, payload={**self.payload, **differences(self.payload, state.found)})
        # After a restart the models come back one by one: before its turn, a model is not gone.
        coming = state.standing == "absent" and entries.get(self.uid)
        return seen if coming or state.standing == "launching" else None

    def update(self, lab: Lab, old: "Model", changed: frozenset[str]) -> "Model":  # noqa: ARG002
        """Have it started again after a restart."""
        with self.client(lab) as client:
            client.put_autostart(self.payload)
        return replace(self, autostart=True)

    def delete(self, lab: Lab) -> None:
        """Stop it, whatever state it is in."""
        with self.client(lab) as client:
            Slot(client, self.payload).stop()


class XinferenceModel(LabResource, thing=Model, token="xinference:Model"):
    pass
