"""What Xinference would refuse is refused at preview, by the vendor's own list."""

import difflib
from typing import Any

import pytest

from provisioning.catalogue import Model, input_tokens
from provisioning.launch_checks import launch_problems
from provisioning.regions import region
from provisioning.vendor import engine_arguments, release, vendor_models
from provisioning.versions import DEFAULT_XINFERENCE, xinference_release
from tests.unit.test_plan_launch import AWQ, PAYLOADS, model

SUCCESSOR = xinference_release("4.1.0")
MAINLAND, ABROAD = region("cn-hangzhou", {}), region("ap-southeast-1", {})


def chat(name: str = "qwen2.5-instruct", **source: Any) -> Model:
    top = {key: source.pop(key) for key in ("tools", "vision") if key in source}
    told = {"size": 14, **AWQ} | source
    return Model.model_validate({"name": name, "kind": "chat", "xinference": told} | top)


def side(name: str, kind: str, source: dict[str, Any] | None = None, **top: Any) -> Model:
    return Model.model_validate({"name": name, "kind": kind, "xinference": source or {}} | top)


def with_arguments(name: str = "qwen2.5-instruct", engine: str = "vllm", **told: Any) -> Model:
    return chat(name, engine=engine, engineArguments=told)


REMOTE = {"name": "r", "kind": "chat", "remote": {"provider": "openai"}}
WHOLE: dict[str, Any] = {"format": "pytorch", "quantization": None}
APART: dict[str, Any] = {"engineArguments": {"reasoning_content": True}}
R1 = "deepseek-r1-distill-qwen"
HF_ONLY = side("text2vec-base-multilingual", "embedding")


def test_the_list_is_the_pinned_releases() -> None:
    assert release() == DEFAULT_XINFERENCE
    assert {"gpu_memory_utilization", "kv_cache_dtype"} <= engine_arguments("vllm")
    assert "virtual_env_packages" in engine_arguments("launch")


def test_the_reference_models_are_right() -> None:
    problems = launch_problems([entry for entry, _ in PAYLOADS], MAINLAND)
    assert all(problem.warning for problem in problems)
    # One thinks whatever it is told, and only Hugging Face has it; of llama.cpp nobody declares
    # what it takes.
    paths = {"models[7].xinference", "models[6].xinference.engineArguments.n_threads"}
    assert {problem.path for problem in problems} == paths


@pytest.mark.parametrize(
    ("entry", "path", "said"),
    [
        (model("m3e-base-rep1", "embedding", model="m3e-base"), "name", "replicas"),
        (side("BAAI/bge-m3", "embedding"), "name", "name it bge-m3"),
        (side("bge-m4", "embedding"), "name", "did you mean bge-m3?"),
        (side("mine", "rerank"), "name", "make models"),
        (chat(model="Qwen/Qwen2.5-14B-Instruct-AWQ"), "xinference.model", "mean qwen2.5-instruct?"),
        (chat("Qwen2.5-Instruct"), "name", "did you mean qwen2.5-instruct?"),
        (side("m3e-base", "rerank"), "name", "listed as embedding"),
        (chat("qwen2.5", **WHOLE), "name", "use qwen2.5-"),
        (side("whisper-large-v3", "speech"), "kind", "audio2text"),
        (chat(engine=None), "xinference.engine", "no engine"),
        (chat(engine="flag"), "xinference.engine", "use engine: vllm"),
        (chat(size=None), "xinference", "size"),
        (chat(format="ggufv2", quantization="q4_k_m"), "xinference.format", "llama.cpp runs it"),
        (chat(engine="llama.cpp"), "xinference.format", "llama.cpp ggufv2"),
        (chat(format="mlx"), "xinference.format", "Apple"),
        (chat(format="fp8"), "xinference.format", "use pytorch, gptq, awq, ggufv2"),
        (chat(quantization=None), "xinference.quantization", "Int4"),
        (chat(quantization="4bit"), "xinference.quantization", "use Int4"),
        (chat(quantization="Int8"), "xinference.quantization", "use Int4"),
        (chat(size=8), "xinference.size", "use 0_5, 1_5, 3, 7, 14, 32, 72"),
        (chat(size=15), "xinference.size", 'write size: "1_5"'),
        (chat(size=5), "xinference.size", 'write size: "0_5"'),
        (chat(size=1.5), "xinference.size", 'write size: "1_5"'),
        (chat(R1, format="gptq", **APART), "xinference.size", "7, 32, or size 14 as pytorch"),
        (
            model("baichuan-2-chat", "chat", 4096, engine="vllm", format="pytorch", size=7),
            "xinference.engine",
            "use engine: transformers",
        ),
        (side("bge-reranker-v2-m3", "rerank", {"engine": "flag"}), "xinference.engine", "leave"),
        (model("qwen2.5-instruct", "chat", 65536, size=14, **AWQ), "context", "32768 or"),
        (model("qwen3", "chat", 65536, size=8, **AWQ), "context", "40960 or less"),
        (chat("qwen2.5-instruct-1m", **WHOLE, tools=True), "tools", "leave tools out"),
        (chat(vision=True), "vision", "qwen2.5-vl-instruct"),
        (side("m3e-base", "embedding", maxInput=1000), "maxInput", "512 or less"),
    ],
)
def test_what_the_list_does_not_have(entry: Model, path: str, said: str) -> None:
    (problem,) = launch_problems([entry], MAINLAND)
    assert problem.path == f"models[0].{path}"
    assert said in str(problem)
    assert not problem.warning


