"""The real Caddy with the Caddyfile of a lab that has a domain, before whatever stands for it."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provisioning.containers import CONTAINERS
from provisioning.plan import plan
from provisioning.settings import Settings
from tests.contract.processes import Program, contained, new_address, resolve
from tests.unit.program import given
from tests.waiting import until

DOMAIN = "lab.example.com"

_CADDYFILE = "/etc/caddy/Caddyfile"
_BEHIND = ("xinference", "fastgpt", "oneapi", "minio", "plugin")
_OSS = "https://{$PUBLIC_BUCKET}.oss-cn-hangzhou-internal.aliyuncs.com"


def served(folder: Path, behind: str, changes: Mapping[str, Any], **environment: str) -> Program:
    """It runs, once it listens; all that it asks is at the address `behind`, OSS where MinIO is."""
    place = folder / f"root{_CADDYFILE}"
    place.parent.mkdir(parents=True)
    (folder / "root/run").mkdir()
    told = Settings.model_validate(given("dev", folder / "no-key") | {"domain": DOMAIN} | changes)
    written = plan(told).containers["caddy"].files[_CADDYFILE]
    place.write_text(written.replace(f"reverse_proxy {_OSS}", "reverse_proxy minio:9000"))
    resolve(folder, dict.fromkeys(_BEHIND, behind))
    command = " ".join(["rehearsal.real_caddy", *CONTAINERS["caddy"].command[1:]])
    program = contained(folder, command, new_address(), 9997, **environment)
    program.wait_until_listening()
    return program


def trusted(folder: Path) -> ssl.SSLContext:
    """What trusts this Caddy's own authority, once there is one, and nobody else."""
    root = folder / "root/data/caddy/pki/authorities/local/root.crt"
    until(root.exists, "Caddy's authority")
    return ssl.create_default_context(cafile=str(root))
