"""The models' memory on the cards of a type; what does not fit is in `tests/cases/models.yaml`."""

from typing import Any

import pytest

from provisioning.cards import gpus_of, type_problem, types_with
from provisioning.catalogue import Model
from provisioning.gpu import fit
from provisioning.memory import least_weights_mib, need
from provisioning.vendor import ModelType, vendor_models
from tests.unit.plans import cases, model, remote

A10 = gpus_of("ecs.gn7i-c16g1.4xlarge")
TWO = gpus_of("ecs.gn7i-2x.8xlarge")
REMOTE = remote("qwen-plus", "chat", "dashscope")
M3E, RERANK = model("m3e-base", "embedding"), model("bge-reranker-v2-m3", "rerank")


def chat(share: float = 0.7, **source: Any) -> Model:
    return model(awq={"memoryShare": share, **source}, context=16384)


def heavy(name: str) -> Model:
    return model(name, "embedding", xinference={"memoryGiB": 6})


def test_every_type_of_the_table_is_one_with_gpus_that_are_as_the_driver_reports() -> None:
    for instance_type in types_with(""):
        gpus = gpus_of(instance_type)
        assert gpus is not None
        assert type_problem(instance_type, needs_gpu=True) is None
        assert gpus.count >= 1
        assert 0 < gpus.usable_mib < gpus.memory_mib
    assert A10 is not None
    assert (A10.card, A10.count, A10.memory_mib) == ("NVIDIA A10", 1, 22731), "not 24 GiB"
    for unknown in ("ecs.gn8v.6xlarge", "ecs.gn6v-c8g1.2xlarge", "ecs.c7.xlarge"):
        assert gpus_of(unknown) is None


def test_a_type_without_models_on_it_only_has_to_look_like_one() -> None:
    for name in ("ecs.g7.2xlarge", "ecs.c8i.large", "ecs.gn8v.6xlarge", "ecs.t5-lc1m1.small"):
        assert type_problem(name, needs_gpu=False) is None
    assert type_problem("ecs.gn7i-c16g1.4xlarg", needs_gpu=False) is not None


def test_the_reference_lab_fits_and_its_table_adds_up() -> None:
    found = fit([REMOTE, chat(), M3E, RERANK], A10)
    assert not found.problems
    # vLLM counts what is taken when it starts, so it comes last.
    names = [row.model.name for row in found.rows]
    assert names == ["m3e-base", "bge-reranker-v2-m3", "qwen2.5-instruct"]
    # It takes its share of the whole card, not of what is free.
    assert found.rows[-1].needed_mib == 15912
    assert found.needed_mib == sum(row.needed_mib for row in found.rows)


@pytest.mark.parametrize("case", cases("plans.yaml")["weights"])
def test_every_kind_of_model_is_weighed(case: dict[str, Any]) -> None:
    at_least, at_most = case["mib"]
    assert at_least <= need(model(**case["model"])).total <= at_most


@pytest.mark.parametrize("type_", ["LLM", "embedding", "rerank"])
def test_nothing_of_the_list_is_beyond_weighing(type_: ModelType) -> None:
    kind = {"LLM": "chat"}.get(type_, type_)
    for listed in vendor_models(type_).values():
        for spec in listed.specs:
            told = {"model": listed.name, "format": spec.format, "size": spec.size or None}
            for quantization in spec.quantizations:
                source = told | {"engine": "vllm", "quantization": quantization}
                any_ = model("any", kind, xinference=source, context=4096)
                # Nothing that anybody serves weighs less than its bits, or more than 32 of them.
                assert least_weights_mib(any_) <= need(any_).weights
                assert need(any_).weights > 20


def test_an_unknown_shape_is_said() -> None:
    assert "shape is not known" not in need(chat()).how
    assert "shape is not known" in need(chat(model="qwen3.5", size=9)).how
    # Of Qwen2's architecture, but each head has a cache of its own.
    assert "shape is not known" in need(chat(model="qwen1.5-chat")).how
    # A chat model of the same shape has the same cache.
    assert need(chat(model="deepseek-r1-distill-qwen")).cache == need(chat()).cache


def test_the_operator_may_know_better() -> None:
    six = heavy("m3e-base")
    assert fit([six, chat(0.7)], A10).rows[0].needed_mib == 6 * 1024
    assert fit([six, chat(0.74)], A10).problems
    # Of vLLM it tells what the share must hold; the share itself is still what it takes.
    assert fit([chat(0.5, memoryGiB=12)], A10).problems
    assert fit([chat(0.55, memoryGiB=12)], A10).rows[0].needed_mib == 12503


@pytest.mark.parametrize(
    ("models", "cards"),
    [
        ([chat(0.9), M3E, RERANK], [(0,), (1,), (0,)]),
        # The idlest is the one with the fewest models, however large they are.
        ([heavy("a"), model("b", "embedding"), RERANK, chat(0.5)], [(0,), (1,), (1,), (0,)]),
    ],
)
def test_two_cards_are_filled_as_xinference_does(models: list[Model], cards: list[Any]) -> None:
    found = fit(models, TWO)
    assert [row.cards for row in found.rows] == cards
    assert found.needed_mib == sum(row.needed_mib for row in found.rows if row.cards == (0,))


def test_a_model_over_two_cards_and_two_replicas() -> None:
    over = fit([chat(0.9, gpus=2, size=32)], TWO)
    assert not over.problems
    assert over.rows[0].cards == (0, 1)
    assert fit([chat(0.7, replicas=2)], TWO).rows[0].cards == (0, 1)
    assert fit([chat(0.9, size=32)], TWO).problems


def test_without_gpu_everything_runs_on_the_cpu_or_is_refused() -> None:
    on_cpu = model("m3e-base", "embedding", xinference={"gpus": 0})
    for gpus in (None, A10):
        found = fit([on_cpu, REMOTE], gpus)
        assert (found.problems, found.needed_mib, found.rows[0].cards) == ((), 0, ())
    refused = fit([REMOTE, M3E, chat(gpus=0)], None).problems
    assert [p.path for p in refused] == ["models[1].xinference.gpus", "models[2].xinference.gpus"]
    assert "gpus: 0" in refused[0].right
    assert "engine: transformers" in refused[1].right