@pytest.mark.parametrize(
    "entry",
    [
        chat(quantization="int4"),
        chat(size="0.5"),
        chat(size="14"),
        chat("qwen3", size="1_7", format="fp8", quantization="fp8"),
        chat("gemma-4", size=31, format="fp4", quantization="FP4"),
        chat("gpt-oss", size=20, format="bnb", quantization="4-bit", **APART),
        chat("qwen2.5-vl-instruct", size=7, vision=True),
        # Its makers read more than the list says, with this argument.
        model("qwen3", "chat", 99999, size=8, engineArguments={"hf_overrides": {}}, **AWQ),
        side("bge-m3", "embedding", {"format": "ggufv2", "quantization": "Q8_0"}),
        side("Kokoro-82M", "speech"),
        chat(R1, **WHOLE, **APART),
        chat(vision=False),
        with_arguments(enforce_eager=True, kv_cache_dtype="fp8", request_limits=8, envs={}),
    ],
)
def test_what_the_list_has(entry: Model) -> None:
    assert launch_problems([entry], MAINLAND) == []


@pytest.mark.parametrize("type_", ["LLM", "embedding", "rerank"])
def test_every_line_of_the_list_can_be_asked_for(type_: Any) -> None:
    """No rule of ours refuses a format, size or quantization that the release has."""
    for listed in vendor_models(type_).values():
        for spec in listed.specs:
            source = {"format": spec.format, "size": spec.size or None}
            source |= {"quantization": spec.quantizations[0], "model": listed.name}
            kind = {"LLM": "chat"}.get(type_, type_)
            asked = Model.model_validate({"name": "x", "kind": kind, "xinference": source})
            paths = {problem.path for problem in launch_problems([asked], MAINLAND)}
            what = ("format", "size", "quantization")
            assert not paths & {f"models[0].xinference.{key}" for key in what}, (listed, spec)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("gpu_memory_utilization", "set memoryShare instead"),
        ("gpu-memory-utilization", "set memoryShare instead"),
        ("kv_cache_memory_bytes", "set memoryShare instead"),
        ("max_model_len", "set context instead"),
        ("tensor_parallel_size", "set gpus instead"),
        ("model_name", "set model instead"),
        ("replica", "set replicas instead"),
        ("model_uid", "sets it itself"),
        # In the body it would become an argument of the engine.
        ("wait_ready", "sets it itself"),
        ("modle", "no argument 'modle'"),
        ("max_num_seq", "did you mean 'max_num_seqs'?"),
    ],
)
def test_arguments_that_overrule_or_do_not_exist(key: str, said: str) -> None:
    problem = launch_problems([with_arguments(**{key: 1})], MAINLAND)[0]
    assert problem.path == f"models[0].xinference.engineArguments.{key}"
    assert said in str(problem)
    assert not problem.warning


