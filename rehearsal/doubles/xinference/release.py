"""What differs between the two releases (docs/facts/xinference.md §0 and §2, docs/facts/measured.md
§2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

NEWEST = (4, 1, 0)


@dataclass(frozen=True)
class Release:
    """2.12 or its successor, 4.1; `cpu_only` for images tagged `-cpu`, which have no vLLM."""

    number: tuple[int, ...]
    cpu_only: bool = False

    @property
    def text(self) -> str:
        """As `/v1/cluster/version` writes it."""
        return ".".join(map(str, self.number))

    @property
    def successor(self) -> bool:
        """It wants a login, installs engines, tells stages and bytes, and ends what is cancelled.

        A uid must not end in `-rep<n>`.
        """
        return self.number >= (3, 0, 0)

    def replica_uid(self, uid: str, replica: int) -> str:
        """The name of one replica."""
        return f"{uid}-rep{replica}" if self.successor else f"{uid}-{replica}"

    def row(self, replica: int) -> int:
        """The place in the book at which a worker writes down a replica: at 2.12 one too low."""
        return replica if self.successor else max(0, replica - 1)


def release_of(tag: str) -> Release:
    """The release in an image's tag: `v2.12.0`, `v2.12.0-cpu`; others count as the newest known."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", tag)
    number = tuple(map(int, match.groups())) if match else NEWEST
    return Release(number, cpu_only=tag.endswith("-cpu"))
