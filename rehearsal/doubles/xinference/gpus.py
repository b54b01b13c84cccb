"""The cards' memory, and what the engines say when it does not suffice.

vLLM takes `gpu_memory_utilization` of the whole card whatever the model needs; the others take
their weights and some working memory (docs/facts/xinference.md §4, §6).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rehearsal.doubles.xinference.catalogue import MIB, Entry

CONTEXT_MIB = 350
"""What a process takes for CUDA itself."""
ACTIVATION_MIB = 1200
"""vLLM's peak beside weights and KV cache, and a transformers model's working memory."""
DEFAULT_UTILIZATION = 0.90


class EngineFailure(Exception):
    """An engine did not start. `kind` is the real exception's class: it decides the HTTP status."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass
class Card:
    """One GPU; `taken` is MiB by replica."""

    index: int
    name: str
    total_mib: int
    taken: dict[str, int] = field(default_factory=dict)

    @property
    def free_mib(self) -> int:
        """What nobody took."""
        return self.total_mib - sum(self.taken.values())


@dataclass(frozen=True)
class Need:
    """What one replica wants from its cards."""

    entry: Entry
    engine: str
    weights: int
    size: str
    context: int
    utilization: float


def take(cards: list[Card], replica: str, need: Need) -> None:
    """Take the memory from `cards`, split evenly.

    Raises:
        EngineFailure: with the engine's own text; nothing is taken then.
    """
    share = [_needed(card, need, len(cards)) for card in cards]
    for card, mib in zip(cards, share, strict=True):
        card.taken[replica] = mib


def release(cards: list[Card], replica: str) -> None:
    """Give the memory back."""
    for card in cards:
        card.taken.pop(replica, None)


def _needed(card: Card, need: Need, ways: int) -> int:
    weights = need.weights // MIB // ways
    if need.engine == "vllm" and need.entry.type == "LLM":
        return _vllm(card, need, weights, ways)
    cache = need.entry.token_bytes.get(need.size, 0) * need.context // MIB // ways
    working = ACTIVATION_MIB if need.entry.type == "LLM" else 0
    wanted = weights + cache + working + CONTEXT_MIB
    if wanted > card.free_mib:
        raise _out_of_memory(card)
    return wanted


def _vllm(card: Card, need: Need, weights: int, ways: int) -> int:
    budget = int(need.utilization * card.total_mib)
    if budget > card.free_mib:
        raise EngineFailure(
            "ValueError",
            f"Free memory on device ({card.free_mib / 1024:.2f}/{card.total_mib / 1024:.2f} GiB) "
            f"on startup is less than desired GPU memory utilization ({need.utilization}, "
            f"{budget / 1024:.2f} GiB). Decrease GPU memory utilization or reduce GPU memory used "
            "by other processes.",
        )
    if weights + CONTEXT_MIB > card.total_mib:
        raise _out_of_memory(card)
    cache = budget - weights - ACTIVATION_MIB
    if cache <= 0:
        raise EngineFailure(
            "ValueError",
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` "
            "when initializing the engine.",
        )
    tokens = cache * MIB * ways // need.entry.token_bytes[need.size]
    if need.context > tokens:
        raise EngineFailure(
            "ValueError",
            f"The model's max seq len ({need.context}) is larger than the maximum number of tokens "
            f"that can be stored in KV cache ({tokens}). Try increasing "
            "`gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.",
        )
    return budget


def _out_of_memory(card: Card) -> EngineFailure:
    return EngineFailure(
        "OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 320.00 MiB. GPU "
        f"{card.index} has a total capacity of {card.total_mib / 1024:.2f} GiB of which "
        f"{card.free_mib:.2f} MiB is free.",
    )
