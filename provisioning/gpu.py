"""Whether the models fit the GPU's memory together, before anything is paid.

vLLM takes its share of the whole card whatever the model needs, so two things must hold: the share
holds the model's weights and its context, and what is left holds the others
(`facts/xinference.md §4`). Numbers marked as estimates are judgement, not measurement; a model's
`memoryGiB` overrules them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from provisioning.catalogue import Kind, Model, XinferenceSource
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
    cards: int = 1

    @property
    def fits(self) -> bool:
        """Whether nothing stands against it."""
        return not self.problems

    def table(self) -> str:
        """The sum per model as text, for messages and previews."""
        width = max([len(row.model) for row in self.rows] + [len("on the fullest card")])
        lines = [
            f"  {row.model:<{width}}  {row.needed_mib:>7} MiB  {self._place(row)}{row.how}"
            for row in self.rows
        ]
        lines.append(
            f"  {'on the fullest card':<{width}}  {self.needed_mib:>7} MiB  "
            f"of {self.usable_mib} MiB usable"
        )
        return "\n".join(lines)

    def _place(self, row: FitRow) -> str:
        if self.cards < 2 or not row.cards:
            return ""
        return f"card {', '.join(str(card) for card in row.cards)}: "


# Card -> (memory as the driver reports it, usable, estimate). A10: facts/alicloud.md §2.1.
_CARDS: dict[str, tuple[int, int, bool]] = {
    "NVIDIA A10": (22731, 22528, False),
    "Tesla T4": (15109, 14848, True),
    "NVIDIA A30": (24258, 24064, True),
    "Tesla V100-SXM2-16GB": (16160, 15872, True),
    "NVIDIA A100-SXM4-80GB": (81251, 80896, True),
    "NVIDIA L20": (46068, 45568, True),
}

# Instance type -> (card, count, vCPU, GiB). gn7i: facts/alicloud.md §2.1; the others from memory.
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
    "ecs.gn6v-c8g1.2xlarge": ("Tesla V100-SXM2-16GB", 1, 8, 32),
    "ecs.gn6v-c8g1.8xlarge": ("Tesla V100-SXM2-16GB", 4, 32, 128),
    "ecs.gn6v-c8g1.16xlarge": ("Tesla V100-SXM2-16GB", 8, 64, 256),
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


def gpus_of(instance_type: str) -> Gpus | None:
    """The GPUs of an instance type; None when it has none, or when the table does not know it.

    `has_gpu` tells these two apart.
    """
    shape = _TYPES.get(instance_type)
    if shape is None:
        return None
    card, count, vcpus, memory_gib = shape
    memory, usable, estimate = _CARDS[card]
    return Gpus(
        card=card,
        count=count,
        memory_mib=memory,
        usable_mib=usable,
        vcpus=vcpus,
        memory_gib=memory_gib,
        estimate=estimate,
    )


def has_gpu(instance_type: str) -> bool:
    """Whether the type's family is one with GPUs, known to the table or not."""
    family = instance_type.removeprefix("ecs.").split("-")[0].split(".")[0]
    return family.startswith(("gn", "vgn", "sgn", "ebmgn", "sccgn"))


def known_gpu_types() -> tuple[str, ...]:
    """The GPU instance types of the table."""
    return tuple(_TYPES)


# --- What a model needs -----------------------------------------------------------------------

_VLLM_DEFAULT_SHARE = 0.90  # facts/xinference.md §2
_VLLM_OVERHEAD_MIB = 1536  # activations, CUDA context and graphs; an estimate
_TRANSFORMERS_OVERHEAD_MIB = (
    2048  # facts/xinference.md §4: total minus weights minus KV, rounded up
)
_LLAMA_CPP_OVERHEAD_MIB = 1024

