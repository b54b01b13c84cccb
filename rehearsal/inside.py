"""What a process inside a rehearsed container can see (docs/architecture.md).

Every double and every container tool calls `enter()` first. From then on names resolve as they
would inside that container, and nothing else resolves at all. In a container of a real server none
of the variables is set: there the process sees what is so.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_real_getaddrinfo = socket.getaddrinfo


def address() -> str:
    """The container's own address, a dotted quad in 127/8; in a real container, any."""
    return os.environ.get("REHEARSAL_ADDRESS") or "0.0.0.0"


def path(inside: str) -> Path:
    """The file that the container sees as the absolute path `inside`."""
    if not inside.startswith("/"):
        raise ValueError(f"{inside!r} is not an absolute path in the container")
    return Path(os.environ.get("REHEARSAL_ROOT") or "/") / inside.lstrip("/")


def gpus() -> list[dict[str, Any]]:
    """The GPUs that the container was given: `{"name": str, "memory_mib": int}` each."""
    given = os.environ.get("REHEARSAL_GPUS")
    if given is None and shutil.which("nvidia-smi"):
        return _cards()
    found: list[dict[str, Any]] = json.loads(given or "[]")
    return found


def resolve(host: str) -> str:
    """The address of `host` as seen from this container.

    Raises:
        socket.gaierror: no network of this container has the name, nor has the emulated outside.
    """
    if host in ("localhost", "127.0.0.1", "0.0.0.0", "::1", ""):
        return address()
    if _is_address(host):
        return host
    if "REHEARSAL_HOSTS" not in os.environ:
        return str(_real_getaddrinfo(host, None, socket.AF_INET)[0][4][0])
    known: dict[str, str] = json.loads(Path(os.environ["REHEARSAL_HOSTS"]).read_text())
    if host not in known:
        raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known: {host}")
    return known[host]


def enter() -> None:
    """Make this process live in its container: names, lifeline, a clean exit on SIGTERM."""
    if "REHEARSAL_HOSTS" in os.environ:
        socket.getaddrinfo = _resolve_inside
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lifeline = os.environ.get("REHEARSAL_LIFELINE")
    if lifeline:
        threading.Thread(target=_follow, args=(int(lifeline),), daemon=True).start()


def _cards() -> list[dict[str, Any]]:
    asked = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    lines = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
    cards = (line.rpartition(",") for line in lines)
    return [{"name": name.strip(), "memory_mib": int(memory)} for name, _, memory in cards]


def _resolve_inside(host: Any, *rest: Any, **options: Any) -> Any:  # noqa: ANN401 - as it came
    name = host.decode() if isinstance(host, bytes) else host or ""
    return _real_getaddrinfo(resolve(name), *rest, **options)


def _follow(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os._exit(0)


def _is_address(host: str) -> bool:
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return host.count(".") == 3
