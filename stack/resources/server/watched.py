"""What has to be looked at in every `pulumi up`: whether the server answers, what runs, what lies.

The engine's own providers look in a refresh only (`docs/facts/measured.md §3`). These look when
they are compared, in previews too, where they can only say what they see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
from typing_extensions import Self

from provisioning.clients.errors import ServiceError
from stack.resources.base import warn_once
from stack.resources.declaration import IGNORED, REACH, Lab, Login, Props, Thing


@dataclass(frozen=True, kw_only=True)
class Watched(Thing):
    """Looks whenever it is compared; `previewing` tells that nothing but this look will come."""

    endpoint: Annotated[Login, REACH]
    previewing: Annotated[bool, IGNORED] = False

    def amiss(self, lab: Lab) -> str:
        """What is wrong and what mends it, as a sentence; "" where all is well."""
        raise NotImplementedError

    def drift(self, lab: Lab, wanted: Self) -> frozenset[str]:
        """Something amiss; a server that is off is `server:Ready`'s to tell."""
        try:
            wrong = wanted.amiss(lab)
        except ServiceError:
            return frozenset()
        if wrong and wanted.previewing:
            warn_once((wrong,), wrong)
        return frozenset({"amiss"} if wrong else ())

    @classmethod
    def inputs(cls, given: Mapping[str, Any]) -> Props:
        return super().inputs({**given, "previewing": pulumi.runtime.is_dry_run()})
