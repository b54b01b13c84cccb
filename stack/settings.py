"""The settings of the current stack, as Pulumi has them."""

from pathlib import Path
from typing import Any

import pulumi

from provisioning.settings import Settings, parsed
from provisioning.validation import read_settings
from stack.told import end


def load_settings(project: Path) -> Settings:
    """The settings of the current stack; documents' paths are relative to `project`.

    Ends the program where they cannot be used, once everything that is wrong was said.
    """
    given, secrets = _configured()
    settings, problems = read_settings(given, secrets, project)
    refused = [problem for problem in problems if not problem.warning]
    if settings is None or refused:
        settings_word = "setting" if len(refused) == 1 else "settings"
        head = f"{len(refused)} {settings_word} cannot be used; nothing was created."
        end("\n".join([head, *(f"  - {problem}" for problem in refused)]))
    for warning in problems:
        pulumi.log.warn(f"<{{%fg 1%}}>{warning}<{{%reset%}}>" if warning.danger else str(warning))
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
        given[key] = "" if key.startswith("key-") else parsed(key, value)
    return given, secrets
