"""One model, started and not awaited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import pulumi

from stack.resources.base import LabResource
from stack.resources.declaration import IDENTITY, OUTPUT, Lab, Props
from stack.resources.xinference.launch import Managed, copies, differences, start, stop


@dataclass(frozen=True, kw_only=True)
class Model(Managed):
    """Starts one model, and does not wait for it."""

    delete_first: ClassVar[bool] = True

    payload: Annotated[Mapping[str, Any], IDENTITY]
    uid: Annotated[str, OUTPUT] = ""
    autostart: Annotated[bool, OUTPUT] = True

    @property
    def id(self) -> str:
        """Its uid."""
        return self.uid

    def create(self, lab: Lab) -> Model:
        """Start or adopt it, and have it started again after a restart."""
        uid = str(self.payload["model_uid"])
        with self.client(lab) as client:
            # An older entry would bring its own model back while ours takes its place.
            client.delete_autostart(uid)
            start(client, self.payload)
            # The launch before the entry: writing one starts what is down.
            client.put_autostart(self.payload)
        return replace(self, uid=uid, autostart=True)

    def read(self, lab: Lab) -> Model | None:
        """With what its payload shows of the model that runs."""
        with self.client(lab) as client:
            entries = client.autostart()
            state = client.state(self.uid, copies(self.payload))
        seen = replace(self, autostart=self.uid in entries)
        if state.standing == "serving":
            found = differences(self.payload, state.found)
            return replace(seen, payload={**self.payload, **found})
        # After a restart the models come back one by one: before its turn, a model is not gone.
        coming = state.standing == "absent" and entries.get(self.uid)
        return seen if coming or state.standing == "launching" else None

    def update(self, lab: Lab, old: Model, changed: frozenset[str]) -> Model:  # noqa: ARG002
        """Have it started again after a restart."""
        with self.client(lab) as client:
            client.put_autostart(self.payload)
        return replace(self, autostart=True)

    def delete(self, lab: Lab) -> None:
        """Stop it, whatever state it is in."""
        with self.client(lab) as client:
            # The entry first: it would start the model again.
            client.delete_autostart(self.uid)
            stop(client, self.payload)

    def drift(self, lab: Lab, wanted: Model) -> frozenset[str]:  # noqa: ARG002
        """Its autostart entry is gone."""
        return frozenset() if self.autostart else frozenset({"autostart"})

    @classmethod
    def check(cls, olds: Props, news: Props) -> Iterator[tuple[str, str]]:  # noqa: ARG003
        """A model without a name."""
        if "payload" in news and not news["payload"].get("model_uid"):
            yield "payload", "it needs a model_uid: the name under which the model is asked for"


class XinferenceModel(LabResource, thing=Model, token="xinference:Model"):
    """One model, started (not awaited: see `XinferenceModelsReady`).

    A changed payload replaces it, the old one leaving first: there is one GPU. A running model that
    equals the payload is adopted.

    Args:
        endpoint: Xinference's port on the server.
        payload: body of POST /v1/models; `model_uid` names it.

    Outputs: `uid`; `autostart`, whether Xinference starts it again after a restart.
    """

    payload: pulumi.Output[dict[str, Any]]
    autostart: pulumi.Output[bool]
    uid: pulumi.Output[str]
