"""OneAPI seeded: root's password, one channel per source and kind, tokens."""

from dataclasses import dataclass

import pulumi

from provisioning.channels import ChannelPlan
from provisioning.plan import Plan
from provisioning.ports import ONEAPI_PORT
from stack.models import Models
from stack.part import part
from stack.passwords import Passwords
from stack.resources.oneapi.channel import OneApiChannel
from stack.resources.oneapi.root import OneApiRoot
from stack.resources.oneapi.token import OneApiToken
from stack.server import Server
from stack.services import Services


@dataclass(frozen=True)
class Gateway:
    """The seeded OneAPI: its management's token and the keys, both secret; channels by model."""

    access_token: pulumi.Output[str]
    tokens: dict[str, pulumi.Output[str]]
    by_model: dict[str, OneApiChannel]


def seed_gateway(
    plan: Plan, server: Server, services: Services, models: Models, lab: pulumi.Resource
) -> Gateway:
    """Make the channels and tokens. A channel waits for its own models only."""
    parent = part("Gateway", lab)
    there = server.endpoint(ONEAPI_PORT)
    root = OneApiRoot(
        "oneapi-root",
        endpoint=there,
        password=services.passwords.oneapi_root,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[services.healthy["oneapi"]]),
    )
    session = {"endpoint": there, "access_token": root.access_token}
    by_model = {}
    for each in plan.channels:
        local = each.api_key is None
        waits = models.ready(each.kind) if local else []
        channel = OneApiChannel(
            each.name,
            **session,
            type=each.type,
            base_url=each.base_url,
            models=list(each.models),
            model_mapping=each.model_mapping,
            key=_key(each, services.passwords),
            kind=each.kind,
            probe=each.models[0] if local or plan.settings.check_paid_channels else "",
            relay_key=services.relay_key,
            opts=pulumi.ResourceOptions(parent=parent, depends_on=waits),
        )
        by_model.update(dict.fromkeys(each.models, channel))
    opts = pulumi.ResourceOptions(parent=parent)
    tokens = {
        token.name: OneApiToken(
            f"token-{token.name}", **session, name=token.name, models=list(token.models), opts=opts
        ).key
        for token in plan.settings.tokens
    }
    parent.register_outputs({})
    return Gateway(root.access_token, tokens, by_model)


def _key(channel: ChannelPlan, passwords: Passwords) -> pulumi.Output[str]:
    if channel.api_key is None:
        return passwords.xinference_key
    return pulumi.Config().require_secret(channel.api_key)
