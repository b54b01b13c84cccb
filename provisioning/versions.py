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


def xinference_release(version: str) -> XinferenceRelease:
    """What a version can do, known or not (`provisioning/releases.py` judges it)."""
    match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)", version.strip())
    if match is None:
        right = f"use {DEFAULT_XINFERENCE} (the default) or {SUCCESSOR_XINFERENCE}"
        raise PlanError("xinferenceVersion", f"{version!r} is no released version", right)
    text = ".".join(match.groups())
    if int(match[1]) < 3:
        return XinferenceRelease(text, repairs=(_MENDED_PEFT,))
    return XinferenceRelease(text, auth_on_by_default=True, installs_engines=True)
