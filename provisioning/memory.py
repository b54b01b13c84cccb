"""GPU memory that one model needs: its weights, one full context, and what the engine takes.

Sizes and formats are the vendor's list's. Parameters and the cache's bytes per token of well-known
shapes are their published ones; `docs/facts/xinference.md §4` measured some, and agrees. Everything
else is an estimate, errs on the large side, and says so; a model's `memoryGiB` overrules it.
"""

import math
import re
from dataclasses import dataclass

from provisioning.catalogue import Model
from provisioning.tables import table
from provisioning.vendor import billions_of

# Beside weights and cache of what does not chat. Estimates.
_SIDE_OVERHEAD_MIB = 512
_AUDIO_MIB = 4096

_SHAPES = table("model_shapes.json", dict[str, dict[str, tuple[float, int]]])
"""Architecture -> size -> (billions of parameters, KiB of cache per token at 16 bits: layers x KV
heads x head width x 2 x 2 bytes)."""
_OTHER_SHAPES = ("qwen1.5", "codeqwen1.5")  # of Qwen2's architecture, but with a cache per head
# Where the list tells the parameters that work on a token, not all that lie in memory.
_ALL_BILLIONS = {
    ("moonlight-16b-a3b-instruct", "3"): 16.0,
    ("qwen1.5-moe-chat", "2_7"): 14.3,
    ("gemma-4", "2"): 5.1,
    ("gemma-4", "4"): 8.0,
}
_KV_BY_BILLIONS = ((4, 144), (10, 160), (16, 192), (40, 256), (math.inf, 320))
_ROUNDED = 1.1  # a listed size is rounded, mostly down: 7 is 7.62

# Bytes per parameter by bits. Four-bit files keep their embeddings at 16 bits.
_BYTES = {3: 0.6, 4: 0.72, 5: 0.8, 6: 0.9, 8: 1.15, 16: 2.0, 32: 4.0}
_GGUF_BYTES = {1: 0.35, 2: 0.45, 3: 0.52, 4: 0.64, 5: 0.74, 6: 0.85, 8: 1.1, 16: 2.0, 32: 4.0}
_FORMAT_BITS = {"awq": 4, "gptq": 4, "bnb": 4, "fp4": 4, "fp8": 8}
_STORED_AT_4_BITS = frozenset({"gpt-oss"})  # though its list says pytorch and "none"

# Embeddings and rerankers whose list tells no size: the vocabulary of their family, and the size.
_BERT = ("m3e", "bge-small", "bge-base", "bge-large", "gte-", "e5-", "text2vec")
_RERANKERS = (("gemma", 2.5), ("minicpm", 2.7), ("base", 0.28))
_LARGE_ENCODER = 0.57


@dataclass(frozen=True)
class Need:
    """What a model takes of GPU memory, in MiB over all its cards, and where the numbers come from.

    All is in `overhead` where the operator gave one number.
    """

    weights: int
    cache: int
    overhead: int
    how: str

    @property
    def total(self) -> int:
        """MiB altogether."""
        return self.weights + self.cache + self.overhead


def need(model: Model) -> Need:
    """What one replica of a model of Xinference takes."""
    source = model.local
    if source.memory_gib is not None:
        return Need(0, 0, math.ceil(source.memory_gib * 1024), "memoryGiB")
    if model.kind in ("speech", "transcription"):
        return Need(0, 0, _AUDIO_MIB, "estimate by kind")
    sizes, bits = _GGUF_BYTES if source.format == "ggufv2" else _BYTES, _bits(model)
    bytes_each = sizes[min(sizes, key=lambda known: abs(known - bits))]
    weights = math.ceil(_billions(model) * 1e9 * bytes_each / 2**20)
    if model.kind != "chat":
        return Need(weights, 0, _SIDE_OVERHEAD_MIB, f"estimate: weights {weights}")
    cache = math.ceil(model.context * kv_kib(model) / 1024)
    overhead = source.traits.overhead_mib
    guess = "" if _shape(model) else ", its shape is not known"
    parts = f"weights {weights}, context of {model.context} tokens {cache}, overhead {overhead}"
    return Need(weights, cache, overhead, f"estimate: {parts}{guess}")


def least_weights_mib(model: Model) -> int:
    """MiB that the weights cannot be below, where the list tells their number; else 0."""
    listed, shape = model.listed, _shape(model)
    own = listed.billions if listed else 0
    told = billions_of(model.local.size_text) if model.kind == "chat" else own
    billions = shape[0] if shape else told / _ROUNDED  # 0.49 is listed as 0_5
    return math.floor(billions * 1e9 * min(_bits(model), 16) / 8 / 2**20)


def kv_kib(model: Model) -> int:
    """KiB of keys and values per token of a chat model's context."""
    shape, billions = _shape(model), _billions(model)
    return shape[1] if shape else next(kib for most, kib in _KV_BY_BILLIONS if billions <= most)


def _shape(model: Model) -> tuple[float, int] | None:
    listed = model.listed
    if listed is None or listed.name.startswith(_OTHER_SHAPES):
        return None
    return _SHAPES.get(listed.architecture, {}).get(model.local.size_text or "")


def _billions(model: Model) -> float:
    listed, size = model.listed, model.local.size_text or ""
    if shape := _shape(model):
        return shape[0]
    if model.kind == "chat":
        # Without a size Xinference takes the first of its list; 7 is what that mostly is.
        return (_ALL_BILLIONS.get((model.upstream, size)) or billions_of(size) or 7.0) * _ROUNDED
    if listed is None:
        return _LARGE_ENCODER
    if listed.billions:
        return listed.billions * _ROUNDED
    if listed.type == "rerank":
        sizes = (size for word, size in _RERANKERS if word in listed.name.lower())
        return next(sizes, _LARGE_ENCODER)
    # An encoder of 12 or 24 layers, each of twelve squares of its width, and its vocabulary.
    vocabulary = 30_000 if listed.name.startswith(_BERT) else 250_000
    layers = 24 if listed.width >= 1024 else 12
    return (12 * layers * listed.width**2 + vocabulary * listed.width) / 1e9


def _bits(model: Model) -> int:
    source, listed = model.local, model.listed
    # A launch without one takes the list's first.
    specs = listed.matching(source.format, source.size_text) if listed else ()
    quantization = source.quantization or (specs[0].quantizations[0] if specs else "none")
    if digits := re.search(r"\d+", quantization.removeprefix("i1-")):
        return int(digits[0])
    if source.format in _FORMAT_BITS:
        return _FORMAT_BITS[source.format]
    if model.kind == "chat":
        return 4 if model.upstream in _STORED_AT_4_BITS else 16
    # Encoders are stored at 32 bits, language models that embed or rank at 16.
    return 32 if _billions(model) < 0.6 else 16
