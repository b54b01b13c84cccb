"""The settings: validated as a whole, frozen.

Top-level keys are declared in Pulumi.yaml; nested shapes and checks stand beside what they are of.
Everything that can be known to be wrong is said at once, before any resource exists: which setting,
what is wrong with it, what would be right.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationError

from provisioning.cards import Gpus, gpus_of, type_problem
from provisioning.catalogue import PROVIDERS, Model, Shape, in_xinference
from provisioning.channels import channel_problems
from provisioning.cidrs import cidr_problems
from provisioning.fastgpt_config import config_problems
from provisioning.gpu import fit
from provisioning.images import REFERENCE_FORMS, images_problems
from provisioning.knowledge import KeyName, Knowledge
from provisioning.knowledge_problems import knowledge_problems
from provisioning.launch_checks import launch_problems
from provisioning.problems import PlanError, Problem, repeated, unknown
from provisioning.regions import MAINLAND_REGIONS, mirror_problems, region
from provisioning.server_problems import (
    deadline_problems,
    disk_problems,
    image_problems,
    port_problems,
    spot_problems,
    tag_problems,
    zone_problems,
)
from provisioning.shape_problems import shape_problems
from provisioning.ssh_keys import key_problems
from provisioning.versions import xinference_release

STRUCTURES = ("models", "tokens", "knowledge", "images", "mirrors", "tags", "allowedCidrs")
"""The settings that are lists or mappings; Pulumi hands them over as JSON."""


class SettingsError(Exception):
    """The settings cannot be used.

    Attributes:
        problems: everything that is refused, not only the first.
        settings: what was refused, to show what it asks for; None where it is not even in shape.
    """

    def __init__(self, problems: Iterable[Problem], settings: Settings | None = None) -> None:
        self.problems, self.settings = tuple(problems), settings
        count = len(self.problems)
        head = f"{count} setting{'s' if count > 1 else ''} cannot be used; nothing was created.\n"
        super().__init__(head + "\n".join(f"  - {problem}" for problem in self.problems))


class TokenSetting(Shape):
    """A further OneAPI token (`docs/facts/oneapi.md §5`)."""

    name: KeyName
    models: tuple[str, ...] = Field(default=(), description="What it may use; all if empty.")


_Network = Annotated[str, Field(title="a network", examples=["198.18.0.5/32"])]
_ImageReference = Annotated[str, Field(examples=[REFERENCE_FORMS])]
_Cell = Annotated[
    str, Field(examples=["https://a.example; registryMirrors takes several, divided by commas"])
]


class Settings(Shape):
    """Every setting of a lab. Field names are those of Pulumi.yaml in snake_case."""

    region: str
    instance_type: str
    zone: str = ""
    image_id: str = ""
    disk_size_gib: int = Field(alias="diskSizeGiB", examples=["1000"])
    disk_category: str
    disk_performance_level: str
    bandwidth_mbps: int = Field(ge=1, le=100)
    elastic_ip: bool
    spot: bool
    spot_price_limit: str = Field(
        default="",
        pattern=r"^(\d+(\.\d{1,3})?)?$",
        title="a price per hour, with a dot and at most three digits behind it",
        examples=["3.5"],
    )
    lease_hours: int = Field(ge=0, le=3 * 365 * 24 - 1)
    server_generation: int = Field(ge=1, le=999)
    tags: dict[str, str] = Field(default_factory=dict)
    allowed_cidrs: tuple[_Network, ...] = Field(
        min_length=1, title="a list of networks", examples=['["198.18.0.5/32"]']
    )
    public_chat: bool
    ssh_key_file: str
    ssh_port: int = Field(ge=1, le=65535)
    models: tuple[Model, ...] = ()
    tokens: tuple[TokenSetting, ...] = ()
    knowledge: Knowledge = Knowledge()
    check_paid_channels: bool
    xinference_version: str
    images: dict[str, _ImageReference] = Field(default_factory=dict)
    mirrors: dict[str, _Cell] = Field(default_factory=dict)
    model_deadline_minutes: int = Field(ge=1, le=24 * 60)
    document_deadline_minutes: int = Field(ge=1, le=24 * 60)
    password_rotation: int = Field(ge=1)

    _warnings: tuple[Problem, ...] = PrivateAttr(default=())

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is unwise, though the lab can be built: shown at every preview."""
        return self._warnings

    @property
    def private_key_file(self) -> Path:
        """The operator's private SSH key."""
        return Path(self.ssh_key_file).expanduser()

    @property
    def public_key(self) -> str:
        """The operator's public SSH key, one line."""
        private = self.private_key_file
        return private.with_name(private.name + ".pub").read_text().strip()

    @property
    def gpus(self) -> Gpus | None:
        """The instance type's GPUs, or None where it has none."""
        return gpus_of(self.instance_type)

    @property
    def wants_gpu(self) -> bool:
        """Whether a model is to run on the server's cards."""
        return any(model.xinference.gpus for model in self.models if model.xinference)

    @property
    def uses_xinference(self) -> bool:
        """Whether any model is served by the lab itself."""
        return bool(in_xinference(self.models))


