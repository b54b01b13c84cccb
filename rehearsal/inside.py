"""What a process inside a rehearsed container can see (docs/architecture.md).

Every double and every container tool calls `enter()` first. From then on names resolve as they
would inside that container, and nothing else resolves at all.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

_real_getaddrinfo = socket.getaddrinfo


def address() -> str:
    """The container's own address, a dotted quad in 127/8."""
    return os.environ["REHEARSAL_ADDRESS"]


def path(inside: str) -> Path:
    """The file that the container sees as the absolute path `inside`."""
    if not inside.startswith("/"):
        raise ValueError(f"{inside!r} is not an absolute path in the container")
    return Path(os.environ["REHEARSAL_ROOT"]) / inside.lstrip("/")


def gpus() -> list[dict[str, Any]]:
    """The GPUs that the container was given: `{"name": str, "memory_mib": int}` each."""
    found: list[dict[str, Any]] = json.loads(os.environ.get("REHEARSAL_GPUS") or "[]")
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
    known: dict[str, str] = json.loads(Path(os.environ["REHEARSAL_HOSTS"]).read_text())
    if host not in known:
        raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known: {host}")
    return known[host]


def enter() -> None:
    """Make this process live in its container: names, lifeline, a clean exit on SIGTERM."""
    socket.getaddrinfo = _resolve_inside
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lifeline = os.environ.get("REHEARSAL_LIFELINE")
    if lifeline:
        threading.Thread(target=_follow, args=(int(lifeline),), daemon=True).start()


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
