"""The real Caddy with the Caddyfile of a lab that has a domain, before whatever stands for it."""

import http.client
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


class Connection(http.client.HTTPConnection):
    """By TLS, wherever this Caddy stands; it opens again where it was closed, and nothing here
    changes what is asked."""

    def __init__(self, address: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(address, port, timeout=30)
        self._tls = context

    def connect(self) -> None:
        super().connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=DOMAIN)

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> http.client.HTTPResponse:
        """`body`: bytes, or an iterable that is sent chunk by chunk."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        chunked = body is not None and not isinstance(body, bytes)
        self.request(method, path, body, {"Host": DOMAIN, **told}, encode_chunked=chunked)
        return self.getresponse()
