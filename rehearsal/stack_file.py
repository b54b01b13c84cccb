"""A private copy of the operator's stack file, fit for a rehearsal.

Secrets cannot be read without the operator's passphrase and are not needed: each becomes a
placeholder of the form its provider wants. His SSH key is replaced by a fresh one, and the manual's
example network by one that the settings accept, so that the firewall is really asked.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from provisioning.traits import PROVIDERS

PROJECT = "ai-lab"
_EXAMPLES = tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")))
_OPERATOR = "198.18.0.5/32"
_ENCRYPTION = ("encryptionsalt", "encryptedkey", "secretsprovider")


class StackFileError(Exception):
    """The stack file cannot be rehearsed; the text says why and what to do."""


@dataclass(frozen=True)
class Rewritten:
    """A stack file for the rehearsal.

    Attributes:
        config: full keys (`ai-lab:models`) to values, without secrets.
        placeholders: full keys of the secrets to what stands for them.
        operator: the operator's emulated public address: the first host that may come in.
    """

    config: dict[str, Any]
    placeholders: dict[str, str]
    operator: str


def read(path: Path) -> dict[str, Any]:
    """The `config:` of a stack file.

    Raises:
        StackFileError: it is not there, or no stack file.
    """
    try:
        found = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        others = sorted(p.name.split(".")[1] for p in path.parent.glob("Pulumi.*.yaml"))
        raise StackFileError(
            f"{path.name} is not there; STACK may be {', '.join(others) or 'nothing yet'}"
        ) from None
    except (OSError, yaml.YAMLError) as error:
        raise StackFileError(f"{path.name} cannot be read: {error}") from error
    config = (found or {}).get("config") or {}
    if not isinstance(config, dict):
        raise StackFileError(f"{path.name}: `config` must be a mapping")
    return {_full(str(key)): value for key, value in config.items()}


def rewrite(config: Mapping[str, Any], ssh_key: Path, ssh_port: int) -> Rewritten:
    """`config` with placeholders, a key pair of its own, and a network that exists.

    Raises:
        StackFileError: a `secure:` value inside a list, which the program would refuse too.
    """
    plain: dict[str, Any] = {}
    secret = set()
    for key, value in config.items():
        if _is_secure(value):
            secret.add(key)
        elif _holds_secure(value):
            raise StackFileError(
                f"{key} holds a `secure:` value inside; name a secret there instead (`apiKey: x`) "
                "and set it with `pulumi config set --secret key-x`"
            )
        else:
            plain[key] = value
    names = {
        key.removeprefix(f"{PROJECT}:key-") for key in secret if key.startswith(f"{PROJECT}:key-")
    }
    providers = _providers(plain.get(f"{PROJECT}:models") or [])
    placeholders = {
        f"{PROJECT}:key-{name}": placeholder(name, providers.get(name, name))
        for name in sorted(names | providers.keys())
    }
    placeholders |= {key: "rehearsal-placeholder" for key in secret if key not in placeholders}
    networks = [_network(str(cidr)) for cidr in plain.get(f"{PROJECT}:allowedCidrs") or []]
    plain[f"{PROJECT}:allowedCidrs"] = list(dict.fromkeys(networks)) or [_OPERATOR]
    plain[f"{PROJECT}:sshKeyFile"] = str(ssh_key)
    plain[f"{PROJECT}:sshPort"] = ssh_port
    return Rewritten(plain, placeholders, _first_host(plain[f"{PROJECT}:allowedCidrs"][0]))


def placeholder(name: str, provider: str) -> str:
    """What stands for the key called `name`, in the form of `provider`'s keys."""
    known = PROVIDERS.get(provider)
    parts = known.key_form.count("|") + 1 if known else 1
    return "|".join(f"rehearsal-{name}.{part}" for part in range(1, parts + 1))


def linked_hosts(config: Mapping[str, Any]) -> list[str]:
    """Hosts of the web pages that the knowledge bases of `config` link to."""
    bases = _rows(config.get(f"{PROJECT}:knowledge"), "bases")
    documents = [document for base in bases for document in _rows(base, "documents")]
    hosts = {_host(str(document.get("link") or "")) for document in documents}
    return sorted(hosts - {""})


def write(path: Path, config: Mapping[str, Any], encryption: Mapping[str, Any]) -> None:
    """Write a stack file; `encryption` are the top-level keys with which its secrets are read."""
    path.write_text(yaml.safe_dump({**encryption, "config": dict(config)}, sort_keys=False))
    path.chmod(0o600)


def encryption_of(path: Path) -> dict[str, Any]:
    """The top-level keys of a stack file with which its secrets are read."""
    found = yaml.safe_load(path.read_text()) or {}
    return {key: found[key] for key in _ENCRYPTION if key in found}


def _full(key: str) -> str:
    return key if ":" in key else f"{PROJECT}:{key}"


def _providers(models: Any) -> dict[str, str]:  # noqa: ANN401 - whatever the operator wrote
    """Secret name to provider, of every model that comes from one."""
    found: dict[str, str] = {}
    for model in models if isinstance(models, list) else []:
        remote = model.get("remote") if isinstance(model, dict) else None
        if isinstance(remote, dict) and remote.get("provider"):
            provider = str(remote["provider"])
            found[str(remote.get("apiKey") or provider)] = provider
    return found


def _is_secure(value: Any) -> bool:  # noqa: ANN401 - whatever the operator wrote
    return isinstance(value, dict) and set(value) == {"secure"}


def _holds_secure(value: Any) -> bool:  # noqa: ANN401 - whatever the operator wrote
    if _is_secure(value):
        return True
    if isinstance(value, dict):
        return any(map(_holds_secure, value.values()))
    return isinstance(value, list) and any(map(_holds_secure, value))


def _network(cidr: str) -> str:
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError:
        return cidr  # the program says what is wrong with it, better than we could
    is_example = any(network.version == e.version and network.subnet_of(e) for e in _EXAMPLES)  # type: ignore[arg-type]
    return _OPERATOR if is_example else cidr


def _rows(value: Any, key: str) -> list[dict[str, Any]]:  # noqa: ANN401 - whatever was written
    rows = value.get(key) if isinstance(value, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _host(link: str) -> str:
    try:
        return urlsplit(link).hostname or ""
    except ValueError:
        return ""  # the program says what is wrong with it


def _first_host(cidr: str) -> str:
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError:
        return _OPERATOR.split("/")[0]
    return str(next(iter(network.hosts())))
