"""The two releases of Xinference that the lab knows, and the NVIDIA driver that it installs.

Known means held by the contract suite (`docs/facts/measured.md §2`, `docs/facts/xinference.md §0
and §1`). 2.12 is the last with vLLM in its image and without a forced login. 4.1 ends a cancelled
launch, counts replicas right and tells a download's bytes; the 3.x lack that.
"""

import re
from dataclasses import dataclass

from provisioning.problems import PlanError

NVIDIA_DRIVER = 580
"""Major version of the driver that host preparation installs where the image has none."""

NVIDIA_DRIVER_PACKAGE = f"nvidia-driver-{NVIDIA_DRIVER}-server"
"""Ubuntu's package of it (`docs/facts/alicloud.md §2.4 B2`)."""

DEFAULT_XINFERENCE = "2.12.0"
SUCCESSOR_XINFERENCE = "4.1.0"

# These images hold transformers 5.5 beside peft 0.17, which fails to import with it; so does
# sentence_transformers (xorbitsai/inference#4955, #5260, docs/facts/measured.md §2 finding 6).
_MENDED_PEFT = "peft==0.18.1"


@dataclass(frozen=True)
class XinferenceRelease:
    """What one release of Xinference can do and needs.

    Attributes:
        version: `2.12.0`.
        minimum_driver: major version of the NVIDIA driver that its GPU image needs.
        auth_on_by_default: refuses every call until a login is set up, unless switched off.
        installs_engines: its image has none; the first launch brings the engine that it names.
        repairs: packages that its image must be given before embeddings and rerankers load.
    """

    version: str
    minimum_driver: int = 580
    auth_on_by_default: bool = False
    installs_engines: bool = False
    repairs: tuple[str, ...] = ()


_USE = f"use {DEFAULT_XINFERENCE} (the default) or {SUCCESSOR_XINFERENCE}"


def xinference_release(version: str) -> XinferenceRelease:
    """What is known of a version's line; a PlanError for a dangerous one and for other lines."""
    match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)", version.strip())
    if match is None:
        raise PlanError("xinferenceVersion", f"{version!r} is no released version", _USE)
    number = tuple(map(int, match.groups()))
    text = ".".join(map(str, number))
    if number[:2] == (2, 12):
        return XinferenceRelease(text, repairs=(_MENDED_PEFT,))
    if number[:2] == (4, 1):
        return XinferenceRelease(text, auth_on_by_default=True, installs_engines=True)
    wrong = f"the lab was never tried with {text}, and other releases answer otherwise"
    # docs/facts/vulnerabilities.md
    if (2, 6, 0) <= number <= (2, 6, 2):
        wrong = f"{text} was never released by its makers: its packages were malicious"
    elif number < (2, 7, 0):
        wrong = f"{text} runs any caller's code (CVE-2026-61539, mended in 2.7.0)"
    raise PlanError("xinferenceVersion", wrong, _USE)
