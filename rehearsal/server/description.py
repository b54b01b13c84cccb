"""What a server of the stage is made of."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Description:
    """What a server is made of.

    Attributes:
        root: its file tree.
        address: in 127/8; containers get the following addresses of the same /24.
        authorized_key: the line of the only key that may log in, as root.
        gpus: `{"name", "memory_mib"}` each.
        outside: emulated outside hosts, name to address.
    """

    root: str
    address: str
    region: str
    ssh_port: int
    authorized_key: str
    gpus: list[dict[str, Any]] = field(default_factory=list)
    outside: dict[str, str] = field(default_factory=dict)
