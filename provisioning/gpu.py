"""Whether the models fit the GPU's memory together, before anything is paid.

vLLM takes its share of the whole card whatever the model needs, so two things must hold: the share
holds the model's weights and its context, and what is left holds the others
(`docs/facts/xinference.md §4`). What a model needs: `memory.py`; what a card has: `cards.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from provisioning.cards import Gpus
from provisioning.catalogue import Kind, Model, XinferenceSource
from provisioning.memory import SHARING, kv_kib, least_weights_mib, need, source_of
from provisioning.problems import Problem

DEFAULT_SHARE = 0.90
"""What vLLM takes where nothing else is said (`docs/facts/xinference.md §2`)."""

_MEASURED = "set memoryGiB where you have measured less"
_LAUNCH_ORDER: tuple[Kind, ...] = ("embedding", "rerank", "transcription", "speech", "chat")


@dataclass(frozen=True)
class FitRow:
    """One model's memory.

    Attributes:
        model: its name.
        cards: indexes of the cards it lies on; several for replicas or a model over several cards.
        needed_mib: what it takes of each of these cards.
        how: where the number comes from.
    """

    model: str
    cards: tuple[int, ...]
    needed_mib: int
    how: str


@dataclass(frozen=True)
class Fit:
    """The models on the cards.

    Attributes:
        rows: by order of launch.
        needed_mib: by the fullest card.
        usable_mib: of one card.
        problems: what does not fit, with what would be right; empty when everything fits.
    """

    rows: tuple[FitRow, ...]
    needed_mib: int
    usable_mib: int
    problems: tuple[Problem, ...]


def launch_order(models: Iterable[Model]) -> tuple[Model, ...]:
    """Xinference's models, small ones first: vLLM counts what is taken when it starts."""
    local = [model for model in models if model.xinference is not None]
    return tuple(sorted(local, key=lambda model: _LAUNCH_ORDER.index(model.kind)))


def fit(models: Sequence[Model], gpus: Gpus | None) -> Fit:
    """Lays the models on the cards as Xinference does: in launch order, on the idlest card.

    Args:
        models: the whole catalogue; models of other sources take nothing.
        gpus: None for a server without GPU.
    """
    if gpus is None:
        return _without_gpu(models)
    rows: list[FitRow] = []
    problems: list[Problem] = []
    taken = [0] * gpus.count
    residents = [0] * gpus.count
    for model in launch_order(models):
        source = source_of(model)
        problems.extend(_own_problems(models, model, gpus))
        needed, how = taken_of(model, gpus)
        cards: list[int] = []
        for _ in range(source.replicas):
            idlest = sorted(range(gpus.count), key=lambda card: (residents[card], taken[card]))
            for card in idlest[: source.gpus]:
                residents[card] += 1
                taken[card] += needed
                cards.append(card)
        rows.append(FitRow(model.name, tuple(cards), needed, how))
    if max(taken) > gpus.usable_mib:
        problems.append(_too_full(models, rows, taken, gpus))
    return Fit(tuple(rows), max(taken), gpus.usable_mib, tuple(problems))


def taken_of(model: Model, gpus: Gpus) -> tuple[int, str]:
    """MiB that a model takes of each of its cards, and where the number comes from."""
    source = source_of(model)
    if source.gpus == 0:
        return 0, "on the CPU"
    if source.engine in SHARING:
        share = _share(source)
        return math.ceil(share * gpus.memory_mib), f"memoryShare {share:.2f} of the whole card"
    needed = need(model)
    return math.ceil(needed.total / source.gpus), needed.how


def _without_gpu(models: Sequence[Model]) -> Fit:
    problems = tuple(
        Problem(
            f"{_path(models, model)}.gpus",
            f"{model.name} wants a GPU and the server has none",
            "set gpus: 0 to run it on the CPU, or choose an instance type with a GPU",
        )
        for model in launch_order(models)
        if source_of(model).gpus > 0
    )
    rows = tuple(FitRow(model.name, (), 0, "on the CPU") for model in launch_order(models))
    return Fit(rows, 0, 0, problems)