# Billions of parameters behind the size's name, where it says less.
_PARAMETERS: dict[tuple[str, str], float] = {
    ("qwen2.5-instruct", "1_5"): 1.54,
    ("qwen2.5-instruct", "3"): 3.09,
    ("qwen2.5-instruct", "7"): 7.62,
    ("qwen2.5-instruct", "14"): 14.77,
    ("qwen2.5-instruct", "32"): 32.8,
    ("qwen2.5-instruct", "72"): 72.7,
    ("qwen3", "0_6"): 0.75,
    ("qwen3", "1_7"): 2.03,
    ("qwen3", "8"): 8.19,
    ("qwen3", "14"): 14.77,
    ("qwen3", "32"): 32.8,
    ("deepseek-r1-distill-qwen", "1_5"): 1.78,
    ("deepseek-r1-distill-qwen", "7"): 7.62,
    ("deepseek-r1-distill-qwen", "14"): 14.77,
    ("deepseek-r1-distill-qwen", "32"): 32.8,
    ("llama-3.1-instruct", "8"): 8.03,
    ("llama-3.1-instruct", "70"): 70.6,
    ("baichuan-2-chat", "7"): 7.51,
    ("baichuan-2-chat", "13"): 13.9,
    ("glm4-chat", "9"): 9.4,
}

# KiB of KV cache per token at 16 bits: layers x KV heads x head width x 2 x 2 bytes. Those that
# facts/xinference.md §4 measured agree with it.
_KV_KIB: dict[tuple[str, str], int] = {
    ("qwen2.5-instruct", "0_5"): 12,
    ("qwen2.5-instruct", "1_5"): 28,
    ("qwen2.5-instruct", "3"): 36,
    ("qwen2.5-instruct", "7"): 56,
    ("qwen2.5-instruct", "14"): 192,
    ("qwen2.5-instruct", "32"): 256,
    ("qwen2.5-instruct", "72"): 320,
    ("deepseek-r1-distill-qwen", "1_5"): 28,
    ("deepseek-r1-distill-qwen", "7"): 56,
    ("deepseek-r1-distill-qwen", "14"): 192,
    ("deepseek-r1-distill-qwen", "32"): 256,
    ("qwen3", "0_6"): 112,
    ("qwen3", "1_7"): 112,
    ("qwen3", "4"): 144,
    ("qwen3", "8"): 144,
    ("qwen3", "14"): 160,
    ("qwen3", "32"): 256,
    ("llama-3.1-instruct", "8"): 128,
    ("llama-3.1-instruct", "70"): 320,
    ("baichuan-2-chat", "7"): 512,
    ("baichuan-2-chat", "13"): 800,
    ("glm4-chat", "9"): 40,
}

# Bytes per parameter by format, then by the start of the quantization. Four-bit files keep their
# embeddings at 16 bits, hence more than half a byte.
_BYTES: dict[str, tuple[tuple[str, float], ...]] = {
    "awq": (("int4", 0.72), ("int8", 1.2)),
    "gptq": (("int4", 0.72), ("int8", 1.2)),
    "fp8": (("", 1.1),),
    "pytorch": (("4-bit", 0.72), ("8-bit", 1.2)),
    "ggufv2": (
        ("q2", 0.45),
        ("q3", 0.52),
        ("q4", 0.64),
        ("q5", 0.74),
        ("q6", 0.85),
        ("q8", 1.1),
    ),
}

# Embedding, rerank and audio models, weights plus CUDA context (facts/xinference.md §4, estimates).
_SMALL_MIB: dict[str, int] = {
    "m3e-base": 1024,
    "m3e-small": 768,
    "m3e-large": 2048,
    "bge-m3": 2560,
    "bge-large-zh": 2048,
    "bge-large-zh-v1.5": 2048,
    "bge-base-zh": 1024,
    "bge-base-zh-v1.5": 1024,
    "bge-reranker-base": 2048,
    "bge-reranker-large": 2560,
    "bge-reranker-v2-m3": 2560,
    "whisper-large-v3": 4096,
    "CosyVoice2-0.5B": 4096,
    "Kokoro-82M": 1024,
}
_SMALL_BY_KIND: dict[Kind, int] = {
    "embedding": 2560,
    "rerank": 2560,
    "transcription": 4096,
    "speech": 4096,
}

_LAUNCH_ORDER: tuple[Kind, ...] = ("embedding", "rerank", "transcription", "speech", "chat")


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
        source = _source(model)
        problems.extend(_own_problems(models, model, gpus))
        needed, how = _taken(model, gpus)
        cards: list[int] = []
        for _ in range(source.replicas):
            idlest = sorted(range(gpus.count), key=lambda card: (residents[card], taken[card]))
            for card in idlest[: source.gpus]:
                residents[card] += 1
                taken[card] += needed
                cards.append(card)
        rows.append(FitRow(model.name, tuple(cards), needed, how))
    fullest = max(taken)
    if fullest > gpus.usable_mib:
        problems.append(_too_full(models, rows, taken, gpus))
    return Fit(tuple(rows), fullest, gpus.usable_mib, tuple(problems), gpus.count)


