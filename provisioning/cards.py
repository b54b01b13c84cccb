"""GPU instance types and their cards, as data.

gn7i: `docs/facts/alicloud.md §2.1`; the other types and cards are from memory, and marked as
estimates.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from provisioning.problems import Problem


@dataclass(frozen=True)
class Gpus:
    """The GPUs of an instance type.

    Attributes:
        card: what nvidia-smi calls it.
        count: how many.
        memory_mib: memory of one card as its driver reports it.
        usable_mib: what models may take of one card.
        vcpus, memory_gib: the instance's own.
        estimate: the numbers are not from a source that was checked.
    """

    card: str
    count: int
    memory_mib: int
    usable_mib: int
    vcpus: int
    memory_gib: int
    estimate: bool


# Card -> (memory as the driver reports it, usable, estimate).
_CARDS: dict[str, tuple[int, int, bool]] = {
    "NVIDIA A10": (22731, 22528, False),
    "Tesla T4": (15109, 14848, True),
    "NVIDIA A30": (24258, 24064, True),
    "NVIDIA A100-SXM4-80GB": (81251, 80896, True),
    "NVIDIA L20": (46068, 45568, True),
}

# Instance type -> (card, count, vCPU, GiB).
_GN7_SHAPES: dict[str, tuple[int, int, int]] = {
    "c8g1.2xlarge": (1, 8, 30),
    "c16g1.4xlarge": (1, 16, 60),
    "c32g1.8xlarge": (1, 32, 188),
    "c48g1.12xlarge": (1, 48, 310),
    "c56g1.14xlarge": (1, 56, 346),
    "c32g1.16xlarge": (2, 64, 376),
    "c32g1.32xlarge": (4, 128, 752),
    "2x.8xlarge": (2, 32, 128),
    "4x.8xlarge": (4, 32, 128),
    "4x.16xlarge": (4, 64, 256),
    "8x.16xlarge": (8, 64, 256),
    "8x.32xlarge": (8, 128, 512),
}
_TYPES: dict[str, tuple[str, int, int, int]] = {
    **{f"ecs.gn7i-{size}": ("NVIDIA A10", *shape) for size, shape in _GN7_SHAPES.items()},
    **{f"ecs.gn7s-{size}": ("NVIDIA A30", *shape) for size, shape in _GN7_SHAPES.items()},
    "ecs.gn6i-c4g1.xlarge": ("Tesla T4", 1, 4, 15),
    "ecs.gn6i-c8g1.2xlarge": ("Tesla T4", 1, 8, 31),
    "ecs.gn6i-c16g1.4xlarge": ("Tesla T4", 1, 16, 62),
    "ecs.gn6i-c24g1.6xlarge": ("Tesla T4", 1, 24, 93),
    "ecs.gn6i-c24g1.12xlarge": ("Tesla T4", 2, 48, 186),
    "ecs.gn6i-c24g1.24xlarge": ("Tesla T4", 4, 96, 372),
    "ecs.gn7e-c16g1.4xlarge": ("NVIDIA A100-SXM4-80GB", 1, 16, 125),
    "ecs.gn7e-c16g1.8xlarge": ("NVIDIA A100-SXM4-80GB", 2, 32, 250),
    "ecs.gn7e-c16g1.16xlarge": ("NVIDIA A100-SXM4-80GB", 4, 64, 500),
    "ecs.gn7e-c16g1.32xlarge": ("NVIDIA A100-SXM4-80GB", 8, 128, 1000),
    "ecs.gn8is.2xlarge": ("NVIDIA L20", 1, 8, 64),
    "ecs.gn8is.4xlarge": ("NVIDIA L20", 1, 16, 128),
    "ecs.gn8is-2x.8xlarge": ("NVIDIA L20", 2, 32, 256),
    "ecs.gn8is-4x.16xlarge": ("NVIDIA L20", 4, 64, 512),
    "ecs.gn8is-8x.32xlarge": ("NVIDIA L20", 8, 128, 1024),
}

# CUDA 13 begins with Turing (compute capability 7.5), and the releases that this program runs are
# built on it (`provisioning/versions.py`).
_TOO_OLD = {"gn4": "M40", "gn5": "P100", "gn5i": "P4", "gn6v": "V100", "gn6e": "V100"}

_FORM = re.compile(r"ecs\.(?P<family>[a-z][a-z0-9]*)(-[a-z0-9]+)*\.(small|medium|\d*x?large)")
_GPU_FAMILIES = ("gn", "vgn", "sgn", "ebmgn", "sccgn")


def gpus_of(instance_type: str) -> Gpus | None:
    """The GPUs of an instance type; None when it has none, or when the table does not know it.

    `type_problem` tells these two apart.
    """
    shape = _TYPES.get(instance_type)
    if shape is None:
        return None
    card, count, vcpus, memory_gib = shape
    memory, usable, estimate = _CARDS[card]
    return Gpus(card, count, memory, usable, vcpus, memory_gib, estimate)


def types_with(card: str) -> tuple[str, ...]:
    """The instance types whose card's name holds `card`, smallest first; all for an empty one."""
    return tuple(name for name, shape in _TYPES.items() if card.lower() in shape[0].lower())


def card_names() -> tuple[str, ...]:
    """The cards of the table."""
    return tuple(_CARDS)


def type_problem(instance_type: str, needs_gpu: bool) -> Problem | None:
    """What is wrong with an instance type.

    Args:
        needs_gpu: models are to run on its cards, so these must be known.
    """
    if instance_type in _TYPES:
        return None
    form = _FORM.fullmatch(instance_type)
    family = form["family"] if form else ""
    near = difflib.get_close_matches(instance_type, _TYPES, n=1, cutoff=0.85)
    if near and (form is None or family == near[0].removeprefix("ecs.").partition("-")[0]):
        wrong = f"there is no type {instance_type!r}"
        return Problem("instanceType", wrong, f"did you mean {near[0]}?")
    if form is None:
        wrong = f"{instance_type!r} is no instance type"
        return Problem(
            "instanceType", wrong, "write it like ecs.gn7i-c16g1.4xlarge or ecs.c7.xlarge"
        )
    if not needs_gpu or not family.startswith(_GPU_FAMILIES):
        return None
    known = "choose one of ecs.gn6i (T4), gn7i (A10), gn7s (A30), gn8is (L20), gn7e (A100)"
    if family in _TOO_OLD:
        wrong = f"its card, {_TOO_OLD[family]}, is older than what CUDA 13 runs on"
        return Problem("instanceType", wrong, known)
    wrong = f"the cards of {instance_type} are not known here, so nothing tells what fits them"
    return Problem("instanceType", wrong, known)
