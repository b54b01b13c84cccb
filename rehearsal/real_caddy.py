"""`python -m rehearsal.real_caddy run --config FILE`: the real Caddy as a container's process.

It listens on the container's own address, at 40000 more where only root could. Names mean something
in this process only, so what Caddy takes for its upstreams are sockets of ours, which carry on to
whoever has the name by then. Certificates are Caddy's own authority's: no issuer is reached.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from rehearsal import inside
from rehearsal.docker.ports import pass_on

PROGRAM = Path(sys.executable).with_name("caddy")


def main() -> int:
    """Run it; its exit code."""
    inside.enter()
    config = inside.path(sys.argv[sys.argv.index("--config") + 1])
    os.chdir(inside.path("/run"))
    adapted = subprocess.run([PROGRAM, "adapt", "--config", config], capture_output=True, text=True)
    if adapted.returncode:
        sys.exit(adapted.stderr)
    found = json.loads(adapted.stdout)
    upstreams = _moved(found)
    for server in found["apps"]["http"]["servers"].values():
        server["automatic_https"] = {"disable_redirects": True}
    policies = [{"issuers": [{"module": "internal"}]}]
    found["apps"].setdefault("tls", {})["automation"] = {"policies": policies}
    found["apps"]["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
    Path("caddy.json").write_text(json.dumps(found))
    os.environ["XDG_DATA_HOME"] = str(inside.path("/data"))
    return asyncio.run(_run({f"{number}.sock": to for number, to in enumerate(upstreams)}))


def _moved(config: Any) -> list[str]:  # noqa: ANN401
    """The upstreams `host:port` of a configuration, each of which it now looks for at `N.sock`."""
    upstreams: list[str] = []

    def listens(address: str) -> str:
        port = int(address.rpartition(":")[2])
        return f"{inside.address()}:{port if port > 1024 else port + 40000}"

    def walk(part: Any) -> None:  # noqa: ANN401
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            if key == "listen":
                part[key] = [listens(address) for address in value]
            elif key == "dial":
                part[key] = f"unix/{len(upstreams)}.sock"
                upstreams.append(value.rpartition("/")[2])
            elif isinstance(value, (dict, list)):
                walk(value)

    walk(config)
    return upstreams


async def _run(sockets: dict[str, str]) -> int:
    for name, upstream in sockets.items():
        Path(name).unlink(missing_ok=True)
        await asyncio.start_unix_server(partial(_carry, upstream), name)
    caddy = await asyncio.create_subprocess_exec(PROGRAM, "run", "--config", "caddy.json")
    return await caddy.wait()


async def _carry(upstream: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, _, port = upstream.rpartition(":")
    with contextlib.suppress(OSError):
        await pass_on(reader, writer, inside.resolve(host), int(port))
    writer.close()


if __name__ == "__main__":
    sys.exit(main())