def _without_gpu(models: Sequence[Model]) -> Fit:
    problems = tuple(
        Problem(
            f"models[{_index(models, model)}].xinference.gpus",
            f"{model.name} wants a GPU and the server has none",
            "set gpus: 0 to run it on the CPU, or choose an instance type with a GPU",
        )
        for model in launch_order(models)
        if _source(model).gpus > 0
    )
    rows = tuple(FitRow(model.name, (), 0, "on the CPU") for model in launch_order(models))
    return Fit(rows, 0, 0, problems, 0)


def _taken(model: Model, gpus: Gpus) -> tuple[int, str]:
    """MiB that a model takes of each of its cards, and why."""
    source = _source(model)
    if source.gpus == 0:
        return 0, "on the CPU"
    if source.engine in _SHARING:
        share = _share(source)
        return math.ceil(share * gpus.memory_mib), f"memoryShare {share:.2f} of the whole card"
    if source.memory_gib is not None:
        return math.ceil(source.memory_gib * 1024), "memoryGiB"
    if model.kind == "chat":
        return math.ceil(_chat_mib(model) / source.gpus), _chat_parts(model)
    known = _SMALL_MIB.get(_catalogue_name(model))
    return known or _SMALL_BY_KIND[model.kind], "estimate" if known else "estimate by kind"


def _own_problems(models: Sequence[Model], model: Model, gpus: Gpus) -> list[Problem]:
    """What is wrong with one model whatever lies beside it."""
    source = _source(model)
    path = f"models[{_index(models, model)}].xinference"
    if source.gpus > gpus.count:
        wrong = f"{model.name} wants {source.gpus} cards and the server has {gpus.count}"
        return [Problem(f"{path}.gpus", wrong, f"set gpus to {gpus.count} at the most")]
    if source.engine == "vllm" and source.gpus == 0:
        return [Problem(f"{path}.gpus", "vllm needs a GPU", "set gpus: 1, or engine: transformers")]
    if source.engine not in _SHARING or model.kind != "chat":
        return []
    return _share_too_small(path, model, gpus, _left_beside(models, model, gpus))


def _left_beside(models: Sequence[Model], model: Model, gpus: Gpus) -> int:
    """MiB of one card that the others leave to a model; of several cards, a card of its own."""
    if gpus.count > 1:
        return gpus.usable_mib
    others = (other for other in launch_order(models) if other is not model)
    return gpus.usable_mib - sum(_taken(o, gpus)[0] * _source(o).replicas for o in others)


def _share_too_small(path: str, model: Model, gpus: Gpus, left: int) -> list[Problem]:
    source = _source(model)
    share = _share(source)
    held = math.floor(share * gpus.memory_mib)
    needed = math.ceil(_chat_mib(model) / source.gpus)
    if needed <= held:
        return []
    wrong = f"{model.name} needs {needed} MiB ({_chat_parts(model)}), and its share holds {held}"
    return [Problem(f"{path}.memoryShare", wrong, _cures(model, needed, held, left, gpus))]


def _cures(model: Model, needed: int, held: int, left: int, gpus: Gpus) -> str:
    cures: list[str] = []
    smallest = math.ceil(needed / gpus.memory_mib * 100) / 100
    if math.ceil(smallest * gpus.memory_mib) <= left:
        cures.append(f"set memoryShare to {smallest:.2f} or more")
    context = _largest_context(model, held)
    if context is not None:
        cures.append(f"set context to {context} or less")
    if not cures:
        cures.append("choose a smaller size or quantization, or spread it over more cards")
    return ", or ".join(cures)


def _largest_context(model: Model, held: int) -> int | None:
    source = _source(model)
    if source.memory_gib is not None:
        return None
    room = held * source.gpus - _weights_mib(model) - _overhead_mib(source)
    tokens = math.floor(room * 1024 / _kv_kib(model)[0]) // 512 * 512
    return tokens if tokens >= 2048 else None


