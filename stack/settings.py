"""The settings: read once, validated as a whole, frozen.

Top-level keys are declared in Pulumi.yaml; the nested shapes are in `provisioning/`. Everything
that can be known to be wrong is said at once, before any resource exists: which setting, what is
wrong with it, what would be right.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pulumi
from pydantic import Field, PrivateAttr, ValidationError

from provisioning.catalogue import PROVIDERS, Model, Shape, in_xinference, of_kind
from provisioning.channels import channel_problems
from provisioning.documents import source_problems, sources
from provisioning.fastgpt_config import config_problems
from provisioning.gpu import Gpus, fit, gpus_of
from provisioning.images import images
from provisioning.knowledge import App, Knowledge
from provisioning.launch import launch_problems
from provisioning.problems import PlanError, Problem, nearest
from provisioning.regions import region
from provisioning.ssh_keys import key_problem
from provisioning.versions import DEFAULT_XINFERENCE, driver_problem, xinference_release

PLACEHOLDER_NETWORKS = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
_STRUCTURES = ("models", "tokens", "knowledge", "images", "mirrors", "tags", "allowedCidrs")


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


def load_settings(project: Path) -> Settings:
    """The settings of the current stack.

    Args:
        project: folder of Pulumi.yaml; documents' paths are relative to it.

    Raises:
        SettingsError: with everything that is wrong.
    """
    given, secrets = _configured()
    settings = read_settings(given, secrets, project)
    for warning in settings.warnings:
        pulumi.log.warn(str(warning))
    return settings


def read_settings(given: Mapping[str, Any], secrets: Iterable[str], project: Path) -> Settings:
    """Validate `given` (camelCase top-level settings and `region`) as a whole.

    Args:
        given: the values as written, structures parsed; secrets' values are not among them.
        secrets: names of the top-level keys that are secret.
        project: see `load_settings`.

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


def _configured() -> tuple[dict[str, Any], set[str]]:
    prefix = f"{pulumi.get_project()}:"
    given: dict[str, Any] = {"region": pulumi.Config("alicloud").get("region") or ""}
    secrets: set[str] = set()
    for full, value in pulumi.runtime.config.CONFIG.get().items():
        if not full.startswith(prefix):
            continue
        key = full[len(prefix) :]
        if pulumi.runtime.config.is_config_secret(full):
            secrets.add(key)
        given[key] = "" if key.startswith("key-") else _parsed(key, value)
    return given, secrets


def _parsed(key: str, value: str) -> Any:  # noqa: ANN401 - whatever the operator wrote
    if key not in _STRUCTURES:
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _secret_problems(given: Mapping[str, Any], secrets: set[str]) -> Iterator[Problem]:
    for key in sorted(secrets & set(_STRUCTURES)):
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
    yield from _cidr_problems(settings)
    yield from _disk_problems(settings)
    yield from _place_problems(settings)
    if wrong := key_problem(settings.private_key_file):
        yield _problem("sshKeyFile", wrong)
    yield from _name_problems(settings)
    yield from _source_problems(settings, secrets)
    yield from _xinference_problems(settings)
    yield from _knowledge_problems(settings, project)


def _cidr_problems(settings: Settings) -> Iterator[Problem]:
    for index, cidr in enumerate(settings.allowed_cidrs):
        if wrong := _cidr_problem(cidr):
            yield _problem(f"allowedCidrs[{index}]", wrong)
    yield from _repeated("allowedCidrs", settings.allowed_cidrs)


def _cidr_problem(cidr: str) -> str | None:
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError:
        return _not_canonical(cidr)
    if network.version == 6:
        return f"{cidr} is IPv6; the server has an IPv4 address only"
    if network.prefixlen == 0:
        return (
            "0.0.0.0/0 would let everybody manage models and keys; name your own network, such as "
            "203.0.113.5/32. To open the chat pages alone, set publicChat: true"
        )
    if "/" not in cidr:
        return f"write {cidr}/32"
    if any(network.subnet_of(ipaddress.ip_network(p)) for p in PLACEHOLDER_NETWORKS):  # type: ignore[arg-type]
        return (
            f"{cidr} is the example from the manual, nobody's address; put your own there "
            "(`curl -4 https://ifconfig.me` shows it), followed by /32"
        )
    return None


