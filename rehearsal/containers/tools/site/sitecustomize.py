"""Gives an interpreter inside a rehearsed container that container's name resolution."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[4]))

from rehearsal import inside

_outside = socket.getaddrinfo


def _resolve(host: Any, *rest: Any, **options: Any) -> Any:  # noqa: ANN401 - socket's own signature
    name = host.decode() if isinstance(host, bytes) else host or ""
    return _outside(inside.resolve(name), *rest, **options)


if "REHEARSAL_HOSTS" in os.environ:
    socket.getaddrinfo = _resolve
