"""A private copy of the operator's stack file, fit for a rehearsal.

Secrets cannot be read without the operator's passphrase and are not needed: each becomes a
placeholder of the form its provider wants. His SSH key is replaced by a fresh one, and the manual's
example network by one that the settings accept, so that the firewall is really asked. A domain is
left out: its name leads nowhere here.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from provisioning.traits import PROVIDERS
from rehearsal.addresses import OPERATOR
from tools.stack_file import PROJECT, CannotRead

_OF_A_DOMAIN = ("domain", "certificateFile", "certificateKeyFile")
_EXAMPLES = ("192.0.2.", "198.51.100.", "203.0.113.")


@dataclass(frozen=True)
class Rewritten:
    """A stack file for the rehearsal. `config`: full keys (`ai-lab:models`) to values, without
    secrets; `placeholders`: full keys of the secrets to what stands for them."""

    config: dict[str, Any]
    placeholders: dict[str, str]


def rewrite(config: Mapping[str, Any], ssh_key: Path, ssh_port: int) -> Rewritten:
    """`config` with placeholders, a key pair of its own, and a network that exists. Raises
    CannotRead: a `secure:` value inside a list, which the program would refuse too; files in OSS,
    of which there is none here."""
    if config.get(f"{PROJECT}:storage") == "oss":
        raise CannotRead(
            "the rehearsal has no OSS. Rehearse a stack file with storage: minio; what `oss` makes "
            "is shown by `make plan`, and by `pulumi preview` on your account"
        )
    secret = {key for key, value in config.items() if _is_secure(value)}
    left_out = {*secret, *(f"{PROJECT}:{name}" for name in _OF_A_DOMAIN)}
    plain = {key: value for key, value in config.items() if key not in left_out}
    for key, value in plain.items():
        if '{"secure":' in json.dumps(value, default=str):
            raise CannotRead(
                f"{key} holds a `secure:` value inside; name a secret there instead (`apiKey: x`) "
                "and set it with `pulumi config set --secret key-x`"
            )
    names = {
        key.removeprefix(f"{PROJECT}:key-") for key in secret if key.startswith(f"{PROJECT}:key-")
    }
    providers = _providers(plain.get(f"{PROJECT}:models") or [])
    placeholders = {
        f"{PROJECT}:key-{name}": placeholder(name, providers.get(name, name))
        for name in sorted(names | providers.keys())
    }
    placeholders |= {key: "rehearsal-placeholder" for key in secret if key not in placeholders}
    given = plain.get(f"{PROJECT}:allowedCidrs") or []
    networks = map(str, given if isinstance(given, list) else [given])
    own = [network for network in networks if not network.startswith(_EXAMPLES)]
    plain[f"{PROJECT}:allowedCidrs"] = [*own, f"{OPERATOR}/32"]
    plain[f"{PROJECT}:sshKeyFile"] = str(ssh_key)
    plain[f"{PROJECT}:sshPort"] = ssh_port
    # The operator's agent does not hold that key, and is not reached from a rehearsal.
    plain.pop(f"{PROJECT}:sshAgent", None)
    return Rewritten(plain, placeholders)


def placeholder(name: str, provider: str) -> str:
    """What stands for the key called `name`, in the form of `provider`'s keys."""
    known = PROVIDERS.get(provider)
    parts = known.key_form.count("|") + 1 if known else 1
    return "|".join(f"rehearsal-{name}.{part}" for part in range(1, parts + 1))


def linked_hosts(config: Mapping[str, Any]) -> list[str]:
    """Hosts of the web pages that the knowledge bases of `config` link to."""
    knowledge = json.dumps(config.get(f"{PROJECT}:knowledge"), default=str)
    return sorted(set(re.findall(r'"link": "https?://([\w.-]+)', knowledge)))


def write(path: Path, config: Mapping[str, Any], like: Path) -> None:
    """Write a stack file with the other keys of `like`: with them its secrets are read."""
    found = yaml.safe_load(like.read_text()) or {}
    path.write_text(yaml.safe_dump({**found, "config": dict(config)}, sort_keys=False))
    path.chmod(0o600)


def _is_secure(value: Any) -> bool:  # noqa: ANN401 - whatever the operator wrote
    return isinstance(value, dict) and set(value) == {"secure"}


def _providers(models: Any) -> dict[str, str]:  # noqa: ANN401 - whatever the operator wrote
    """Secret name to provider, of every model that comes from one."""
    found: dict[str, str] = {}
    for model in models if isinstance(models, list) else []:
        remote = model.get("remote") if isinstance(model, dict) else None
        if isinstance(remote, dict) and remote.get("provider"):
            provider = str(remote["provider"])
            found[str(remote.get("apiKey") or provider)] = provider
    return found
