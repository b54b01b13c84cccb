"""What of a group of models is no longer wanted leaves the card before anything new comes.

The engine deletes what the program no longer names at the very end, when a card of one chat model
had no memory for the new one. So a resource that comes before the group's models keeps its books.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import pulumi

from stack.resources.base import LabResource
from stack.resources.declaration import OUTPUT, Lab
from stack.resources.xinference.launch import Managed, Payload, Slot


@dataclass(frozen=True, kw_only=True)
class Eviction(Managed):
    """Room on the card for a group of models, which themselves belong to `Model`.

    Args:
        payloads: uid -> launch payload, of the whole group.
        evicted: those that left, kept to start them again if the change is taken back.
        generation: grows with every change of the group.
    """

    payloads: Mapping[str, Payload]
    evicted: Annotated[Mapping[str, Payload] | None, OUTPUT] = None
    generation: Annotated[int, OUTPUT] = 0

    def create(self, lab: Lab) -> "Eviction":  # noqa: ARG002
        """Nothing has left a group that is new."""
        return replace(self, evicted={}, generation=0)

    def update(self, lab: Lab, old: "Eviction", changed: frozenset[str]) -> "Eviction":  # noqa: ARG002
        """Stop what left the group; start again what came back to it."""
        leaving = {uid: p for uid, p in old.payloads.items() if self.payloads.get(uid) != p}
        away = {**(old.evicted or {}), **leaving}
        # An operator who takes a failed change back: the engine still believes that the old model
        # is there, and would not start it.
        returning = [uid for uid in sorted(away) if self.payloads.get(uid) == away[uid]]
        with self.client(lab) as client:
            for uid in sorted(leaving):
                Slot(client, leaving[uid]).stop()
            for uid in returning:
                Slot(client, away.pop(uid)).start()
        return replace(self, evicted=away, generation=old.generation + 1)


class XinferenceEviction(LabResource, thing=Eviction, token="xinference:Eviction"):
    generation: pulumi.Output[int]
