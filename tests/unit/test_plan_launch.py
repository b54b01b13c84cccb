"""What Xinference is told: payloads as docs/facts/xinference.md §4 has them."""

from typing import Any

import pytest

from provisioning.catalogue import Model
from provisioning.containers import CONTAINERS
from provisioning.launch import (
    launch_payload,
    xinference_command,
    xinference_environment,
)
from provisioning.regions import region
from provisioning.versions import xinference_release

MAINLAND, ABROAD = region("cn-hangzhou", {}), region("ap-southeast-1", {})


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


@pytest.mark.parametrize(("entry", "payload"), PAYLOADS, ids=[m.name for m, _ in PAYLOADS])
def test_the_launch_of_a_model(entry: Model, payload: dict[str, Any]) -> None:
    assert launch_payload(entry, MAINLAND) == payload


@pytest.mark.parametrize(
    ("entry", "mainland", "abroad"),
    [
        (model("m3e-base", "embedding"), "modelscope", "huggingface"),
        # On one hub only: that one, wherever the lab stands.
        (model("r", "chat", size=14, **R1, **AWQ), *["huggingface"] * 2),
        (model("r", "chat", size=32, **R1, **AWQ | {"format": "gptq"}), *["modelscope"] * 2),
        (model("whisper-tiny", "transcription"), *["huggingface"] * 2),
        # Xinference tells neither small from capital letters, nor us of models it does not have.
        (
            model("qwen3", "chat", size=8, **AWQ | {"quantization": "int4"}),
            *("modelscope", "huggingface"),
        ),
        (model("unheard-of", "embedding"), "modelscope", "huggingface"),
    ],
)
def test_models_come_from_where_they_are(entry: Model, mainland: str, abroad: str) -> None:
    assert launch_payload(entry, MAINLAND)["download_hub"] == mainland
    assert launch_payload(entry, ABROAD)["download_hub"] == abroad


@pytest.mark.parametrize(
    ("name", "told"), [("qwen3.5", False), ("glm-4.5", False), ("qwen2.5-instruct", None)]
)
def test_what_may_think_is_told_not_to(name: str, told: bool | None) -> None:
    payload = launch_payload(model(name, "chat", size=9, **AWQ), MAINLAND)
    assert payload.get("enable_thinking") is told
    asked = model(name, "chat", size=9, engineArguments={"enable_thinking": True}, **AWQ)
    assert launch_payload(asked, MAINLAND)["enable_thinking"] is True


def test_a_remote_model_is_not_launched() -> None:
    remote = Model.model_validate({"name": "a", "kind": "chat", "remote": {"provider": "openai"}})
    with pytest.raises(ValueError, match="not served by Xinference"):
        launch_payload(remote, MAINLAND)


BAICHUAN = PAYLOADS[2][0]


@pytest.mark.parametrize(
    ("models", "version", "trusted"),
    [
        ([BAICHUAN], "2.12.0", True),
        ([model("mine", "chat", model="baichuan-2-chat")], "2.12.0", True),
        ([BAICHUAN], "4.1.0", True),
        ([model("m3e-base", "embedding")], "2.12.0", False),
    ],
)
def test_custom_code_runs_only_where_a_model_needs_it(
    models: list[Model], version: str, trusted: bool
) -> None:
    environment = xinference_environment(models, MAINLAND, xinference_release(version))
    assert (environment.get("XINFERENCE_TRUST_REMOTE_CODE") == "1") is trusted


def test_the_environment_follows_region_and_release() -> None:
    old = xinference_environment([], MAINLAND, xinference_release("2.12.0"))
    new = xinference_environment([], ABROAD, xinference_release("4.1.0"))
    assert "XINFERENCE_AUTH_ADVANCED" not in old
    assert new["XINFERENCE_AUTH_ADVANCED"] == "0"
    assert old["XINFERENCE_MODEL_SRC"] == "modelscope"
    assert new["XINFERENCE_MODEL_SRC"] == "huggingface"
    assert (old["HF_ENDPOINT"], new["HF_ENDPOINT"]) == (MAINLAND.hf_endpoint, ABROAD.hf_endpoint)
    assert old["PIP_INDEX_URL"] == MAINLAND.pypi_mirror
    assert "PIP_INDEX_URL" not in new
    # Without a limit a model that runs out of memory is recreated for ever.
    assert int(old["XINFERENCE_MODEL_ACTOR_AUTO_RECOVER_LIMIT"]) > 0


def test_only_an_image_that_needs_it_is_mended_before_it_serves() -> None:
    """One exact package without its dependencies, and no server where that fails."""
    serves = "xinference-local -H 0.0.0.0 --port 9997"
    shell, option, text = xinference_command(xinference_release("2.12.0"))
    mend, _, serve = text.partition(" && ")
    assert (shell, option, serve) == ("sh", "-c", f"exec {serves}")
    assert mend.split()[:3] == ["pip", "install", "--no-deps"]
    assert mend.split()[-1] == "peft==0.18.1"
    assert xinference_command(xinference_release("4.1.0")) == tuple(serves.split())


def test_engines_are_named_only_where_the_image_lacks_them() -> None:
    """A release without engines installs the one that is named, and nothing for a nameless one."""
    pinned, successor = xinference_release("2.12.0"), xinference_release("4.1.0")
    for kind in ("embedding", "rerank"):
        side = model("bge-m3", kind)
        assert "model_engine" not in launch_payload(side, MAINLAND, pinned)
        assert launch_payload(side, MAINLAND, successor)["model_engine"] == "sentence_transformers"
    other = model("bge-m3", "embedding", engine="vllm")
    assert launch_payload(other, MAINLAND, successor)["model_engine"] == "vllm"


def test_a_worker_that_is_slow_to_start_does_not_end_the_server() -> None:
    """The usual five looks at the worker are over sooner than a busy machine starts it."""
    for version in ("2.12.0", "4.1.0"):
        told = xinference_environment([], MAINLAND, xinference_release(version))
        looks = int(told["XINFERENCE_HEALTH_CHECK_FAILURE_THRESHOLD"])
        assert 5 < looks * 5 / 60 + 1 <= CONTAINERS["xinference"].health.start_minutes
