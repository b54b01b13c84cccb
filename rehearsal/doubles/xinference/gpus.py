"""The cards' memory, and what the engines say when it does not suffice.

vLLM takes `gpu_memory_utilization` of the whole card whatever the model needs; the others take
their weights and some working memory (docs/facts/xinference.md §4, §6).
"""

from rehearsal.doubles.xinference.books import ActorError, Card, Model, Replica
from rehearsal.doubles.xinference.catalogue import MIB

CONTEXT_MIB = 350
"""What a process takes for CUDA itself."""
ACTIVATION_MIB = 1200
"""vLLM's peak beside weights and KV cache, and a transformers model's working memory."""
DEFAULT_UTILIZATION = 0.90


def take(model: Model, replica: Replica) -> None:
    """Claim the memory of a replica's cards, split evenly; an ActorError with the engine's text."""
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
    _check_room(wanted <= card.free_mib, card, "out of memory")
    return wanted


def _vllm(card: Card, model: Model, ways: int) -> int:
    share = float(model.payload.get("gpu_memory_utilization") or DEFAULT_UTILIZATION)
    budget = int(share * card.total_mib)
    told = {"share": share, "budget": budget / 1024, "context": model.context}
    _check_room(budget <= card.free_mib, card, "share", **told)
    weights = model.weights // MIB // ways
    _check_room(weights + CONTEXT_MIB <= card.total_mib, card, "out of memory")
    cache = budget - weights - ACTIVATION_MIB
    _check_room(cache > 0, card, "no cache")
    tokens = cache * MIB * ways // model.entry.token_bytes(model.spec.size)
    _check_room(model.context <= tokens, card, "small cache", tokens=tokens, **told)
    return budget


def _check_room(enough: bool, card: Card, error: str, **told: object) -> None:
    if not enough:
        sizes = {"free": card.free_mib / 1024, "total": card.total_mib / 1024}
        raise ActorError(error, index=card.index, **sizes, **told)
