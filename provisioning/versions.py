"""What differs between releases of Xinference, and the NVIDIA driver that the lab installs.

Source: `facts/xinference.md §0 and §1`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from provisioning.problems import PlanError

NVIDIA_DRIVER = 580
"""Major version of the driver that host preparation installs where the image has none."""

NVIDIA_DRIVER_PACKAGE = f"nvidia-driver-{NVIDIA_DRIVER}-server"
"""Ubuntu's package of that driver (`facts/alicloud.md §2.4 B2`)."""

DEFAULT_XINFERENCE = "2.12.0"
"""The last 2.x: autostart, no forced login, vLLM inside the image."""


@dataclass(frozen=True)
class XinferenceRelease:
    """What one release of Xinference can do and needs.

    Attributes:
        version: `2.12.0`, without the v.
        minimum_driver: major version of the NVIDIA driver that its GPU image needs.
        autostart: has /v1/autostart/models, so models come back after a restart.
        auth_on_by_default: refuses every call until a login is set up, unless switched off.
        vllm_inside: the GPU image has vLLM; otherwise the first launch installs it.
        trust_remote_code_switch: custom model code runs only with XINFERENCE_TRUST_REMOTE_CODE.
        virtual_env_by_default: each model may get a virtual environment of its own.
        repairs: packages that its image must be given before embeddings and rerankers load.
    """

    version: str
    minimum_driver: int
    autostart: bool
    auth_on_by_default: bool
    vllm_inside: bool
    trust_remote_code_switch: bool
    virtual_env_by_default: bool
    repairs: tuple[str, ...] = ()


# These images hold transformers 5.5 beside peft 0.17, which does not import with it, and with that
# neither does sentence_transformers (xorbitsai/inference#4955 and #5260; their Dockerfile and
# requirements-base.txt at v2.9.0 to v2.12.0).
_MENDED_PEFT = "peft==0.18.1"


def xinference_release(version: str) -> XinferenceRelease:
    """The row of the table for a version.

    Raises:
        PlanError: not a version, or one that the table does not know.
    """
    number = _number(version)
    if number < (1, 15, 0):
        raise PlanError(
            "xinferenceVersion",
            f"{version} cannot hold several models on one GPU",
            f"use 1.15.0 or later; {DEFAULT_XINFERENCE} is the default",
        )
    if number >= (5, 0, 0):
        raise PlanError(
            "xinferenceVersion",
            f"{version} is later than what this program knows (4.x)",
            f"use {DEFAULT_XINFERENCE}",
        )
    return XinferenceRelease(
        version=".".join(str(part) for part in number),
        minimum_driver=_minimum_driver(number),
        autostart=number >= (2, 12, 0),
        auth_on_by_default=number >= (3, 0, 0),
        vllm_inside=number < (3, 0, 0),
        trust_remote_code_switch=number >= (2, 12, 0),
        virtual_env_by_default=number >= (2, 0, 0),
        repairs=(_MENDED_PEFT,) if (2, 9, 0) <= number < (3, 0, 0) else (),
    )


def driver_problem(release: XinferenceRelease, driver: int = NVIDIA_DRIVER) -> str | None:
    """Why a driver is too old for a release, or None.

    Args:
        driver: major version, `580` of 580.126.09.
    """
    if driver >= release.minimum_driver:
        return None
    return (
        f"Xinference {release.version} needs NVIDIA driver {release.minimum_driver} or later, "
        f"and the server has {driver}; choose an earlier Xinference or a newer driver"
    )


def _minimum_driver(number: tuple[int, int, int]) -> int:
    # Since 2.9 on vLLM 0.21 and CUDA 13.0, though its manual still says 12.9 and 575.
    if number >= (2, 9, 0):
        return 580
    return 575 if number >= (2, 0, 0) else 550


def _number(version: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)", version.strip())
    if match is None:
        raise PlanError(
            "xinferenceVersion",
            f"{version!r} is no released version",
            f"write three numbers: {DEFAULT_XINFERENCE}",
        )
    major, minor, patch = match.groups()
    return int(major), int(minor), int(patch)
