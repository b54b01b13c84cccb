"""The settings: validated as a whole, frozen.

Top-level keys are declared in Pulumi.yaml; nested shapes and checks stand beside what they are of.
Everything that can be known to be wrong is said at once, before any resource exists: which setting,
what is wrong with it, what would be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError

from provisioning.catalogue import PROVIDERS, Model, Shape, in_xinference
from provisioning.channels import channel_problems
from provisioning.cidrs import cidr_problems
from provisioning.fastgpt_config import config_problems
from provisioning.gpu import Gpus, fit, gpus_of
from provisioning.images import images
from provisioning.knowledge import Knowledge
from provisioning.knowledge_problems import knowledge_problems
from provisioning.launch import launch_problems
from provisioning.problems import PlanError, Problem, nearest, repeated, unknown
from provisioning.regions import region
from provisioning.ssh_keys import key_problem
from provisioning.versions import DEFAULT_XINFERENCE, driver_problem, xinference_release

STRUCTURES = ("models", "tokens", "knowledge", "images", "mirrors", "tags", "allowedCidrs")
"""The settings that are lists or mappings; Pulumi hands them over as JSON."""


def _problem(path: str, sentence: str) -> Problem:
    """A problem from one sentence, `what is wrong; what would be right`."""
    wrong, _, right = sentence.partition("; ")
    return Problem(path, wrong, right)


class SettingsError(Exception):
    """The settings cannot be used. `problems` has everything found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} setting{'s' if count > 1 else ''} cannot be used; nothing was created.\n"
        super().__init__(head + "\n".join(f"  - {problem}" for problem in self.problems))


