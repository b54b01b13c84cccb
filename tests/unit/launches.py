"""Models and the bodies of their launches, as they are told to Xinference."""

from typing import Any

from provisioning.catalogue import Model


def model(name: str, kind: str, context: int = 8192, **source: Any) -> Model:
    return Model.model_validate(
        {"name": name, "kind": kind, "context": context, "xinference": source}
    )


AWQ = {"engine": "vllm", "format": "awq", "quantization": "Int4"}
R1 = {"model": "deepseek-r1-distill-qwen"}


def told(name: str, type_: str, hub: str = "modelscope", **more: Any) -> dict[str, Any]:
    """A payload: what every model is told, and what more this one is."""
    every = {"model_uid": name, "model_name": name, "model_type": type_, "download_hub": hub}
    return every | more


def llm(engine: str, format_: str, size: Any, quantization: str) -> dict[str, Any]:
    return {
        "model_engine": engine,
        "model_format": format_,
        "model_size_in_billions": size,
        "quantization": quantization,
        "n_gpu": 1,
    }


PAYLOADS: list[tuple[Model, dict[str, Any]]] = [
    (
        model("qwen2.5-instruct", "chat", 16384, size=14, memoryShare=0.7, **AWQ),
        told("qwen2.5-instruct", "LLM", gpu_memory_utilization=0.70, max_model_len=16384)
        | llm("vllm", "awq", 14, "Int4"),
    ),
    (
        model("qwen3", "chat", 16384, size="8", memoryShare=0.7, **AWQ),
        told("qwen3", "LLM", gpu_memory_utilization=0.70, max_model_len=16384)
        | {**llm("vllm", "awq", 8, "Int4"), "enable_thinking": False},
    ),
    (
        model("baichuan-2-chat", "chat", 4096, engine="transformers", format="pytorch", size=7,
              quantization="none"),
        told("baichuan-2-chat", "LLM", enable_virtual_env=True)
        | llm("transformers", "pytorch", 7, "none")
        | {"virtual_env_packages": ["transformers==4.33.3"]},
    ),
    (model("m3e-base", "embedding"), told("m3e-base", "embedding")),
    (
        model("my-reranker", "rerank", model="bge-reranker-v2-m3", gpus=0, replicas=2),
        told("my-reranker", "rerank", model_name="bge-reranker-v2-m3", n_gpu=None, replica=2),
    ),
    (model("whisper-large-v3", "transcription"), told("whisper-large-v3", "audio")),
    (
        model("q", "chat", 4096, model="qwen2.5-instruct", engine="llama.cpp", format="ggufv2",
              size="0.5", quantization="q4_k_m", engineArguments={"n_threads": 8}),
        told("q", "LLM", model_name="qwen2.5-instruct", n_ctx=4096, n_threads=8)
        | llm("llama.cpp", "ggufv2", "0_5", "q4_k_m"),
    ),
    (
        model("r1", "chat", 4096, engine="sglang", format="awq", size=14, quantization="Int4",
              memoryShare=0.6, gpus=2, **R1),
        # It is not on ModelScope.
        told("r1", "LLM", "huggingface", model_name=R1["model"], context_length=4096)
        | {**llm("sglang", "awq", 14, "Int4"), "n_gpu": 2, "mem_fraction_static": 0.6},
    ),
]  # fmt: skip
