"""The cards' memory, and what the engines say when it does not suffice.

vLLM takes `gpu_memory_utilization` of the whole card whatever the model needs; the others take
their weights and some working memory (docs/facts/xinference.md §4, §6).
"""

from __future__ import annotations

from rehearsal.doubles.xinference.books import ActorError, Card, Model, Replica
from rehearsal.doubles.xinference.catalogue import MIB

CONTEXT_MIB = 350
"""What a process takes for CUDA itself."""
ACTIVATION_MIB = 1200
"""vLLM's peak beside weights and KV cache, and a transformers model's working memory."""
DEFAULT_UTILIZATION = 0.90


def take(model: Model, replica: Replica) -> None:
    """Claim the memory of a replica's cards, split evenly.

    Raises:
        ActorError: with the engine's own text; nothing is taken then.
    """
    needed = _vllm if model.engine == "vllm" and model.entry.type == "LLM" else _others
    share = [needed(card, model, len(replica.cards)) for card in replica.cards]
    for card, mib in zip(replica.cards, share, strict=True):
        card.taken[replica.uid] = mib


def release(replica: Replica) -> None:
    """Give the memory back."""
    for card in replica.cards:
        card.taken.pop(replica.uid, None)


def _others(card: Card, model: Model, ways: int) -> int:
    cache = model.entry.token_bytes(model.spec.size) * model.context // MIB // ways
    working = ACTIVATION_MIB if model.entry.type == "LLM" else 0
    wanted = model.weights // MIB // ways + cache + working + CONTEXT_MIB
    if wanted > card.free_mib:
        raise _out_of_memory(card)
    return wanted


def _vllm(card: Card, model: Model, ways: int) -> int:
    share = float(model.payload.get("gpu_memory_utilization") or DEFAULT_UTILIZATION)
    budget = int(share * card.total_mib)
    if budget > card.free_mib:
        raise ActorError(
            400,
            f"Free memory on device ({card.free_mib / 1024:.2f}/{card.total_mib / 1024:.2f} GiB) "
            f"on startup is less than desired GPU memory utilization ({share}, "
            f"{budget / 1024:.2f} GiB). Decrease GPU memory utilization or reduce GPU memory used "
            "by other processes.",
        )
    weights = model.weights // MIB // ways
    if weights + CONTEXT_MIB > card.total_mib:
        raise _out_of_memory(card)
    cache = budget - weights - ACTIVATION_MIB
    if cache <= 0:
        raise ActorError(
            400,
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` "
            "when initializing the engine.",
        )
    tokens = cache * MIB * ways // model.entry.token_bytes(model.spec.size)
    if model.context > tokens:
        raise ActorError(
            400,
            f"The model's max seq len ({model.context}) is larger than the maximum number of "
            f"tokens that can be stored in KV cache ({tokens}). Try increasing "
            "`gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.",
        )
    return budget


def _out_of_memory(card: Card) -> ActorError:
    return ActorError(
        500,
        "CUDA out of memory. Tried to allocate 320.00 MiB. GPU "
        f"{card.index} has a total capacity of {card.total_mib / 1024:.2f} GiB of which "
        f"{card.free_mib:.2f} MiB is free.",
    )
