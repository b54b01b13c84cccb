"""GPU instance types and their cards, as data.

gn7i: `docs/facts/alicloud.md §2.1`; the other types and cards are from memory, so estimates.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Any

from provisioning.problems import Problem
from provisioning.tables import table


@dataclass(frozen=True)
class Gpus:
    """The GPUs of an instance type.

    Attributes:
        card: what nvidia-smi calls it.
        memory_mib: of one card as its driver reports it; models may take `usable_mib` of it.
    """

    card: str
    count: int
    memory_mib: int
    usable_mib: int


_TABLES = table("cards.json", dict[str, dict[str, Any]])
# Card to memory and usable memory; type to card and count, smallest first; family to card: CUDA 13
# begins with Turing (compute capability 7.5), and the releases that are run are built on it.
_CARDS, _TYPES, _TOO_OLD = _TABLES["cards"], _TABLES["types"], _TABLES["too_old"]

_FORM = re.compile(r"ecs\.(?P<family>[a-z][a-z0-9]*)(-[a-z0-9]+)*\.(small|medium|\d*x?large)")
_GPU_FAMILIES = ("gn", "vgn", "sgn", "ebmgn", "sccgn")
_KNOWN = "choose one of ecs.gn6i (T4), gn7i (A10), gn7s (A30), gn8is (L20), gn7e (A100)"


def gpus_of(instance_type: str) -> Gpus | None:
    """The GPUs of an instance type; None when it has none, or is not known (`type_problem`)."""
    if instance_type not in _TYPES:
        return None
    card, count = _TYPES[instance_type]
    return Gpus(card, count, *_CARDS[card])


def types_with(card: str) -> tuple[str, ...]:
    """The instance types whose card's name holds `card`, smallest first; all for an empty one."""
    return tuple(name for name, (own, _) in _TYPES.items() if card.lower() in own.lower())


def card_names() -> tuple[str, ...]:
    """The cards of the table."""
    return tuple(_CARDS)


def type_problem(instance_type: str, needs_gpu: bool) -> Problem | None:
    """What is wrong with an instance type; where it `needs_gpu` its cards must be known."""
    if instance_type in _TYPES:
        return None
    right, form = _KNOWN, _FORM.fullmatch(instance_type)
    family = form["family"] if form else ""
    near = difflib.get_close_matches(instance_type, _TYPES, n=1, cutoff=0.85)
    if near and (form is None or family == near[0].removeprefix("ecs.").partition("-")[0]):
        wrong, right = f"there is no type {instance_type!r}", f"did you mean {near[0]}?"
    elif form is None:
        wrong = f"{instance_type!r} is no instance type"
        right = "write it like ecs.gn7i-c16g1.4xlarge or ecs.c7.xlarge"
    elif not needs_gpu or not family.startswith(_GPU_FAMILIES):
        return None
    elif family in _TOO_OLD:
        wrong = f"its card, {_TOO_OLD[family]}, is older than what CUDA 13 runs on"
    else:
        wrong = f"the cards of {instance_type} are not known here, so nothing tells what fits them"
    return Problem("instanceType", wrong, right)
