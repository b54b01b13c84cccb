"""What Xinference is told (docs/facts/xinference.md §4), and the list that it is checked by."""

import difflib
from typing import Any

import pytest

from provisioning.catalogue import input_tokens
from provisioning.containers import CONTAINERS
from provisioning.launch import launch_payload, xinference_command, xinference_environment
from provisioning.launch_checks import launch_problems
from provisioning.regions import region
from provisioning.vendor import ModelType, engine_arguments, release, vendor_models
from provisioning.versions import DEFAULT_XINFERENCE, xinference_release
from tests.unit.plans import cases, model, remote

TABLE = cases("plans.yaml")
MAINLAND, ABROAD = region("cn-hangzhou", {}), region("ap-southeast-1", {})
PINNED, SUCCESSOR = xinference_release("2.12.0"), xinference_release("4.1.0")


@pytest.mark.parametrize("case", TABLE["launches"])
def test_the_launch_of_a_model(case: dict[str, Any]) -> None:
    entry = model(**case["model"])
    assert launch_payload(entry, MAINLAND) == case["told"]
    problems = launch_problems([entry], MAINLAND)
    assert all(problem.warning for problem in problems)
    warned = [problem.path.removeprefix("models[0].") for problem in problems]
    assert warned == case.get("warned", [])


@pytest.mark.parametrize("case", TABLE["hubs"])
def test_models_come_from_where_they_are(case: dict[str, Any]) -> None:
    entry = model(**case["model"])
    assert [launch_payload(entry, at)["download_hub"] for at in (MAINLAND, ABROAD)] == case["at"]


@pytest.mark.parametrize(
    ("name", "told"), [("qwen3.5", False), ("glm-4.5", False), ("qwen2.5-instruct", None)]
)
def test_what_may_think_is_told_not_to(name: str, told: bool | None) -> None:
    payload = launch_payload(model(name, awq={"size": 9}), MAINLAND)
    assert payload.get("enable_thinking") is told
    asked = model(name, awq={"size": 9, "engineArguments": {"enable_thinking": True}})
    assert launch_payload(asked, MAINLAND)["enable_thinking"] is True


def test_a_remote_model_is_not_launched() -> None:
    with pytest.raises(ValueError, match="not served by Xinference"):
        launch_payload(remote("a", "chat"), MAINLAND)


def test_custom_code_runs_only_where_a_model_needs_it() -> None:
    named = model("mine", xinference={"model": "baichuan-2-chat"})
    for served, told in ((model("baichuan-2-chat"), "1"), (named, "1"), (model("m3e-base"), None)):
        for version in (PINNED, SUCCESSOR):
            environment = xinference_environment([served], MAINLAND, version)
            assert environment.get("XINFERENCE_TRUST_REMOTE_CODE") == told


def test_the_environment_follows_region_and_release() -> None:
    old = xinference_environment([], MAINLAND, PINNED)
    new = xinference_environment([], ABROAD, SUCCESSOR)
    assert (old.get("XINFERENCE_AUTH_ADVANCED"), new["XINFERENCE_AUTH_ADVANCED"]) == (None, "0")
    hubs = (old["XINFERENCE_MODEL_SRC"], new["XINFERENCE_MODEL_SRC"])
    assert hubs == ("modelscope", "huggingface")
    assert (old["HF_ENDPOINT"], new["HF_ENDPOINT"]) == (MAINLAND.hf_endpoint, ABROAD.hf_endpoint)
    assert (old["PIP_INDEX_URL"], new.get("PIP_INDEX_URL")) == (MAINLAND.pypi_mirror, None)
    for told in (old, new):
        # Without a limit a model that runs out of memory is recreated for ever.
        assert int(told["XINFERENCE_MODEL_ACTOR_AUTO_RECOVER_LIMIT"]) > 0
        # The usual five looks at the worker are over sooner than a busy machine starts it.
        looks = int(told["XINFERENCE_HEALTH_CHECK_FAILURE_THRESHOLD"])
        assert 5 < looks * 5 / 60 + 1 <= CONTAINERS["xinference"].health.start_minutes


def test_only_an_image_that_needs_it_is_mended_before_it_serves() -> None:
    """One exact package without its dependencies, and no server where that fails."""
    serves = "xinference-local -H 0.0.0.0 --port 9997"
    shell, option, text = xinference_command(PINNED)
    mend, _, serve = text.partition(" && ")
    assert (shell, option, serve) == ("sh", "-c", f"exec {serves}")
    assert mend.split()[:3] == ["pip", "install", "--no-deps"]
    assert mend.split()[-1] == "peft==0.18.1"
    assert xinference_command(SUCCESSOR) == tuple(serves.split())


@pytest.mark.parametrize("kind", ["embedding", "rerank"])
def test_engines_are_named_only_where_the_image_lacks_them(kind: str) -> None:
    """A release without engines installs the one that is named, and nothing for a nameless one."""
    side, other = model("bge-m3", kind), model("bge-m3", kind, xinference={"engine": "vllm"})
    assert "model_engine" not in launch_payload(side, MAINLAND, PINNED)
    assert launch_payload(side, MAINLAND, SUCCESSOR)["model_engine"] == "sentence_transformers"
    assert launch_payload(other, MAINLAND, SUCCESSOR)["model_engine"] == "vllm"


def test_the_list_is_the_pinned_releases() -> None:
    assert release() == DEFAULT_XINFERENCE
    assert {"gpu_memory_utilization", "kv_cache_dtype"} <= engine_arguments("vllm")
    assert "virtual_env_packages" in engine_arguments("launch")


@pytest.mark.parametrize("type_", ["LLM", "embedding", "rerank"])
def test_every_line_of_the_list_can_be_asked_for(type_: ModelType) -> None:
    """No rule of ours refuses a format, size or quantization that the release has."""
    kind = {"LLM": "chat"}.get(type_, type_)
    mistaken = {f"models[0].xinference.{key}" for key in ("format", "size", "quantization")}
    for listed in vendor_models(type_).values():
        for spec in listed.specs:
            source = {"format": spec.format, "size": spec.size or None, "model": listed.name}
            asked = model("x", kind, xinference=source | {"quantization": spec.quantizations[0]})
            paths = {problem.path for problem in launch_problems([asked], MAINLAND)}
            assert not paths & mistaken, (listed, spec)


def test_how_much_an_embedding_reads_is_the_lists_unless_it_is_set() -> None:
    own = model("mine", "embedding", xinference={"model": "bge-m3"}, maxInput=1024)
    wide = model("e", "embedding", remote={"provider": "openai"}, maxInput=8191)
    listed = [model("m3e-base", "embedding"), model("bge-m3", "embedding")]
    read = [input_tokens(e) for e in (*listed, own, remote("e", "embedding"), wide)]
    assert read == [512, 8192, 1024, 512, 8191]


def test_names_in_advice_are_of_the_kind_that_was_asked_for() -> None:
    """`gpt-2` continues texts, so it is no advice for who wants to chat."""
    assert difflib.get_close_matches("gpt-4", vendor_models("LLM"))[0] == "gpt-2"
    assert "gpt-2" not in launch_problems([model("gpt-4", awq={})], MAINLAND)[0].right