def _not_canonical(cidr: str) -> str:
    try:
        network = ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return f"{cidr!r} is not a network; write it like 203.0.113.5/32 or 198.18.0.0/24"
    return f"{cidr} has bits set behind its mask; the network is {network}"


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


def _name_problems(settings: Settings) -> Iterator[Problem]:
    knowledge = settings.knowledge
    yield from _repeated("models", [m.title for m in settings.models if m.title])
    yield from _repeated("tokens", [token.name for token in settings.tokens])
    yield from _repeated("knowledge.bases", [base.name for base in knowledge.bases])
    yield from _repeated("knowledge.apps", [app.name for app in knowledge.apps])
    for index, app in enumerate(knowledge.apps):
        yield from _repeated(f"knowledge.apps[{index}].links", [link.name for link in app.links])
        yield from _repeated(f"knowledge.apps[{index}].apiKeys", app.api_keys)
    served = {model.name for model in settings.models}
    for index, token in enumerate(settings.tokens):
        for name in token.models:
            if name not in served:
                yield _problem(f"tokens[{index}].models", _no_such("model", name, served))


def _repeated(path: str, names: Iterable[str]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield _problem(f"{path}[{index}]", f"{name} is there twice; names must be unique")
        seen.add(name)


def _no_such(what: str, name: str, known: Iterable[str]) -> str:
    return f"no {what} is called {name}; {nearest(name, known)}"


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


def _knowledge_problems(settings: Settings, project: Path) -> Iterator[Problem]:
    knowledge = settings.knowledge
    bases = {base.name: base for base in knowledge.bases}
    chat = [model.name for model in of_kind(settings.models, "chat")]
    embeddings = [model.name for model in of_kind(settings.models, "embedding")]
    for index, base in enumerate(knowledge.bases):
        path = f"knowledge.bases[{index}]"
        yield from _served(f"{path}.embedding", "embedding model", base.embedding, embeddings)
        yield from _served(f"{path}.fileModel", "chat model", base.file_model, chat)
        for number, wrong in source_problems(base, project):
            yield _problem(f"{path}.documents[{number}]", wrong)
    for index, app in enumerate(knowledge.apps):
        path = f"knowledge.apps[{index}]"
        yield from _served(f"{path}.model", "chat model", app.model, chat)
        for name in app.bases:
            if name not in bases:
                yield _problem(f"{path}.bases", _no_such("base", name, bases))
        used = {
            bases[name].embedding or next(iter(embeddings), "")
            for name in app.bases
            if name in bases
        }
        if len(used) > 1:
            wrong = f"have different embedding models ({', '.join(sorted(used))}); an app needs one"
            yield _problem(f"{path}.bases", wrong)
        if app.rerank and not of_kind(settings.models, "rerank"):
            yield _problem(f"{path}.rerank", "needs a model of kind rerank in the catalogue")
    yield from _question_problems(knowledge, project)


def _served(path: str, what: str, name: str | None, known: list[str]) -> Iterator[Problem]:
    if name is not None and name not in known:
        yield _problem(path, _no_such(what, name, known))
    elif not known:
        yield _problem(path, f"needs a {what}, and the catalogue has none")


def _question_problems(knowledge: Knowledge, project: Path) -> Iterator[Problem]:
    question = knowledge.question
    if question is None:
        return
    linked = {app.name: app for app in knowledge.apps if app.links}
    if question.app is not None and question.app not in linked:
        wrong = _no_such("app with a share link", question.app, linked)
        yield _problem("knowledge.question.app", wrong)
    elif not linked:
        yield _problem("knowledge.question", "needs an app with a share link to ask")
    elif question.cites is not None:
        asked = linked[question.app or next(iter(linked))]
        yield from _citation_problems(question.cites, asked, knowledge, project)


def _citation_problems(
    cites: str, asked: App, knowledge: Knowledge, project: Path
) -> Iterator[Problem]:
    known = [s for b in knowledge.bases if b.name in asked.bases for s in sources(b, project)]
    # A web page is cited by its title, which only the page knows.
    if any(source.document.link is not None for source in known):
        return
    names = {source.name for source in known}
    if not names:
        wrong = f"{asked.name} has no document to cite; give it a base, or leave `cites` out"
        yield _problem("knowledge.question.cites", wrong)
    elif PurePosixPath(cites).name not in names:
        wrong = _no_such(f"document of {asked.name}", cites, names)
        yield _problem("knowledge.question.cites", wrong)
