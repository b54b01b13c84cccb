"""Whether the models fit the GPU's memory together, before anything is paid.

vLLM takes its share of the whole card whatever the model needs, so two things must hold: the share
holds the model's weights and its context, and what is left holds the others
(`docs/facts/xinference.md §4`).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from provisioning.cards import Gpus
from provisioning.catalogue import Model, each_model, in_xinference
from provisioning.memory import kv_kib, least_weights_mib, need
from provisioning.problems import Problem
from provisioning.traits import Kind

_USUAL_SHARE = 0.90  # what vLLM takes where nothing else is said (docs/facts/xinference.md §2)
_MEASURED = "set memoryGiB where you have measured less"
_LAUNCH_ORDER: tuple[Kind, ...] = ("embedding", "rerank", "transcription", "speech", "chat")
_NO_GPUS = Gpus("no card", 0, 0, 0)


@dataclass(frozen=True)
class FitRow:
    """One model's memory.

    Attributes:
        cards: indexes of the cards it lies on; several for replicas or a model over several cards.
        needed_mib: what it takes of each of these cards.
        how: where the number comes from.
    """

    model: Model
    cards: tuple[int, ...]
    needed_mib: int
    how: str


@dataclass(frozen=True)
class Fit:
    """The models on the cards, in launch order; `needed_mib` is what the fullest card holds."""

    rows: tuple[FitRow, ...]
    needed_mib: int
    problems: tuple[Problem, ...]


def launch_order(models: Iterable[Model]) -> tuple[Model, ...]:
    """Xinference's models, small ones first: vLLM counts what is taken when it starts."""
    return tuple(sorted(in_xinference(models), key=lambda model: _LAUNCH_ORDER.index(model.kind)))


def fit(models: Sequence[Model], gpus: Gpus | None) -> Fit:
    """Lays the models on the cards as Xinference does: in launch order, on the idlest card."""
    gpus = gpus or _NO_GPUS
    taken, residents = [0] * gpus.count, [0] * gpus.count
    rows: list[FitRow] = []
    for model in launch_order(models):
        needed, how = taken_of(model, gpus)
        cards: list[int] = []
        for _ in range(model.local.replicas):
            idlest = sorted(range(gpus.count), key=lambda card: (residents[card], taken[card]))
            for card in idlest[: model.local.gpus]:
                residents[card] += 1
                taken[card] += needed
                cards.append(card)
        rows.append(FitRow(model, tuple(cards), needed, how))
    left: dict[str, int] = {}  # by the others, on that of its cards where it is the least
    for row in rows:
        others = (taken[card] - row.needed_mib * row.cards.count(card) for card in row.cards)
        left[row.model.name] = gpus.usable_mib - max(others, default=0)
    problems = [*each_model(models, lambda model: _own_problems(model, gpus, left))]
    fullest = max(taken, default=0)
    if fullest > gpus.usable_mib:
        card = taken.index(fullest)
        shares = ((row.model, row.needed_mib * row.cards.count(card)) for row in rows)
        on_it = [(model, mib) for model, mib in shares if mib]
        problems.append(_too_full(models, on_it, gpus, left))
    return Fit(tuple(rows), fullest, tuple(problems))


def taken_of(model: Model, gpus: Gpus) -> tuple[int, str]:
    """MiB that a model takes of each of its cards, and where the number comes from."""
    if model.local.gpus == 0:
        return 0, "on the CPU"
    if model.local.traits.share:
        share = _share(model)
        return math.ceil(share * gpus.memory_mib), f"memoryShare {share:.2f} of the whole card"
    return _needed(model), need(model).how


def largest_context(model: Model, held: int) -> int | None:
    """The longest context, in tokens, whose cache `held` MiB of each card hold; None below 2048."""
    needs = need(model)
    if model.kind != "chat" or model.local.memory_gib is not None:
        return None
    room = held * model.local.gpus - needs.weights - needs.overhead
    tokens = math.floor(room * 1024 / kv_kib(model)) // 512 * 512
    return tokens if tokens >= 2048 else None


