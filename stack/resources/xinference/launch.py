"""How a model is started and stopped, whatever stands under its uid already."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from provisioning.clients.errors import Busy, Conflict
from provisioning.clients.waiting import Waiting, wait_until
from provisioning.clients.xinference import ModelState, XinferenceClient
from stack.resources.declaration import REACH, Endpoint, Lab, Thing

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

    def client(self, lab: Lab) -> XinferenceClient:
        """A client of it."""
        return XinferenceClient(lab.address(self.endpoint), **lab.options)


def start(client: XinferenceClient, payload: Payload) -> None:
    """Launch a model, or adopt an equal one; from now on it starts with the server.

    Another model of the same uid makes room.
    """
    # An older entry would bring its own model back while ours takes its place.
    client.delete_autostart(uid_of(payload))
    try:
        client.launch(payload)
    except Conflict:
        # Taken, perhaps by an interrupted run. One that launches is not to be told before it
        # serves; `ModelsReady` compares then.
        state = state_of(client, payload)
        if not (state.standing == "launching" or is_as_told(payload, state)):
            restart(client, payload)
    # The launch before the entry: writing one starts what is down.
    client.put_autostart(payload)


def restart(client: XinferenceClient, payload: Payload) -> None:
    """End what has the payload's uid, then launch; one that starts by itself meanwhile stays."""
    _end(client, payload)
    # Its autostart entry, if it has one, may be faster.
    with suppress(Conflict):
        client.launch(payload)


def stop(client: XinferenceClient, payload: Payload) -> None:
    """Stop the model of this uid for good, whatever state it is in; returns when it is gone.

    Raises:
        DeadlineExceeded: its launch could not be ended.
    """
    # The entry first: it would start the model again.
    client.delete_autostart(uid_of(payload))
    _end(client, payload)


def _end(client: XinferenceClient, payload: Payload) -> None:
    wait_until(
        f"{uid_of(payload)} to be gone",
        lambda: _ended(client, payload),
        service=client.service,
        deadline=STOP_SECONDS,
        advice="run it again later, or restart it on the server (`docker restart xinference`)",
        every=POLL_SECONDS,
        clock=client.clock,
        # It came up between two looks, or fell back; the next look decides.
        tolerate=(Busy, Conflict),
    )


def _ended(client: XinferenceClient, payload: Payload) -> bool | Waiting:
    uid = uid_of(payload)
    state = client.state(uid)
    if state.standing in ("serving", "down"):
        client.stop(uid)
    # Before there is a first status, no worker hears a cancel: the launch would go on, unseen.
    if state.standing == "launching" and state.replicas:
        client.cancel(uid)
    if state.standing == "stranded":
        # It became ready as its launch was cancelled. A launch meets it, fails and clears it away.
        client.launch(payload)
    state = client.state(uid)
    return state.standing in ("absent", "failed") or Waiting(str(state))


def uid_of(payload: Payload) -> str:
    """The name under which the model is asked for."""
    return str(payload["model_uid"])


def state_of(client: XinferenceClient, payload: Payload) -> ModelState:
    """How the model of this uid stands, every copy that was asked for counted."""
    return client.state(uid_of(payload), int(payload.get("replica") or 1))


def is_as_told(payload: Payload, state: ModelState) -> bool:
    """Whether what was asked for serves."""
    return state.standing == "serving" and not differences(payload, state.found)


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
