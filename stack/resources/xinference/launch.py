"""How a model is started and stopped, whatever stands under its uid already."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from provisioning.clients.errors import Busy, Conflict
from provisioning.clients.waiting import Waiting, wait_until
from provisioning.clients.xinference import ModelState, XinferenceClient
from stack.resources.declaration import REACH, SECRET, Endpoint, Lab, Thing

Payload: TypeAlias = Mapping[str, Any]
"""Body of POST /v1/models; its `model_uid` names the model."""

POLL_SECONDS = 2.0
STOP_SECONDS = 300.0
"""A cancelled download unwinds within a minute (`docs/facts/xinference.md §2`)."""

# What both a launch payload and a running model's description hold (docs/facts/xinference.md §2).
_COMPARED = (
    "model_name",
    "model_type",
    "model_engine",
    "model_format",
    "model_size_in_billions",
    "quantization",
)


@dataclass(frozen=True, kw_only=True)
class Managed(Thing):
    """A thing of Xinference."""

    endpoint: Annotated[Endpoint, REACH]
    api_key: Annotated[str, REACH, SECRET] = ""

    def client(self, lab: Lab) -> XinferenceClient:
        """Where its models are started and stopped."""
        return XinferenceClient(lab.address(self.endpoint), self.api_key, **lab.options)


class Slot:
    """A payload's uid in Xinference, and whatever stands there."""

    def __init__(self, client: XinferenceClient, payload: Payload) -> None:
        self.client, self.payload, self.uid = client, payload, str(payload["model_uid"])

    def state(self) -> ModelState:
        """How the model stands, every copy that was asked for counted."""
        return self.client.state(self.uid, int(self.payload.get("replica") or 1))

    def is_as_told(self, state: ModelState) -> bool:
        """Whether what was asked for serves."""
        return state.standing == "serving" and not differences(self.payload, state.found)

    def start(self) -> None:
        """Launch the model in place of any other, or adopt an equal one; it starts at each boot."""
        # An older entry would bring its own model back while ours takes its place.
        self.client.delete_autostart(self.uid)
        try:
            self.client.launch(self.payload)
        except Conflict:
            # Taken, perhaps by an interrupted run. One that launches is not to be told before it
            # serves; `ModelsReady` compares then.
            state = self.state()
            if not (state.standing == "launching" or self.is_as_told(state)):
                self.restart()
        # The launch before the entry: writing one starts what is down.
        self.client.put_autostart(self.payload)

    def restart(self) -> None:
        """End what stands there, then launch; one that starts by itself meanwhile stays."""
        self._end()
        # Its autostart entry, if it has one, may be faster.
        with suppress(Conflict):
            self.client.launch(self.payload)
        # It has none where an eviction stopped it and the change was then taken back.
        self.client.put_autostart(self.payload)

    def stop(self) -> None:
        """Stop the model for good, whatever state it is in; returns when it is gone."""
        # The entry first: it would start the model again.
        self.client.delete_autostart(self.uid)
        self._end()

    def _end(self) -> None:
        wait_until(
            f"{self.uid} to be gone",
            self._ended,
            service=self.client.service,
            deadline=STOP_SECONDS,
            advice="run it again later, or restart it on the server (`docker restart xinference`)",
            every=POLL_SECONDS,
            clock=self.client.clock,
            # It came up between two looks, or fell back; the next look decides.
            tolerate=(Busy, Conflict),
        )

    def _ended(self) -> bool | Waiting:
        state = self.state()
        if state.standing in ("serving", "down"):
            self.client.stop(self.uid)
        # Before there is a first status, no worker hears a cancel: the launch would go on, unseen.
        if state.standing == "launching" and state.replicas:
            self.client.cancel(self.uid)
        if state.standing == "stranded":
            # It became ready as its launch was cancelled. A launch meets it, fails and clears it
            # away.
            self.client.launch(self.payload)
        state = self.state()
        return state.standing in ("absent", "failed") or Waiting(str(state))


def differences(payload: Payload, found: Mapping[str, Any]) -> dict[str, Any]:
    """What a running model is, where that differs from the payload; arguments do not show."""
    other = {
        key: found[key]
        for key in _COMPARED
        if None not in (payload.get(key), found.get(key))
        and _same_form(payload[key]) != _same_form(found[key])
    }
    if "n_gpu" in payload and payload["n_gpu"] is None and found.get("accelerators"):
        other["n_gpu"] = len(found["accelerators"])
    return other


def _same_form(value: object) -> str:
    # 14 and "14", "0_5" and 0.5, "vllm" and "vLLM" mean the same.
    return str(value).lower().replace("_", ".")