def parsed(key: str, value: Any) -> Any:  # noqa: ANN401 - whatever the operator wrote
    """A setting's value: a structure that was handed over as JSON, read; all else as it is."""
    if key not in STRUCTURES or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def read_settings(given: Mapping[str, Any], secrets: Iterable[str], project: Path) -> Settings:
    """Validate `given` (camelCase top-level settings and `region`) as a whole.

    Args:
        given: the values as written, structures parsed; secrets' values are not among them.
        secrets: names of the top-level keys that are secret.
        project: folder of Pulumi.yaml; documents' paths are relative to it.

    Raises:
        SettingsError: with everything that is wrong.
    """
    secrets = set(secrets)
    problems = list(_secret_problems(given, secrets))
    plain = {k: v for k, v in given.items() if not k.startswith("key-")}
    try:
        settings = Settings.model_validate(plain)
    except ValidationError as error:
        raise SettingsError([*problems, *shape_problems(error, Settings)]) from None
    problems += _check(settings, secrets, project)
    settings._warnings = tuple(problem for problem in problems if problem.warning)
    if refused := [problem for problem in problems if not problem.warning]:
        raise SettingsError(refused, settings)
    return settings


def _secret_problems(given: Mapping[str, Any], secrets: set[str]) -> Iterator[Problem]:
    for key in sorted(secrets & set(STRUCTURES)):
        wrong = "it holds a `secure:` value, which `pulumi stack output` would show in plain"
        right = (
            "name a secret instead (`apiKey: dashscope`) and set it with "
            "`pulumi config set --secret key-dashscope`"
        )
        yield Problem(key, wrong, right)
    for key in sorted(given):
        if key.startswith("key-") and key not in secrets:
            right = f"set it with `pulumi config set --secret {key}`"
            yield Problem(key, "it stands in plain text", right)


def _check(settings: Settings, secrets: set[str], project: Path) -> Iterator[Problem]:
    yield from cidr_problems("allowedCidrs", settings.allowed_cidrs)
    yield from key_problems(settings.ssh_key_file)
    yield from _server_problems(settings)
    yield from _place_problems(settings)
    yield from _token_problems(settings)
    yield from _source_problems(settings, secrets)
    yield from _xinference_problems(settings)
    yield from knowledge_problems(settings.knowledge, settings.models, project)


def _server_problems(settings: Settings) -> Iterator[Problem]:
    instance_type = settings.instance_type
    if wrong_type := type_problem(instance_type, settings.wants_gpu):
        yield wrong_type
    yield from disk_problems(
        settings.disk_category,
        settings.disk_performance_level,
        settings.disk_size_gib,
        instance_type,
        bool(settings.gpus),
    )
    yield from image_problems(settings.image_id)
    yield from port_problems(settings.ssh_port)
    yield from spot_problems(
        settings.spot, settings.spot_price_limit, instance_type, settings.region
    )
    yield from tag_problems(settings.tags)


def _place_problems(settings: Settings) -> Iterator[Problem]:
    """The region, and where in it things come from."""
    try:
        place = region(settings.region, {})
    except PlanError as error:
        yield error.problem
        return
    yield from zone_problems(settings.zone, settings.region)
    yield from mirror_problems(place, settings.mirrors)
    yield from images_problems(
        place, settings.images, settings.xinference_version, bool(settings.gpus)
    )


def _token_problems(settings: Settings) -> Iterator[Problem]:
    # MySQL compares without case.
    yield from repeated("tokens", [token.name.lower() for token in settings.tokens])
    served = {model.name for model in settings.models}
    for index, token in enumerate(settings.tokens):
        for name in token.models:
            if name not in served:
                yield unknown(f"tokens[{index}].models", "model", name, served)


def _source_problems(settings: Settings, secrets: set[str]) -> Iterator[Problem]:
    for index, model in enumerate(settings.models):
        if model.remote is None:
            continue
        path = f"models[{index}].remote"
        known = model.remote.provider in PROVIDERS
        if known and model.remote.secret_name not in secrets:
            secret, form = model.remote.secret_name, PROVIDERS[model.remote.provider].key_form
            right = f"`pulumi config set --secret {secret}` asks for it ({form})"
            yield Problem(f"{path}.apiKey", f"{secret} is not set", right)
    yield from channel_problems(settings.models, settings.region in MAINLAND_REGIONS)
    yield from config_problems(settings.models)


def _xinference_problems(settings: Settings) -> Iterator[Problem]:
    """Whether what is to run on the server can: release, engines, GPU memory."""
    if not settings.uses_xinference:
        return
    try:
        place = region(settings.region, settings.mirrors)
        release = xinference_release(settings.xinference_version)
    except PlanError:
        return  # said already, with the images
    yield from deadline_problems(settings.model_deadline_minutes)
    yield from launch_problems(settings.models, place, release)
    if type_problem(settings.instance_type, settings.wants_gpu) is None:
        yield from fit(settings.models, settings.gpus).problems
