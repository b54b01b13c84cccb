"""OneAPI's root user, channels and tokens, as resources (`facts/oneapi.md`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import pulumi
from pulumi.dynamic import Resource

from stack.resources.base import Endpoint, LabProvider, secret_outputs


class Probe(TypedDict):
    """A real request that proves a channel: `kind` as in the catalogue, `relay_key` of a token."""

    kind: pulumi.Input[str]
    model: pulumi.Input[str]
    relay_key: pulumi.Input[str]


class OneApiRootProvider(LabProvider):
    """Makes the first contact: sets root's password, hands on the access token."""


class OneApiRoot(Resource, module="lab", name="OneApiRoot"):
    """OneAPI's user `root` with the given password (8 to 20 characters).

    The only resource that ever logs in (20 logins per 20 minutes, successes count).

    Outputs: `access_token` (secret), for all management calls.
    """

    password: pulumi.Output[str]
    access_token: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        password: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            OneApiRootProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "password": pulumi.Output.secret(password),
                "access_token": None,
            },
            secret_outputs(opts, "password", "access_token"),
        )


class OneApiChannelProvider(LabProvider):
    """Upserts one channel by its exact name."""


class OneApiChannel(Resource, module="lab", name="OneApiChannel"):
    """One channel: a source of models of one kind.

    Args:
        name: exact, unique; an existing channel of that name is adopted, doubles are removed.
        type: OneAPI's channel type id (1 for Xinference).
        base_url: without path; "" for the vendor's own address.
        models: public names; blanks stripped, doubles (whatever the case) dropped.
        model_mapping: public name -> upstream name.
        key: the upstream's API key; never empty (a dummy for Xinference).
        priority: the highest wins.
        probe: the request that must go through before the channel counts as made; None skips it.

    Outputs: `channel_id`, `status` (1 enabled), `duplicates`.
    """

    name: pulumi.Output[str]
    models: pulumi.Output[list[str]]
    channel_id: pulumi.Output[int]
    status: pulumi.Output[int]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        access_token: pulumi.Input[str],
        type: pulumi.Input[int],
        models: pulumi.Input[Sequence[pulumi.Input[str]]],
        key: pulumi.Input[str],
        name: pulumi.Input[str] | None = None,
        base_url: pulumi.Input[str] = "",
        model_mapping: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        priority: pulumi.Input[int] = 0,
        probe: pulumi.Input[Probe] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            OneApiChannelProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "access_token": pulumi.Output.secret(access_token),
                "name": name if name is not None else resource_name,
                "type": type,
                "base_url": base_url,
                "models": models,
                "model_mapping": model_mapping if model_mapping is not None else {},
                "key": pulumi.Output.secret(key),
                "priority": priority,
                "probe": None if probe is None else pulumi.Output.secret(probe),
                "channel_id": None,
                "status": None,
                "duplicates": None,
            },
            secret_outputs(opts, "access_token", "key", "probe"),
        )


class OneApiTokenProvider(LabProvider):
    """Upserts one relay token by its exact name."""


class OneApiToken(Resource, module="lab", name="OneApiToken"):
    """One relay token, i.e. an API key for the lab's users.

    Args:
        name: exact, unique, at most 30 bytes.
        models: public names it may use; empty for all.
        unlimited: whether it has no quota.
        remain_quota: the quota to set, if limited; what is left of it later is not drift.
        expired_time: seconds since 1970; -1 for never.

    Outputs: `key` (secret, with `sk-`), `token_id`, `status` (1 enabled).
    """

    name: pulumi.Output[str]
    key: pulumi.Output[str]
    token_id: pulumi.Output[int]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        access_token: pulumi.Input[str],
        name: pulumi.Input[str] | None = None,
        models: pulumi.Input[Sequence[pulumi.Input[str]]] = (),
        unlimited: pulumi.Input[bool] = True,
        remain_quota: pulumi.Input[int] = 0,
        expired_time: pulumi.Input[int] = -1,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            OneApiTokenProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "access_token": pulumi.Output.secret(access_token),
                "name": name if name is not None else resource_name,
                "models": list(models) if isinstance(models, tuple) else models,
                "unlimited": unlimited,
                "remain_quota": remain_quota,
                "expired_time": expired_time,
                "key": None,
                "token_id": None,
                "status": None,
                "duplicates": None,
            },
            secret_outputs(opts, "access_token", "key"),
        )
