"""The plan of a lab: all that the tables say of its settings, asked once; `make plan` prints it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provisioning.catalogue import in_xinference
from provisioning.channels import ChannelPlan, channel_plans
from provisioning.containers import Container, containers
from provisioning.editions import EDITIONS, EditionName
from provisioning.fastgpt_config import config_json
from provisioning.fastgpt_models import model_set
from provisioning.gpu import Fit, fit
from provisioning.host import HostSteps, host_steps
from provisioning.images import images, images_used
from provisioning.launch import launch_payload
from provisioning.ports import (
    CHALLENGE_PORT,
    FASTGPT_PORT,
    ONEAPI_PORT,
    SHARE_PORT,
    XINFERENCE_PORT,
    tls_ports,
)
from provisioning.prices import Price, hourly_price
from provisioning.regions import Region, region
from provisioning.releases import Verdict, verdicts
from provisioning.settings import Settings
from provisioning.versions import XinferenceRelease, xinference_release

_WORLD = "0.0.0.0/0"


@dataclass(frozen=True)
class Plan:
    """What is built of the settings.

    Attributes:
        settings: what it is of.
        edition: which FastGPT.
        region: where packages, images and models come from.
        release: what this Xinference can do and needs.
        open_ports: port to the networks that reach it, both sorted; every other port is shut.
        steps: how the server is prepared.
        verdicts: what is known of each part's release.
        containers: by name, each after those that it needs; secrets are `{names}` in them.
        launches: model to the body of its launch in Xinference, in the settings' order.
        channels: OneAPI's.
        fastgpt_models: what FastGPT is told of the models; () where it reads them in a file.
        fit: the models on the cards.
        price: per hour.
    """

    settings: Settings
    edition: EditionName
    region: Region
    release: XinferenceRelease
    open_ports: Mapping[int, tuple[str, ...]]
    steps: HostSteps
    verdicts: tuple[Verdict, ...]
    containers: Mapping[str, Container]
    launches: Mapping[str, dict[str, Any]]
    channels: tuple[ChannelPlan, ...]
    fastgpt_models: tuple[dict[str, Any], ...]
    fit: Fit
    price: Price


def plan(settings: Settings) -> Plan:
    """The plan of these settings, even of refused ones; a PlanError as `read_settings` says it."""
    place = region(settings.region, settings.mirrors)
    release = xinference_release(settings.xinference_version)
    known = images(settings.edition, place, settings.images, release, bool(settings.gpus))
    chosen = images_used(known, settings)
    in_a_file = EDITIONS[settings.edition].models_file
    return Plan(
        settings=settings,
        edition=settings.edition,
        region=place,
        release=release,
        open_ports=_open_ports(settings),
        steps=host_steps(settings, place, chosen, release),
        verdicts=tuple(verdicts(chosen)),
        containers=containers(settings, place, chosen, release, config_json(settings.models)),
        launches={
            model.name: launch_payload(model, place, release)
            for model in in_xinference(settings.models)
        },
        channels=tuple(channel_plans(settings.models, place)),
        fastgpt_models=() if in_a_file else tuple(model_set(settings.models)),
        fit=fit(settings.models, settings.gpus),
        price=hourly_price(settings),
    )


def _open_ports(settings: Settings) -> dict[int, tuple[str, ...]]:
    services = [FASTGPT_PORT, ONEAPI_PORT, *([XINFERENCE_PORT] if settings.uses_xinference else [])]
    chat = FASTGPT_PORT
    if settings.domain:
        behind = tls_ports(settings.edition)
        services, chat = [behind[port] for port in services], SHARE_PORT
    operators = tuple(sorted(settings.allowed_cidrs))
    visitors = (_WORLD,) if settings.public_chat else operators + settings.visitor_cidrs
    opened = dict.fromkeys((settings.ssh_port, *services), operators)
    opened[chat] = tuple(sorted(set(visitors)))
    if settings.domain and not settings.certificate_file:
        opened[CHALLENGE_PORT] = (_WORLD,)
    return dict(sorted(opened.items()))
