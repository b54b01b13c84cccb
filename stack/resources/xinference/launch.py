"""How a model is started and stopped, whatever stands under its uid already."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from provisioning.clients.http import Busy, Conflict, Waiting, wait_until
from provisioning.clients.xinference import XinferenceClient
from stack.resources.declaration import REACH, Endpoint, Lab, Thing

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
        return XinferenceClient(
            lab.address(self.endpoint), transport=lab.transport, clock=lab.clock
        )


def start(client: XinferenceClient, payload: Mapping[str, Any]) -> None:
    """Launch a model, adopt an equal one, or put it in the place of another of the same uid."""
    try:
        client.launch(payload)
        return
    except Conflict:
        # Taken, perhaps by an interrupted run: what is it?
        state = client.state(str(payload["model_uid"]), copies(payload))
    # One that launches is not to be told before it serves; `ModelsReady` compares then.
    adopted = state.standing == "serving" and not differences(payload, state.found)
    if not adopted and state.standing != "launching":
        restart(client, payload)


def restart(client: XinferenceClient, payload: Mapping[str, Any]) -> None:
    """Stop what has the payload's uid, then launch; one that starts by itself meanwhile stays."""
    stop(client, payload)
    # Its autostart entry, if it has one, may be faster.
    with suppress(Conflict):
        client.launch(payload)


def stop(client: XinferenceClient, payload: Mapping[str, Any]) -> None:
    """Stop the model of this uid, whatever state it is in; returns when it is gone.

    Raises:
        DeadlineExceeded: its launch could not be ended.
    """
    uid = str(payload["model_uid"])
    wait_until(
        f"{uid} to be gone",
        lambda: _ended(client, uid, payload),
        service=client.service,
        deadline=STOP_SECONDS,
        advice="run it again later, or restart it on the server (`docker restart xinference`)",
        every=POLL_SECONDS,
        clock=client.clock,
        # It came up between two looks, or fell back; the next look decides.
        tolerate=(Busy, Conflict),
    )


def _ended(client: XinferenceClient, uid: str, payload: Mapping[str, Any]) -> bool | Waiting:
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


def differences(payload: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What a running model is, where that differs from the payload; arguments do not show."""
    other = {
        key: found[key]
        for key in _COMPARED
        if payload.get(key) is not None
        and found.get(key) is not None
        and _same_form(payload[key]) != _same_form(found[key])
    }
    if "n_gpu" in payload and payload["n_gpu"] is None and found.get("accelerators"):
        other["n_gpu"] = len(found["accelerators"])
    return other


def _same_form(value: object) -> str:
    # 14 and "14", "0_5" and 0.5, "vllm" and "vLLM" mean the same.
    return str(value).lower().replace("_", ".")


def copies(payload: Mapping[str, Any]) -> int:
    """How many replicas a payload asks for."""
    return int(payload.get("replica") or 1)
