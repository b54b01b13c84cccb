"""The settings validated as a whole: all that can be known to be wrong, before anything is made."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from provisioning.cards import type_problem
from provisioning.certificate import certificate_problems
from provisioning.channel_problems import channel_problems
from provisioning.cidrs import cidr_problems
from provisioning.fastgpt_config import config_problems
from provisioning.gpu import fit
from provisioning.images import OF_CODE, OF_MINIO, Images, images, images_problems, images_used
from provisioning.knowledge_problems import knowledge_problems
from provisioning.launch import STALL_MINUTES
from provisioning.launch_checks import launch_problems
from provisioning.problems import PlanError, Problem, repeated, unknown
from provisioning.regions import MAINLAND_REGIONS, mirror_problems, region
from provisioning.releases import release_problems, verdicts
from provisioning.server_problems import server_problems, zone_problems
from provisioning.settings import STRUCTURES, Settings
from provisioning.shape_problems import shape_problems
from provisioning.ssh_keys import key_problems
from provisioning.versions import xinference_release
from provisioning.visitors import visitor_problems


def read_settings(
    given: Mapping[str, Any], secrets: Iterable[str], project: Path
) -> tuple[Settings | None, list[Problem]]:
    """The settings, None where they are not in shape, and all that is wrong or unwise.

    Nothing can be built where a problem is more than a warning.

    Args:
        given: top-level settings in camelCase and `region`, structures parsed, secrets' values not.
        secrets: names of the top-level keys that are secret.
        project: folder of Pulumi.yaml; documents' paths are relative to it.
    """
    secrets = set(secrets)
    problems = list(_secret_problems(given, secrets))
    plain = {k: v for k, v in given.items() if not k.startswith("key-")}
    try:
        settings = Settings.model_validate(plain)
    except ValidationError as error:
        return None, [*problems, *shape_problems(error, Settings)]
    return settings, [*problems, *_check(settings, secrets, project)]


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
    yield from cidr_problems("visitorCidrs", settings.visitor_cidrs)
    yield from visitor_problems(settings)
    yield from key_problems(settings.ssh_key_file, settings.ssh_agent)
    yield from certificate_problems(settings, datetime.now(timezone.utc))
    yield from server_problems(settings)
    yield from _place_problems(settings)
    yield from _name_problems(settings, secrets)
    yield from channel_problems(settings.models, settings.region in MAINLAND_REGIONS)
    yield from config_problems(settings.models)
    yield from knowledge_problems(settings.knowledge, settings.models, project)


def _place_problems(settings: Settings) -> Iterator[Problem]:
    """Region and release, where things come from, and whether Xinference can serve its models."""
    try:
        wrong_cells = list(mirror_problems(settings.region, settings.mirrors))
        yield from wrong_cells
        yield from zone_problems(settings)
        place = region(settings.region, {} if wrong_cells else settings.mirrors)
        release = xinference_release(settings.xinference_version)
    except PlanError as error:
        yield error.problem
        return
    where = (settings.edition, place, settings.images, release, bool(settings.gpus))
    wrong_images = list(images_problems(*where))
    yield from wrong_images
    if all(problem.warning for problem in wrong_images):
        known = images(*where)
        yield from _service_problems(settings, known)
        used = images_used(known, settings)
        yield from release_problems(verdicts(used), settings, date.today())
    if not settings.uses_xinference:
        return
    if (minutes := settings.model_deadline_minutes) <= STALL_MINUTES:
        wrong = f"a download that hangs is noticed after {STALL_MINUTES} min, and this is {minutes}"
        right = f"set it to {2 * STALL_MINUTES} or more, or leave it out for two hours"
        yield Problem("modelDeadlineMinutes", wrong, right)
    yield from launch_problems(settings.models, place, release)
    if type_problem(settings.instance_type, settings.wants_gpu) is None:
        yield from fit(settings.models, settings.gpus).problems


def _service_problems(settings: Settings, known: Images) -> Iterator[Problem]:
    """What only another edition has."""
    if settings.code_sandbox and not set(OF_CODE) & set(known):
        wrong = f"edition {settings.edition} has a sandbox in any case"
        yield Problem("codeSandbox", wrong, "leave it out")
    if settings.storage == "oss" and not set(OF_MINIO) & set(known):
        wrong = f"edition {settings.edition} keeps its files in MongoDB"
        yield Problem("storage", wrong, "leave it out, or set edition: current")


def _name_problems(settings: Settings, secrets: set[str]) -> Iterator[Problem]:
    """Names that are there twice, or lead nowhere: of tokens, their models and their secrets."""
    # MySQL compares without case.
    yield from repeated("tokens", [token.name.lower() for token in settings.tokens])
    served = {model.name for model in settings.models}
    for index, token in enumerate(settings.tokens):
        for name in [name for name in token.models if name not in served]:
            yield unknown(f"tokens[{index}].models", "model", name, served)
    for index, model in enumerate(settings.models):
        if model.remote and (name := model.remote.secret_name) not in secrets:
            form = model.remote.offer.key_form
            right = f"`pulumi config set --secret {name}` asks for it ({form})"
            yield Problem(f"models[{index}].remote.apiKey", f"{name} is not set", right)
