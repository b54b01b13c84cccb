"""What differs between versions (facts/xinference.md §0, §2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

NEWEST = (4, 1, 0)


@dataclass(frozen=True)
class Release:
    """One version; `cpu_only` for images tagged `-cpu`, which have no vLLM."""

    number: tuple[int, int, int]
    cpu_only: bool = False

    @property
    def text(self) -> str:
        """As `/v1/cluster/version` writes it."""
        return ".".join(map(str, self.number))

    @property
    def progress(self) -> bool:
        """Has progress and cancel."""
        return self.number >= (1, 5, 0)

    @property
    def rich_progress(self) -> bool:
        """Progress tells stage and bytes; before, one number."""
        return self.number >= (3, 0, 0)

    @property
    def replicas(self) -> bool:
        """Lists a model's replicas."""
        return self.number >= (1, 14, 0)

    @property
    def shares_gpus(self) -> bool:
        """Several models on one GPU, unless switched off."""
        return self.number >= (1, 15, 0)

    @property
    def autostart(self) -> bool:
        """Relaunches what is in `/v1/autostart/models`."""
        return self.number >= (2, 12, 0)

    @property
    def asks_trust(self) -> bool:
        """A model's own code runs only with XINFERENCE_TRUST_REMOTE_CODE."""
        return self.number >= (2, 12, 0)

    @property
    def auth_by_default(self) -> bool:
        """Everything is 401 until somebody set it up."""
        return self.number >= (3, 0, 0)

    @property
    def installs_engines(self) -> bool:
        """vLLM and the others come from PyPI at the first launch."""
        return self.number >= (3, 0, 0)

    @property
    def breaks_side_models(self) -> bool:
        """transformers 5 beside a peft that does not import with it (xorbitsai/inference#5260)."""
        return (2, 9, 0) <= self.number < (3, 0, 0)

    @property
    def debounces_lists(self) -> bool:
        """`GET /v1/models` may be three seconds old."""
        return self.number >= (3, 0, 0)

    @property
    def reserves_replica_names(self) -> bool:
        """A uid must not end in `-rep<n>`."""
        return self.number >= (3, 0, 0)

    @property
    def cancel_forgets_ready(self) -> bool:
        """A cancel of a READY model drops it from the lists, but it keeps its memory."""
        return self.number < (3, 0, 0)

    def replica_uid(self, uid: str, replica: int) -> str:
        """The name of one replica."""
        return f"{uid}-rep{replica}" if self.reserves_replica_names else f"{uid}-{replica}"


def release_of(tag: str) -> Release:
    """The release in an image's tag: `v2.12.0`, `v2.12.0-cpu`; others count as the newest known."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", tag)
    number = (int(match[1]), int(match[2]), int(match[3])) if match else NEWEST
    return Release(number, cpu_only=tag.endswith("-cpu"))