ARGUMENT = "xinference.engineArguments"


@pytest.mark.parametrize(
    ("entry", "path", "said"),
    [
        # Where no vendor declares the arguments a typo may pass, unless it looks like one.
        (with_arguments(engine="sglang", of_mine=1), f"{ARGUMENT}.of_mine", "not known here"),
        (chat(R1, **WHOLE), "xinference", "visitors"),
        (with_arguments("qwen3", enable_thinking=True), f"{ARGUMENT}.enable_thinking", "visitors"),
        (HF_ONLY, "xinference", "https://hf-mirror.com"),
        (side("m3e-base", "embedding", tools=True), "tools", "of kind chat"),
        (side("m3e-base", "embedding", maxInput=100, vision=True), "vision", "of kind chat"),
        (Model.model_validate(REMOTE | {"maxInput": 512}), "maxInput", "of kind embedding"),
    ],
)
def test_what_is_unwise_is_said_and_not_refused(entry: Model, path: str, said: str) -> None:
    (problem,) = launch_problems([entry], MAINLAND)
    assert problem.path == f"models[0].{path}"
    assert said in problem.wrong
    assert problem.warning


def test_what_looks_like_a_typo_is_refused_whoever_declares_it() -> None:
    (problem,) = launch_problems([with_arguments(engine="sglang", log_levl="info")], MAINLAND)
    assert "'log_level'" in problem.right
    assert not problem.warning


def test_the_other_hub_is_no_detour_where_it_is_the_regions() -> None:
    assert launch_problems([HF_ONLY], ABROAD) == []


@pytest.mark.parametrize(
    ("entry", "warning"),
    [
        (side("bge-m9", "embedding"), True),
        (with_arguments(of_tomorrow=1), True),
        (with_arguments(max_model_len=1), False),
    ],
)
def test_another_release_may_have_what_the_list_lacks(entry: Model, warning: bool) -> None:
    (problem,) = launch_problems([entry], ABROAD, SUCCESSOR)
    assert problem.warning is warning


def test_a_problem_names_the_place_in_the_whole_catalogue() -> None:
    models = [Model.model_validate(REMOTE), chat(size=8)]
    assert launch_problems(models, MAINLAND)[0].path == "models[1].xinference.size"


def test_how_much_an_embedding_reads_is_the_lists_unless_it_is_set() -> None:
    remote = {"name": "e", "kind": "embedding", "remote": {"provider": "openai"}}
    assert input_tokens(side("m3e-base", "embedding")) == 512
    assert input_tokens(side("bge-m3", "embedding")) == 8192
    assert input_tokens(side("mine", "embedding", {"model": "bge-m3"}, maxInput=1024)) == 1024
    assert input_tokens(Model.model_validate(remote)) == 512
    assert input_tokens(Model.model_validate(remote | {"maxInput": 8191})) == 8191


def test_names_in_advice_are_of_the_kind_that_was_asked_for() -> None:
    """`gpt-2` continues texts, so it is no advice for who wants to chat."""
    assert difflib.get_close_matches("gpt-4", vendor_models("LLM"))[0] == "gpt-2"
    assert "gpt-2" not in launch_problems([chat("gpt-4")], MAINLAND)[0].right


def test_an_engine_that_would_spoil_the_image_is_refused() -> None:
    named = side("bge-m3", "embedding", {"engine": "sentence_transformers"})
    (problem,) = launch_problems([named], ABROAD)
    assert problem.path == "models[0].xinference.engine"
    assert "package index at every launch" in problem.wrong
    assert launch_problems([named], ABROAD, SUCCESSOR) == []
    assert launch_problems([side("bge-m3", "embedding")], ABROAD) == []