def _own_problems(model: Model, gpus: Gpus, left: Mapping[str, int]) -> Iterator[Problem]:
    """What is wrong with one model; of what lies beside it, only what that leaves to it counts."""
    source = model.xinference
    if source is None:
        return
    least, given = least_weights_mib(model), source.memory_gib
    if source.gpus and not gpus.count:
        wrong = f"{model.name} wants a GPU and the server has none"
        right = "set gpus: 0 to run it on the CPU, or choose an instance type with a GPU"
        yield Problem("xinference.gpus", wrong, right)
    elif source.gpus > gpus.count:
        wrong = f"{model.name} wants {source.gpus} cards and the server has {gpus.count}"
        yield Problem("xinference.gpus", wrong, f"set gpus to {gpus.count} at the most")
    elif source.engine == "vllm" and source.gpus == 0:
        right = "set gpus: 1, or engine: transformers"
        yield Problem("xinference.gpus", "vllm needs a GPU", right)
    elif given is not None and given * 1024 < least:
        wrong = f"{given:g} GiB are less than the weights of {model.name} alone"
        right = f"they are {least / 1024:.1f} GiB at the least"
        yield Problem("xinference.memoryGiB", wrong, right)
    elif source.gpus and source.traits.share:
        yield from _share_problems(model, gpus, left[model.name])


def _share_problems(model: Model, gpus: Gpus, left: int) -> Iterator[Problem]:
    held, needed = math.floor(_share(model) * gpus.memory_mib), _needed(model)
    if needed <= held:
        return
    cures: list[str] = []
    smallest = math.ceil(needed / gpus.memory_mib * 100) / 100
    if math.ceil(smallest * gpus.memory_mib) <= left:
        cures.append(f"set memoryShare to {smallest:.2f} or more")
    if context := largest_context(model, held):
        cures.append(f"set context to {context} or less")
    if not cures:
        cures.append("choose a smaller size or quantization, spread it over more cards")
    wrong = f"{model.name} needs {needed} MiB ({need(model).how}), and its share holds {held}"
    yield Problem("xinference.memoryShare", wrong, ", or ".join([*cures, _MEASURED]))


def _too_full(
    models: Sequence[Model], on_it: Sequence[tuple[Model, int]], gpus: Gpus, left: Mapping[str, int]
) -> Problem:
    """`on_it`: the models on the fullest card, and the MiB that each takes of it."""
    summed = " + ".join(f"{model.name} {taken}" for model, taken in on_it)
    wrong = f"the models do not fit {gpus.card} together: {summed} = {sum(mib for _, mib in on_it)}"
    wrong += f" MiB of {gpus.usable_mib} usable"
    sharing = [model for model, _ in on_it if model.local.traits.share]
    if len(sharing) != 1:
        right = f"leave one out, choose a smaller one or a larger instance type, or {_MEASURED}"
        return Problem("models", wrong, right)
    model = sharing[0]
    room, needed = left[model.name], _needed(model)
    largest = math.floor(room / gpus.memory_mib * 100) / 100
    right = f"set it to {largest:.2f} or less"
    if largest <= 0 or needed > math.floor(largest * gpus.memory_mib):
        right = f"{max(room, 0)} MiB are left beside the others and {model.name} needs {needed}: "
        right += "choose a smaller size, quantization or context, or a larger instance type"
    path = f"models[{models.index(model)}].xinference.memoryShare"
    return Problem(path, wrong, f"{right}, or {_MEASURED}")


def _needed(model: Model) -> int:
    """MiB that a model's weights, context and engine need of each of its cards."""
    return math.ceil(need(model).total / model.local.gpus)


def _share(model: Model) -> float:
    return model.local.memory_share or _USUAL_SHARE
