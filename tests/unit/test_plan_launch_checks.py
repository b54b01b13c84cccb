"""What Xinference would refuse is refused at preview, by the vendor's own list."""

from __future__ import annotations

import difflib
from typing import Any

import pytest

from provisioning.catalogue import Model, input_tokens
from provisioning.launch_checks import launch_problems
from provisioning.problems import Problem
from provisioning.regions import region
from provisioning.vendor import engine_arguments, release, vendor_models
from provisioning.versions import DEFAULT_XINFERENCE, xinference_release
from tests.unit.test_plan_launch import AWQ, PAYLOADS, model

APART: dict[str, Any] = {"engineArguments": {"reasoning_content": True}}
SUCCESSOR = xinference_release("4.1.0")
MAINLAND, ABROAD = region("cn-hangzhou", {}), region("ap-southeast-1", {})


def chat(name: str = "qwen2.5-instruct", **source: Any) -> Model:
    top = {key: source.pop(key) for key in ("tools", "vision") if key in source}
    told = {"size": 14, **AWQ} | source
    return Model.model_validate({"name": name, "kind": "chat", "xinference": told} | top)


def side(name: str, kind: str, source: dict[str, Any] | None = None, **top: Any) -> Model:
    return Model.model_validate({"name": name, "kind": kind, "xinference": source or {}} | top)


def refused(problems: list[Problem]) -> list[Problem]:
    return [problem for problem in problems if not problem.warning]


def test_the_list_is_the_pinned_releases() -> None:
    assert release() == DEFAULT_XINFERENCE
    assert {"gpu_memory_utilization", "kv_cache_dtype"} <= engine_arguments("vllm")
    assert "virtual_env_packages" in engine_arguments("launch")


def test_the_reference_models_are_right() -> None:
    problems = launch_problems([entry for entry, _ in PAYLOADS], MAINLAND)
    assert refused(problems) == []
    # One thinks whatever it is told, and only Hugging Face has it; of llama.cpp nobody declares
    # what it takes.
    paths = {"models[7].xinference", "models[6].xinference.engineArguments.n_threads"}
    assert {problem.path for problem in problems} == paths


@pytest.mark.parametrize(
    ("entry", "path", "said"),
    [
        (model("m3e-base-rep1", "embedding", model="m3e-base"), "models[0].name", "replicas"),
        (side("BAAI/bge-m3", "embedding"), "models[0].name", "name it bge-m3"),
        (side("bge-m4", "embedding"), "models[0].name", "did you mean bge-m3?"),
        (side("mine", "rerank"), "models[0].name", "make models"),
        (
            chat(model="Qwen/Qwen2.5-14B-Instruct-AWQ"),
            "models[0].xinference.model",
            "did you mean qwen2.5-instruct?",
        ),
        (chat("Qwen2.5-Instruct"), "models[0].name", "did you mean qwen2.5-instruct?"),
        (side("m3e-base", "rerank"), "models[0].name", "listed as embedding"),
        (chat("qwen2.5", format="pytorch", quantization=None), "models[0].name", "use qwen2.5-"),
        (side("whisper-large-v3", "speech"), "models[0].kind", "audio2text"),
        (chat(engine=None), "models[0].xinference.engine", "no engine"),
        (chat(engine="flag"), "models[0].xinference.engine", "use engine: vllm"),
        (chat(size=None), "models[0].xinference", "size"),
        (
            chat(format="ggufv2", quantization="q4_k_m"),
            "models[0].xinference.format",
            "llama.cpp runs it",
        ),
        (chat(engine="llama.cpp"), "models[0].xinference.format", "llama.cpp ggufv2"),
        (chat(format="mlx"), "models[0].xinference.format", "Apple"),
        (chat(format="fp8"), "models[0].xinference.format", "use pytorch, gptq, awq, ggufv2"),
        (chat(quantization=None), "models[0].xinference.quantization", "Int4"),
        (chat(quantization="4bit"), "models[0].xinference.quantization", "use Int4"),
        (chat(quantization="Int8"), "models[0].xinference.quantization", "use Int4"),
        (chat(size=8), "models[0].xinference.size", "use 0_5, 1_5, 3, 7, 14, 32, 72"),
        (chat(size=15), "models[0].xinference.size", 'write size: "1_5"'),
        (chat(size=5), "models[0].xinference.size", 'write size: "0_5"'),
        (
            chat("deepseek-r1-distill-qwen", format="gptq", **APART),
            "models[0].xinference.size",
            "use 1_5, 7, 32, or size 14 as pytorch",
        ),
        (
            model("baichuan-2-chat", "chat", 4096, engine="vllm", format="pytorch", size=7),
            "models[0].xinference.engine",
            "use engine: transformers",
        ),
        (
            side("bge-reranker-v2-m3", "rerank", {"engine": "flag"}),
            "models[0].xinference.engine",
            "leave engine out",
        ),
        (model("qwen2.5-instruct", "chat", 65536, size=14, **AWQ), "models[0].context", "32768 or"),
        (model("qwen3", "chat", 65536, size=8, **AWQ), "models[0].context", "40960 or less"),
        (
            chat("qwen2.5-instruct-1m", format="pytorch", quantization=None, tools=True),
            "models[0].tools",
            "leave tools out",
        ),
        (chat(vision=True), "models[0].vision", "qwen2.5-vl-instruct"),
        (side("m3e-base", "embedding", maxInput=1000), "models[0].maxInput", "512 or less"),
    ],
)
def test_what_the_list_does_not_have(entry: Model, path: str, said: str) -> None:
    problems = launch_problems([entry], MAINLAND)
    assert [problem.path for problem in problems] == [path]
    assert said in str(problems[0])
    assert not problems[0].warning


