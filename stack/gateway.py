"""OneAPI seeded: root's password, one channel per source and kind, tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from provisioning.channels import XINFERENCE_KEY, ChannelPlan
from provisioning.plan import Plan
from provisioning.ports import ONEAPI_PORT
from provisioning.settings import Settings, TokenSetting
from stack.models import Models
from stack.part import part
from stack.resources.oneapi.channel import OneApiChannel
from stack.resources.oneapi.root import OneApiRoot
from stack.resources.oneapi.token import OneApiToken
from stack.server import Server
from stack.services import Services


@dataclass(frozen=True)
class Gateway:
    """The seeded OneAPI.

    Attributes:
        access_token: of its management API, secret.
        tokens: name to key, secret.
        by_model: the channel that serves a model.
    """

    access_token: pulumi.Output[str]
    tokens: dict[str, pulumi.Output[str]]
    by_model: dict[str, OneApiChannel]


def seed_gateway(
    settings: Settings,
    plan: Plan,
    server: Server,
    services: Services,
    models: Models,
    lab: pulumi.Resource,
) -> Gateway:
    """Make the channels and tokens. A channel waits for its own models only."""
    parent = part("Gateway", lab)
    there = server.endpoint(ONEAPI_PORT)
    root = OneApiRoot(
        "oneapi-root",
        endpoint=there,
        password=services.oneapi_password,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[services.oneapi]),
    )
    session = {"endpoint": there, "access_token": root.access_token}
    by_model = {}
    for each in plan.channels:
        waits = models.ready(each.kind) if each.api_key is None else []
        channel = OneApiChannel(
            each.name,
            **session,
            type=each.type,
            base_url=each.base_url,
            models=list(each.models),
            model_mapping=each.model_mapping,
            key=_key(each),
            kind=each.kind,
            probe=_probe(each, settings),
            relay_key=services.relay_key,
            opts=pulumi.ResourceOptions(parent=parent, depends_on=waits),
        )
        by_model.update(dict.fromkeys(each.models, channel))
    tokens = {token.name: _token(token, session, parent).key for token in plan.tokens}
    parent.register_outputs({})
    return Gateway(root.access_token, tokens, by_model)


def _token(
    token: TokenSetting, session: Mapping[str, pulumi.Input[Any]], parent: pulumi.Resource
) -> OneApiToken:
    return OneApiToken(
        f"token-{token.name}",
        **session,
        name=token.name,
        models=list(token.models),
        opts=pulumi.ResourceOptions(parent=parent),
    )


def _key(channel: ChannelPlan) -> pulumi.Output[str]:
    if channel.api_key is None:
        # Xinference asks for none, and OneAPI refuses an empty one (docs/facts/oneapi.md §4).
        return pulumi.Output.secret(XINFERENCE_KEY)
    return pulumi.Config().require_secret(channel.api_key)


def _probe(channel: ChannelPlan, settings: Settings) -> str:
    return channel.models[0] if channel.api_key is None or settings.check_paid_channels else ""