class TokenSetting(Shape):
    """A further OneAPI token (`facts/oneapi.md §5`)."""

    name: str = Field(min_length=1, max_length=30, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    models: tuple[str, ...] = Field(default=(), description="What it may use; all if empty.")


class Settings(Shape):
    """Every setting of a lab. Field names are those of Pulumi.yaml in snake_case."""

    region: str
    instance_type: str
    zone: str = ""
    image_id: str = ""
    disk_size_gib: int = Field(alias="diskSizeGiB")
    disk_category: str
    disk_performance_level: str
    bandwidth_mbps: int = Field(ge=1, le=100)
    elastic_ip: bool
    spot: bool
    spot_price_limit: str = Field(default="", pattern=r"^(\d+(\.\d{1,3})?)?$")
    lease_hours: int = Field(ge=0, le=3 * 365 * 24 - 1)
    server_generation: int = Field(ge=1)
    tags: dict[str, str] = Field(default_factory=dict)
    allowed_cidrs: tuple[str, ...] = Field(min_length=1)
    public_chat: bool
    ssh_key_file: str
    ssh_port: int = Field(ge=1, le=65535)
    models: tuple[Model, ...] = ()
    tokens: tuple[TokenSetting, ...] = ()
    knowledge: Knowledge = Knowledge()
    check_paid_channels: bool
    xinference_version: str
    images: dict[str, str] = Field(default_factory=dict)
    mirrors: dict[str, str] = Field(default_factory=dict)
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
    def uses_xinference(self) -> bool:
        """Whether any model is served by the lab itself."""
        return bool(in_xinference(self.models))


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
        raise SettingsError([*problems, *_shape_problems(error)]) from None
    problems += _check(settings, secrets, project)
    if refused := [problem for problem in problems if not problem.warning]:
        raise SettingsError(refused)
    settings._warnings = tuple(problems)
    return settings


def _secret_problems(given: Mapping[str, Any], secrets: set[str]) -> Iterator[Problem]:
    for key in sorted(secrets & set(STRUCTURES)):
        yield _problem(
            key,
            "holds a `secure:` value, which would be shown in plain by `pulumi stack output`. "
            "Name a secret instead (`apiKey: dashscope`) and set it with "
            "`pulumi config set --secret key-dashscope ...`",
        )
    for key in sorted(given):
        if key.startswith("key-") and key not in secrets:
            yield _problem(key, f"is in plain text; set it with `pulumi config set --secret {key}`")


def _shape_problems(error: ValidationError) -> Iterator[Problem]:
    for found in error.errors(include_url=False, include_input=False):
        yield _problem(_path(found["loc"]) or "settings", _message(found))


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _message(found: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    message = str(found["msg"]).removeprefix("Value error, ")
    if found["type"] == "missing":
        return "is missing"
    if found["type"] != "extra_forbidden":
        return message[:1].lower() + message[1:]
    key, known = str(found["loc"][-1]), _known_keys(found["loc"][:-1])
    return f"is no setting; {nearest(key, known)}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    shape: type[Shape] = Settings
    for part in location:
        if isinstance(part, int):
            continue
        shape = _shape_below(shape, part) or shape
    return [field.alias or name for name, field in shape.model_fields.items()]


def _shape_below(shape: type[Shape], key: str) -> type[Shape] | None:
    for name, field in shape.model_fields.items():
        if key in (name, field.alias):
            return next(_shapes_in(field.annotation), None)
    return None


def _shapes_in(annotation: Any) -> Iterator[type[Shape]]:  # noqa: ANN401 - a type expression
    if isinstance(annotation, type) and issubclass(annotation, Shape):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _shapes_in(argument)


def _check(settings: Settings, secrets: set[str], project: Path) -> Iterator[Problem]:
    yield from cidr_problems("allowedCidrs", settings.allowed_cidrs)
    yield from _disk_problems(settings)
    yield from _place_problems(settings)
    if wrong := key_problem(settings.private_key_file):
        yield _problem("sshKeyFile", wrong)
    yield from _token_problems(settings)
    yield from _source_problems(settings, secrets)
    yield from _xinference_problems(settings)
    yield from knowledge_problems(settings.knowledge, settings.models, project)


_ESSD_SIZES = {"PL0": (1, 2048), "PL1": (20, 2048), "PL2": (461, 2048), "PL3": (1261, 2048)}
_DISK_CATEGORIES = ("cloud_essd", "cloud_auto", "cloud_essd_entry")
# Driver, Docker, images and one small model need this much before anything is stored.
_SMALLEST_DISK = 40


def _disk_problems(settings: Settings) -> Iterator[Problem]:
    """Ranges of `facts/alicloud.md §2.3`."""
    if settings.disk_category not in _DISK_CATEGORIES:
        yield _problem("diskCategory", f"must be one of {', '.join(_DISK_CATEGORIES)}")
        return
    low, high = 20, 2048
    if settings.disk_category == "cloud_essd":
        if settings.disk_performance_level not in _ESSD_SIZES:
            yield _problem("diskPerformanceLevel", f"must be one of {', '.join(_ESSD_SIZES)}")
            return
        low, high = _ESSD_SIZES[settings.disk_performance_level]
    low = max(low, 100 if settings.gpus else _SMALLEST_DISK)
    if not low <= settings.disk_size_gib <= high:
        kind = f"{settings.disk_category} {settings.disk_performance_level}".strip()
        yield _problem(
            "diskSizeGiB", f"{settings.disk_size_gib} is outside {low} to {high} ({kind})"
        )


def _place_problems(settings: Settings) -> Iterator[Problem]:
    if not settings.region:
        yield _problem("alicloud:region", "is missing; the provider would silently take cn-beijing")
        return
    try:
        version = settings.xinference_version if settings.uses_xinference else DEFAULT_XINFERENCE
        images(
            region(settings.region, settings.mirrors), settings.images, version, bool(settings.gpus)
        )
    except PlanError as error:
        yield error.problem
    if settings.zone and not settings.zone.startswith(settings.region):
        yield _problem("zone", f"{settings.zone} is not in {settings.region}")
    if not settings.instance_type.startswith("ecs."):
        yield _problem("instanceType", "must be an ECS type, such as ecs.gn7i-c16g1.4xlarge")
    if settings.spot_price_limit and not settings.spot:
        yield _problem("spotPriceLimit", "has no effect without spot: true")


def _token_problems(settings: Settings) -> Iterator[Problem]:
    yield from repeated("tokens", [token.name for token in settings.tokens])
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
            form = PROVIDERS[model.remote.provider].key_form
            yield _problem(
                f"{path}.apiKey",
                f"{model.remote.secret_name} is not set; `pulumi config set --secret "
                f"{model.remote.secret_name}` asks for it ({form})",
            )
    yield from channel_problems(settings.models)
    yield from config_problems(settings.models)


def _xinference_problems(settings: Settings) -> Iterator[Problem]:
    """Whether what is to run on the server can: version, driver, GPU memory."""
    if not settings.uses_xinference:
        return
    try:
        release = xinference_release(settings.xinference_version)
    except PlanError:
        return  # said already, with the images
    if settings.gpus and (wrong := driver_problem(release)):
        yield _problem("xinferenceVersion", wrong)
    yield from launch_problems(settings.models)
    yield from fit(settings.models, settings.gpus).problems