def _too_full(
    models: Sequence[Model], rows: Sequence[FitRow], taken: Sequence[int], gpus: Gpus
) -> Problem:
    fullest = max(range(gpus.count), key=lambda card: taken[card])
    on_it = [row for row in rows if fullest in row.cards]
    summed = " + ".join(f"{row.model} {row.needed_mib}" for row in on_it)
    by_name = {model.name: model for model in models}
    sharing = [r for r in on_it if _source(by_name[r.model]).engine in _SHARING]
    wrong = (
        f"the models do not fit {gpus.card} together: {summed} = {taken[fullest]} MiB "
        f"of {gpus.usable_mib} usable"
    )
    if len(sharing) != 1:
        right = "leave one out, choose a smaller one, or a larger instance type"
        return Problem("models", wrong, right)
    row = sharing[0]
    others = sum(r.needed_mib * r.cards.count(fullest) for r in on_it if r is not row)
    index = _index(models, by_name[row.model])
    return Problem(
        f"models[{index}].xinference.memoryShare",
        wrong,
        _share_cure(by_name[row.model], gpus.usable_mib - others, gpus),
    )


def _share_cure(model: Model, left: int, gpus: Gpus) -> str:
    largest = math.floor(left / gpus.memory_mib * 100) / 100
    needed = math.ceil(_chat_mib(model) / _source(model).gpus) if model.kind == "chat" else 0
    if largest > 0 and needed <= math.floor(largest * gpus.memory_mib):
        return f"set it to {largest:.2f} or less"
    return (
        f"{max(left, 0)} MiB are left beside the others and {model.name} needs {needed}: "
        "choose a smaller size, quantization or context, or a larger instance type"
    )


# Engines that take a share of the card at start, whatever the model needs.
_SHARING = frozenset({"vllm", "sglang"})


def _source(model: Model) -> XinferenceSource:
    if model.xinference is None:
        raise ValueError(f"{model.name} is not served by Xinference")
    return model.xinference


def _index(models: Sequence[Model], model: Model) -> int:
    return next(index for index, other in enumerate(models) if other is model)


def _share(source: XinferenceSource) -> float:
    return source.memory_share if source.memory_share is not None else _VLLM_DEFAULT_SHARE


def _catalogue_name(model: Model) -> str:
    return _source(model).model or model.name


def _size(model: Model) -> str:
    return str(_source(model).size).replace(".", "_")


def _billions(model: Model) -> float:
    size = _size(model)
    known = _PARAMETERS.get((_catalogue_name(model), size))
    if known is not None:
        return known
    try:
        return float(size.replace("_", "."))
    except ValueError:
        # Without a size Xinference takes the first of its catalogue; 7 is what that mostly is.
        return 7.0


def _weights_mib(model: Model) -> int:
    source = _source(model)
    quantization = (source.quantization or "none").lower()
    for prefix, per_parameter in _BYTES.get(source.format or "pytorch", ()):
        if quantization.startswith(prefix):
            return math.ceil(_billions(model) * 1e9 * per_parameter / 2**20)
    return math.ceil(_billions(model) * 1e9 * 2 / 2**20)


def _kv_kib(model: Model) -> tuple[int, bool]:
    """KiB per token of context, and whether the architecture is known."""
    known = _KV_KIB.get((_catalogue_name(model), _size(model)))
    if known is not None:
        return known, True
    billions = _billions(model)
    for limit, kib in ((4, 144), (10, 160), (16, 192), (40, 256)):
        if billions <= limit:
            return kib, False
    return 320, False


def _kv_mib(model: Model) -> int:
    return math.ceil(model.context * _kv_kib(model)[0] / 1024)


def _overhead_mib(source: XinferenceSource) -> int:
    if source.engine in _SHARING:
        return _VLLM_OVERHEAD_MIB
    return _LLAMA_CPP_OVERHEAD_MIB if source.engine == "llama.cpp" else _TRANSFORMERS_OVERHEAD_MIB


def _chat_mib(model: Model) -> int:
    """MiB of a chat model over all its cards: weights, one full context, overhead."""
    source = _source(model)
    if source.memory_gib is not None:
        return math.ceil(source.memory_gib * 1024)
    return _weights_mib(model) + _kv_mib(model) + _overhead_mib(source)


def _chat_parts(model: Model) -> str:
    source = _source(model)
    if source.memory_gib is not None:
        return "memoryGiB"
    guess = "" if _kv_kib(model)[1] else ", architecture not known"
    return (
        f"estimate: weights {_weights_mib(model)}, context of {model.context} tokens "
        f"{_kv_mib(model)}, overhead {_overhead_mib(source)}{guess}"
    )
