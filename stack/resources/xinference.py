"""Models running in Xinference, as resources (`facts/xinference.md`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from stack.resources.base import Endpoint, LabProvider


class XinferenceModelProvider(LabProvider):
    """Starts one model, and does not wait for it."""


class XinferenceModel(Resource, module="lab", name="XinferenceModel"):
    """One model, started (not awaited: see `XinferenceModelsReady`).

    A changed payload replaces it, the old one leaving first: there is one GPU. A running model that
    equals the payload is adopted.

    Args:
        endpoint: Xinference's port on the server.
        payload: body of POST /v1/models; `model_uid` names it.
        autostart: whether Xinference (2.12 and later) starts it again after a restart.
    """

    endpoint: pulumi.Output[dict[str, Any]]
    payload: pulumi.Output[dict[str, Any]]
    autostart: pulumi.Output[bool]
    uid: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        payload: pulumi.Input[Mapping[str, Any]],
        autostart: pulumi.Input[bool] = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            XinferenceModelProvider(),
            resource_name,
            {"endpoint": endpoint, "payload": payload, "autostart": autostart, "uid": None},
            opts,
        )


class XinferenceModelsReadyProvider(LabProvider):
    """Waits until a group of models serves."""


class XinferenceModelsReady(Resource, module="lab", name="XinferenceModelsReady"):
    """A group of models that all serve.

    Follows the replicas to READY or ERROR with stage, bytes and speed in the log; a failed download
    is started again under the same uid a bounded number of times.

    Args:
        uids: the models' uids.
        payloads: uid -> launch payload; without it a failed download cannot be repeated.
        deadline_minutes: for the whole group.
        generation: any text; a change of it makes the group be looked at again.

    Outputs: `ready`, the uids that served when last looked at.
    """

    ready: pulumi.Output[list[str]]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        uids: pulumi.Input[Sequence[pulumi.Input[str]]],
        payloads: pulumi.Input[Mapping[str, Any]] | None = None,
        deadline_minutes: pulumi.Input[float] = 90,
        generation: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            XinferenceModelsReadyProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "uids": uids,
                "payloads": payloads,
                "deadline_minutes": deadline_minutes,
                "generation": generation,
                "ready": None,
            },
            opts,
        )
