"""The models that Xinference knows (facts/xinference.md §4), and how large they are.

Bytes are those of the published weights, rounded; the memory of a token is that of the estimator's
measured KV figures there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

MIB = 1024 * 1024
ModelType = Literal["LLM", "embedding", "rerank", "audio"]
BOTH = ("huggingface", "modelscope")
_GGUF_BITS = {"2": 2.9, "3": 3.9, "4": 4.9, "5": 5.7, "6": 6.6, "8": 8.5}


@dataclass(frozen=True)
class Spec:
    """One line of a model's list: a format and size, with its quantizations and homes."""

    format: str
    size: str
    quantizations: tuple[str, ...]
    hubs: tuple[str, ...] = BOTH
    repository: str = ""


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue.

    Attributes:
        context: tokens an LLM reads, or an embedding's or a reranker's longest input.
        width: of an embedding.
        engines: in the order in which they are looked at; the first is the default of a non-LLM.
        billions: parameters by size, in billions.
        token_bytes: KV cache of one token by size.
        bytes: of a model without sizes.
        own_code: its repository's code has to be trusted.
        thinks: "never", "unless told not to", "always".
    """

    name: str
    type: ModelType
    context: int
    specs: tuple[Spec, ...]
    engines: tuple[str, ...]
    abilities: tuple[str, ...] = ()
    width: int = 0
    billions: Mapping[str, float] = field(default_factory=dict)
    token_bytes: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    own_code: bool = False
    thinks: str = "never"
    languages: tuple[str, ...] = ("en", "zh")

    def weights(self, spec: Spec, quantization: str) -> int:
        """Bytes to download, which are also those in memory."""
        if self.bytes:
            return self.bytes
        return int(self.billions[spec.size] * 1e9 * _bytes_per_parameter(spec, quantization))


def _bytes_per_parameter(spec: Spec, quantization: str) -> float:
    if spec.format == "ggufv2":
        digit = next((letter for letter in quantization if letter in _GGUF_BITS), None)
        return _GGUF_BITS[digit] / 8 if digit else 2.0
    if spec.format in ("awq", "gptq"):
        return 0.68 if quantization == "Int4" else 1.15
    return 1.06 if spec.format == "fp8" else 2.0


_INT4 = ("Int4",)
_NONE = ("none",)
_QWEN_GGUF = ("q2_k", "q3_k_m", "q4_0", "q4_k_m", "q5_0", "q5_k_m", "q6_k", "q8_0")
_LLAMA_GGUF = ("Q3_K_L", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
_UNSLOTH_GGUF = ("Q2_K", "Q2_K_L", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
_QWEN25 = {"0_5": 0.49, "1_5": 1.54, "3": 3.09, "7": 7.62, "14": 14.77, "32": 32.76, "72": 72.7}
_QWEN3 = {
    "0_6": 0.75,
    "1_7": 2.03,
    "4": 4.02,
    "8": 8.19,
    "14": 14.77,
    "30": 30.5,
    "32": 32.76,
    "235": 235.0,
}
_DISTILL = {"1_5": 1.78, "7": 7.62, "14": 14.77, "32": 32.76}


def _specs(
    format_: str,
    sizes: tuple[str, ...],
    quantizations: tuple[str, ...],
    repository: str,
    hubs: tuple[str, ...] = BOTH,
) -> tuple[Spec, ...]:
    return tuple(
        Spec(
            format_, size, quantizations, hubs, repository.replace("{size}", size.replace("_", "."))
        )
        for size in sizes
    )


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "qwen2.5-instruct",
            "LLM",
            32768,
            _specs("pytorch", tuple(_QWEN25), _NONE, "qwen/Qwen2.5-{size}B-Instruct")
            + _specs(
                "gptq", tuple(_QWEN25), ("Int4", "Int8"), "qwen/Qwen2.5-{size}B-Instruct-GPTQ-Int4"
            )
            + _specs("awq", tuple(_QWEN25), _INT4, "qwen/Qwen2.5-{size}B-Instruct-AWQ")
            + _specs("ggufv2", tuple(_QWEN25), _QWEN_GGUF, "qwen/Qwen2.5-{size}B-Instruct-GGUF"),
            ("vLLM", "SGLang", "Transformers", "llama.cpp", "MLX"),
            ("chat", "tools"),
            billions=_QWEN25,
            token_bytes={
                "0_5": 12288,
                "1_5": 28672,
                "3": 36864,
                "7": 57344,
                "14": 196608,
                "32": 262144,
                "72": 327680,
            },
        ),
        Entry(
            "qwen3",
            "LLM",
            40960,
            _specs("pytorch", tuple(_QWEN3), _NONE, "Qwen/Qwen3-{size}B")
            + _specs("fp8", tuple(_QWEN3), ("fp8",), "Qwen/Qwen3-{size}B-FP8")
            + _specs("awq", ("4", "8", "14", "32"), _INT4, "Qwen/Qwen3-{size}B-AWQ")
            + _specs("gptq", tuple(_QWEN3), ("Int4", "Int8"), "JunHowie/Qwen3-{size}B-GPTQ-Int4"),
            ("vLLM", "SGLang", "Transformers", "llama.cpp", "MLX"),
            ("chat", "reasoning", "hybrid", "tools"),
            billions=_QWEN3,
            token_bytes={
                "0_6": 114688,
                "1_7": 114688,
                "4": 147456,
                "8": 147456,
                "14": 163840,
                "30": 98304,
                "32": 262144,
                "235": 192512,
            },
            thinks="unless told not to",
        ),
        Entry(
            "llama-3.1-instruct",
            "LLM",
            131072,
            _specs(
                "pytorch",
                ("8", "70", "405"),
                _NONE,
                "LLM-Research/Meta-Llama-3.1-{size}B-Instruct",
            )
            + _specs(
                "gptq",
                ("8", "70", "405"),
                _INT4,
                "LLM-Research/Meta-Llama-3.1-{size}B-Instruct-GPTQ-INT4",
            )
            + _specs(
                "awq",
                ("8", "70", "405"),
                _INT4,
                "LLM-Research/Meta-Llama-3.1-{size}B-Instruct-AWQ-INT4",
            )
            + _specs(
                "ggufv2", ("8",), _LLAMA_GGUF, "LLM-Research/Meta-Llama-3.1-{size}B-Instruct-GGUF"
            ),
            ("vLLM", "Transformers", "llama.cpp", "MLX"),
            ("chat", "tools"),
            billions={"8": 8.03, "70": 70.6, "405": 406.0},
            token_bytes={"8": 131072, "70": 327680, "405": 516096},
            languages=("en", "de", "fr", "it", "pt", "hi", "es", "th"),
        ),
        Entry(
            "baichuan-2-chat",
            "LLM",
            4096,
            _specs("pytorch", ("7", "13"), _NONE, "baichuan-inc/Baichuan2-{size}B-Chat"),
            ("Transformers",),
            ("chat",),
            billions={"7": 7.51, "13": 13.9},
            token_bytes={"7": 524288, "13": 819200},
            own_code=True,
        ),
        Entry(
            "glm4-chat",
            "LLM",
            131072,
            _specs("pytorch", ("9",), _NONE, "ZhipuAI/glm-4-{size}b-chat-hf"),
            ("vLLM", "SGLang", "Transformers", "llama.cpp"),
            ("chat", "tools"),
            billions={"9": 9.4},
            token_bytes={"9": 40960},
        ),
        Entry(
            "deepseek-r1-distill-qwen",
            "LLM",
            131072,
            _specs(
                "pytorch", tuple(_DISTILL), _NONE, "deepseek-ai/DeepSeek-R1-Distill-Qwen-{size}B"
            )
            + _specs(
                "gptq", ("7", "32"), _INT4, "tclf90/deepseek-r1-distill-qwen-{size}b-gptq-int4"
            )
            + _specs(
                "awq",
                tuple(_DISTILL),
                _INT4,
                "casperhansen/deepseek-r1-distill-qwen-{size}b-awq",
                ("huggingface",),
            )
            + _specs(
                "ggufv2",
                tuple(_DISTILL),
                _UNSLOTH_GGUF,
                "unsloth/DeepSeek-R1-Distill-Qwen-{size}B-GGUF",
            ),
            ("vLLM", "SGLang", "Transformers", "llama.cpp", "MLX"),
            ("chat", "reasoning"),
            billions=_DISTILL,
            token_bytes={"1_5": 28672, "7": 57344, "14": 196608, "32": 262144},
            thinks="always",
        ),
        Entry(
            "m3e-base",
            "embedding",
            512,
            (Spec("pytorch", "", _NONE, BOTH, "AI-ModelScope/m3e-base"),),
            ("sentence_transformers", "vllm"),
            ("embed",),
            width=768,
            bytes=409_000_000,
        ),
        Entry(
            "bge-m3",
            "embedding",
            8192,
            (
                Spec("pytorch", "", _NONE, BOTH, "Xorbits/bge-m3"),
                Spec("ggufv2", "", ("F16", "Q8_0"), BOTH, "Xorbits/bge-m3-gguf"),
            ),
            ("sentence_transformers", "flag", "vllm", "llama.cpp"),
            ("embed",),
            width=1024,
            bytes=2_270_000_000,
        ),
        *(
            Entry(
                name,
                "embedding",
                512,
                (Spec("pytorch", "", _NONE, BOTH, f"Xorbits/{name}"),),
                ("sentence_transformers", "flag", "vllm"),
                ("embed",),
                width=1024,
                bytes=1_300_000_000,
                languages=("zh",),
            )
            for name in ("bge-large-zh", "bge-large-zh-v1.5")
        ),
        Entry(
            "bge-reranker-v2-m3",
            "rerank",
            8192,
            (
                Spec("pytorch", "", _NONE, BOTH, "AI-ModelScope/bge-reranker-v2-m3"),
                Spec("ggufv2", "", ("F16", "Q8_0"), BOTH, "gpustack/bge-reranker-v2-m3-GGUF"),
            ),
            ("sentence_transformers", "vllm", "llama.cpp"),
            ("rerank",),
            bytes=2_270_000_000,
        ),
        Entry(
            "whisper-large-v3",
            "audio",
            0,
            (Spec("pytorch", "", _NONE, BOTH, "AI-ModelScope/whisper-large-v3"),),
            ("transformers",),
            ("audio2text",),
            bytes=3_090_000_000,
        ),
        Entry(
            "CosyVoice2-0.5B",
            "audio",
            0,
            (Spec("pytorch", "", _NONE, BOTH, "iic/CosyVoice2-0.5B"),),
            ("pytorch",),
            ("text2audio", "text2audio_zero_shot", "text2audio_voice_cloning"),
            bytes=4_800_000_000,
        ),
        Entry(
            "Kokoro-82M",
            "audio",
            0,
            (Spec("pytorch", "", _NONE, BOTH, "AI-ModelScope/Kokoro-82M"),),
            ("pytorch",),
            ("text2audio",),
            bytes=330_000_000,
        ),
    )
}


def of_type(type_: str) -> Iterator[Entry]:
    """All entries of one type."""
    return (entry for entry in CATALOGUE.values() if entry.type == type_)


def normal_size(size: object) -> str | None:
    """`14`, `"14"`, `"0_5"` and `"0.5"` as the catalogue writes them."""
    return None if size is None else str(size).replace(".", "_")