@pytest.mark.parametrize(
    "entry",
    [
        chat(quantization="int4"),
        chat(size="0.5"),
        chat(size=1.5),
        chat(size="14"),
        chat("qwen3", size="1_7", format="fp8", quantization="fp8"),
        chat("gemma-4", size=31, format="fp4", quantization="FP4"),
        chat("gpt-oss", size=20, format="bnb", quantization="4-bit",
             engineArguments={"reasoning_content": True}),
        chat("qwen2.5-vl-instruct", size=7, vision=True),
        # Its makers read more than the list says, with this argument.
        model("qwen3", "chat", 99999, size=8, engineArguments={"hf_overrides": {}}, **AWQ),
        side("bge-m3", "embedding", {"format": "ggufv2", "quantization": "Q8_0"}),
        side("Kokoro-82M", "speech"),
    ],
)  # fmt: skip
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
    problem = launch_problems([chat(engineArguments={key: 1})], MAINLAND)[0]
    assert problem.path == f"models[0].xinference.engineArguments.{key}"
    assert said in str(problem)
    assert not problem.warning


def test_arguments_that_exist_pass() -> None:
    told = {"enforce_eager": True, "kv_cache_dtype": "fp8", "request_limits": 8, "envs": {}}
    assert launch_problems([chat(engineArguments=told)], MAINLAND) == []


def test_where_no_vendor_declares_the_arguments_a_typo_may_pass_and_that_is_said() -> None:
    told = {"surely_unknown": 1}
    assert launch_problems([chat(engine="sglang", engineArguments=told)], MAINLAND)[0].warning
    near = launch_problems([chat(engine="sglang", engineArguments={"log_levl": "info"})], MAINLAND)[
        0
    ]
    assert not near.warning
    assert "'log_level'" in near.right


def test_a_thinking_model_is_said_unless_its_thoughts_are_kept_apart() -> None:
    always = {"format": "pytorch", "quantization": None}
    (problem,) = launch_problems([chat("deepseek-r1-distill-qwen", **always)], MAINLAND)
    assert problem.warning
    assert "visitors" in problem.wrong
    assert launch_problems([chat("deepseek-r1-distill-qwen", **always, **APART)], MAINLAND) == []
    assert launch_problems([chat("qwen3")], MAINLAND) == []
    (asked,) = launch_problems([chat("qwen3", engineArguments={"enable_thinking": True})], MAINLAND)
    assert asked.warning


def test_what_only_the_other_hub_has_is_said() -> None:
    here = side("text2vec-base-multilingual", "embedding")
    (problem,) = launch_problems([here], MAINLAND)
    assert problem.warning
    assert "https://hf-mirror.com" in problem.wrong
    assert launch_problems([here], ABROAD) == []


def test_another_release_may_have_what_the_list_lacks() -> None:
    (problem,) = launch_problems([side("bge-m9", "embedding")], ABROAD, SUCCESSOR)
    assert problem.warning
    assert f"Xinference {release()}" in problem.wrong
    (newer,) = launch_problems([chat(engineArguments={"of_tomorrow": 1})], ABROAD, SUCCESSOR)
    assert newer.warning
    (ours,) = launch_problems([chat(engineArguments={"max_model_len": 1})], ABROAD, SUCCESSOR)
    assert not ours.warning


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        (side("m3e-base", "embedding", tools=True), "models[0].tools"),
        (chat(vision=False), None),
        (Model.model_validate({"name": "a", "kind": "chat", "dimensions": 512,
                               "remote": {"provider": "openai"}}), "models[0].dimensions"),
    ],
)  # fmt: skip
def test_a_setting_without_effect_is_said(entry: Model, path: str | None) -> None:
    problems = launch_problems([entry], MAINLAND)
    assert [problem.path for problem in problems] == ([path] if path else [])
    assert all(problem.warning for problem in problems)


def test_a_problem_names_the_place_in_the_whole_catalogue() -> None:
    remote = Model.model_validate({"name": "a", "kind": "chat", "remote": {"provider": "openai"}})
    assert launch_problems([remote, chat(size=8)], MAINLAND)[0].path == "models[1].xinference.size"


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
    (problem,) = launch_problems([named], ABROAD, xinference_release(DEFAULT_XINFERENCE))
    assert problem.path == "models[0].xinference.engine"
    assert "package index at every launch" in problem.wrong
    assert "leave engine out" in problem.right
    assert launch_problems([named], ABROAD, SUCCESSOR) == []
    unnamed = side("bge-m3", "embedding")
    assert launch_problems([unnamed], ABROAD, xinference_release(DEFAULT_XINFERENCE)) == []