def _own_problems(models: Sequence[Model], model: Model, gpus: Gpus) -> list[Problem]:
    """What is wrong with one model whatever lies beside it."""
    source, path = source_of(model), _path(models, model)
    if source.gpus > gpus.count:
        wrong = f"{model.name} wants {source.gpus} cards and the server has {gpus.count}"
        return [Problem(f"{path}.gpus", wrong, f"set gpus to {gpus.count} at the most")]
    if source.engine == "vllm" and source.gpus == 0:
        return [Problem(f"{path}.gpus", "vllm needs a GPU", "set gpus: 1, or engine: transformers")]
    least = least_weights_mib(model)
    if source.memory_gib is not None and source.memory_gib * 1024 < least:
        wrong = f"{source.memory_gib:g} GiB are less than the weights of {model.name} alone"
        return [
            Problem(f"{path}.memoryGiB", wrong, f"they are {least / 1024:.1f} GiB at the least")
        ]
    if source.gpus == 0 or source.engine not in SHARING:
        return []
    return _share_too_small(models, model, gpus)


def _share_too_small(models: Sequence[Model], model: Model, gpus: Gpus) -> list[Problem]:
    source, needs = source_of(model), need(model)
    held = math.floor(_share(source) * gpus.memory_mib)
    needed = math.ceil(needs.total / source.gpus)
    if needed <= held:
        return []
    cures: list[str] = []
    smallest = math.ceil(needed / gpus.memory_mib * 100) / 100
    if math.ceil(smallest * gpus.memory_mib) <= _left_beside(models, model, gpus):
        cures.append(f"set memoryShare to {smallest:.2f} or more")
    context = largest_context(model, held)
    if context is not None:
        cures.append(f"set context to {context} or less")
    if not cures:
        cures.append("choose a smaller size or quantization, spread it over more cards")
    wrong = f"{model.name} needs {needed} MiB ({needs.how}), and its share holds {held}"
    right = ", or ".join([*cures, _MEASURED])
    return [Problem(f"{_path(models, model)}.memoryShare", wrong, right)]


def _left_beside(models: Sequence[Model], model: Model, gpus: Gpus) -> int:
    """MiB of one card that the others leave to a model; of several cards, a card of its own."""
    if gpus.count > 1:
        return gpus.usable_mib
    others = (other for other in launch_order(models) if other is not model)
    return gpus.usable_mib - sum(taken_of(o, gpus)[0] * source_of(o).replicas for o in others)


def largest_context(model: Model, held: int) -> int | None:
    """The longest context, in tokens, whose cache `held` MiB of each card hold; None below 2048."""
    source, needs = source_of(model), need(model)
    if model.kind != "chat" or source.memory_gib is not None:
        return None
    room = held * source.gpus - needs.weights - needs.overhead
    tokens = math.floor(room * 1024 / kv_kib(model)) // 512 * 512
    return tokens if tokens >= 2048 else None


def _too_full(
    models: Sequence[Model], rows: Sequence[FitRow], taken: Sequence[int], gpus: Gpus
) -> Problem:
    fullest = max(range(gpus.count), key=lambda card: taken[card])
    on_it = [row for row in rows if fullest in row.cards]
    by_name = {model.name: model for model in models}
    summed = " + ".join(f"{row.model} {row.needed_mib}" for row in on_it)
    wrong = (
        f"the models do not fit {gpus.card} together: {summed} = {taken[fullest]} MiB "
        f"of {gpus.usable_mib} usable"
    )
    sharing = [row for row in on_it if source_of(by_name[row.model]).engine in SHARING]
    if len(sharing) != 1:
        right = f"leave one out, choose a smaller one or a larger instance type, or {_MEASURED}"
        return Problem("models", wrong, right)
    row = sharing[0]
    others = sum(r.needed_mib * r.cards.count(fullest) for r in on_it if r is not row)
    model = by_name[row.model]
    right = f"{_share_cure(model, gpus.usable_mib - others, gpus)}, or {_MEASURED}"
    return Problem(f"{_path(models, model)}.memoryShare", wrong, right)


def _share_cure(model: Model, left: int, gpus: Gpus) -> str:
    largest = math.floor(left / gpus.memory_mib * 100) / 100
    needed = math.ceil(need(model).total / source_of(model).gpus)
    if largest > 0 and needed <= math.floor(largest * gpus.memory_mib):
        return f"set it to {largest:.2f} or less"
    return (
        f"{max(left, 0)} MiB are left beside the others and {model.name} needs {needed}: "
        "choose a smaller size, quantization or context, or a larger instance type"
    )


def _path(models: Sequence[Model], model: Model) -> str:
    index = next(index for index, other in enumerate(models) if other is model)
    return f"models[{index}].xinference"


def _share(source: XinferenceSource) -> float:
    return source.memory_share if source.memory_share is not None else DEFAULT_SHARE
