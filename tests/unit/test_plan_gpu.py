"""The models' memory, and the price, before anything is paid."""

from typing import Any

import pytest

from provisioning.cards import gpus_of, type_problem, types_with
from provisioning.catalogue import Model
from provisioning.gpu import fit
from provisioning.memory import least_weights_mib, need
from provisioning.vendor import ModelType, vendor_models

A10 = "ecs.gn7i-c16g1.4xlarge"


def chat(share: float | None = 0.7, context: int = 16384, **source: Any) -> Model:
    told = {"engine": "vllm", "format": "awq", "size": 14, "quantization": "Int4"} | source
    if share is not None:
        told["memoryShare"] = share
    return Model.model_validate(
        {"name": "qwen2.5-instruct", "kind": "chat", "context": context, "xinference": told}
    )


def small(name: str, kind: str, **source: Any) -> Model:
    return Model.model_validate({"name": name, "kind": kind, "xinference": source})


REMOTE = Model.model_validate(
    {"name": "qwen-plus", "kind": "chat", "remote": {"provider": "dashscope"}}
)
M3E = small("m3e-base", "embedding")
RERANK = small("bge-reranker-v2-m3", "rerank")


@pytest.mark.parametrize("instance_type", types_with(""))
def test_every_type_of_the_table_is_one_with_gpus(instance_type: str) -> None:
    gpus = gpus_of(instance_type)
    assert gpus is not None
    assert type_problem(instance_type, needs_gpu=True) is None
    assert gpus.count >= 1
    assert 0 < gpus.usable_mib < gpus.memory_mib
    if instance_type == A10:
        # What the driver reports, not 24 GiB.
        assert (gpus.card, gpus.count, gpus.memory_mib) == ("NVIDIA A10", 1, 22731)


@pytest.mark.parametrize(
    ("instance_type", "wrong", "right"),
    [
        ("ecs.gn7i-c16g1.4xlarg", "there is no type", "ecs.gn7i-c16g1.4xlarge"),
        ("ecs.gn7i-c16g1.5xlarge", "there is no type", "ecs.gn7i-c16g1.4xlarge"),
        ("gn7i-c16g1.4xlarge", "is no", "ecs.gn7i-c16g1.4xlarge"),
        ("ecs.gn8v.6xlarge", "cards of ecs.gn8v.6xlarge are not known", "gn7i (A10)"),
        ("ecs.ebmgn7i.32xlarge", "are not known", "gn7i (A10)"),
        ("ecs.vgn6i-m4.xlarge", "are not known", "gn7i (A10)"),
        # CUDA 13 has no Volta and no Pascal.
        ("ecs.gn6v-c8g1.2xlarge", "V100, is older", "gn6i (T4)"),
        ("ecs.gn5-c4g1.xlarge", "P100, is older", "gn6i (T4)"),
        ("ecs.c7.xlarg", "is no instance type", "ecs.c7.xlarge"),
    ],
)
def test_a_type_that_cannot_serve_is_called_what_it_is(
    instance_type: str, wrong: str, right: str
) -> None:
    assert gpus_of(instance_type) is None
    problem = type_problem(instance_type, needs_gpu=True)
    assert problem is not None
    assert wrong in problem.wrong
    assert right in problem.right


def test_a_type_without_models_on_it_only_has_to_look_like_one() -> None:
    for name in ("ecs.g7.2xlarge", "ecs.c8i.large", "ecs.gn8v.6xlarge", "ecs.t5-lc1m1.small"):
        assert type_problem(name, needs_gpu=False) is None
    assert type_problem("ecs.gn7i-c16g1.4xlarg", needs_gpu=False) is not None


def test_the_reference_lab_fits_and_its_table_adds_up() -> None:
    found = fit([REMOTE, chat(), M3E, RERANK], gpus_of(A10))
    assert not found.problems
    # vLLM counts what is taken when it starts, so it comes last.
    names = [row.model.name for row in found.rows]
    assert names == ["m3e-base", "bge-reranker-v2-m3", "qwen2.5-instruct"]
    # It takes its share of the whole card, not of what is free.
    assert found.rows[-1].needed_mib == 15912
    assert found.needed_mib == sum(row.needed_mib for row in found.rows)


SHARE = "models[0].xinference.memoryShare"
WHOLE: dict[str, Any] = {"engine": "transformers", "format": "pytorch", "quantization": "none"}
CROWD = [M3E, RERANK, small("a", "embedding"), small("b", "embedding")]


@pytest.mark.parametrize(
    ("models", "path", "said"),
    [
        # Too much beside the others: the largest share that leaves them room.
        ([chat(0.95), M3E, RERANK], SHARE, "set it to 0.83 or less"),
        ([M3E, RERANK, chat(None)], SHARE.replace("0", "2"), "set it to 0.83 or less"),
        # The share does not hold the weights and one context.
        (
            [chat(0.65, 32768), M3E],
            SHARE,
            "set memoryShare to 0.79 or more, or set context to 16384 or less",
        ),
        # No share is advised that the others do not leave: 17822 MiB are needed of 13824.
        ([chat(0.55, 32768), *CROWD], SHARE, "set context to 4096 or less, or set memoryGiB"),
        ([chat(0.3, size=72)], SHARE, "smaller size or quantization"),
        # Nothing helps but less.
        ([chat(0.9, 32768), *CROWD], SHARE, "choose a smaller size, quantization or context"),
        ([chat(0.5, size=7, replicas=2)], SHARE, "or less"),
        ([chat(None, 4096, **WHOLE)], "models", "a larger instance type"),
        # docs/facts/xinference.md §4 measured 30 GB.
        ([chat(None, 4096, model="baichuan-2-chat", size=13, **WHOLE)], "models", "larger"),
    ],
)
def test_what_does_not_fit_says_what_would(models: list[Model], path: str, said: str) -> None:
    problem = fit(models, gpus_of(A10)).problems[0]
    assert problem.path == path
    assert said in problem.right
    assert "memoryGiB" in problem.right, "an estimate can be overruled"


@pytest.mark.parametrize(
    ("model", "setting", "said"),
    [
        (chat(gpus=2), "gpus", "set gpus to 1 at the most"),
        (chat(gpus=0), "gpus", "engine: transformers"),
        # No model is smaller than its weights.
        (chat(0.7, memoryGiB=0.1), "memoryGiB", "6.9 GiB"),
        (small("Qwen3-Reranker-8B", "rerank", memoryGiB=2), "memoryGiB", "13.5 GiB"),
        # An embedding on vLLM takes its share.
        (small("Qwen3-Embedding-8B", "embedding", engine="vllm", memoryShare=0.3),
         "memoryShare", "memoryGiB"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_itself(model: Model, setting: str, said: str) -> None:
    (problem,) = fit([model], gpus_of(A10)).problems
    assert problem.path == f"models[0].xinference.{setting}"
    assert said in problem.right


@pytest.mark.parametrize(
    ("models", "fits"),
    [
        ([chat(0.83), M3E, RERANK], True),
        ([chat(0.79, 32768), M3E], True),
        ([chat(0.65, 16384), M3E], True),
        ([chat(0.65, 16384 + 1024), M3E], False),
    ],
)
def test_the_advice_holds(models: list[Model], fits: bool) -> None:
    assert (fit(models, gpus_of(A10)).problems == ()) is fits


@pytest.mark.parametrize(
    ("model", "at_least", "at_most"),
    [
        # Files as published: 409 MB, 2.27 GB, 1.30 GB; and 15.3 GiB (xorbitsai/inference#3789).
        (M3E, 390, 1024),
        (small("bge-m3", "embedding"), 2160, 2800),
        (RERANK, 2160, 2800),
        (small("bge-large-zh-v1.5", "embedding"), 1240, 1900),
        (small("Qwen3-Reranker-8B", "rerank"), 15600, 18500),
        (small("Qwen3-Reranker-0.6B", "rerank"), 1140, 2000),
        (small("gte-Qwen2", "embedding"), 14500, 16500),
        # Weights of docs/facts/xinference.md §4, with the published cache.
        (chat(size=7, context=8192), 4139 + 448, 9101),
        (chat(size=14, context=8192), 8278 + 1536, 15984),
        (chat(model="qwen3", size=8, context=8192), 4731 + 1152, 10949),
        # 13.8 GB, though its list says pytorch without a quantization.
        (chat(model="gpt-oss", size=20, format="pytorch", quantization="none"), 13160, 22000),
        (
            chat(model="qwen3", size=8, engine="llama.cpp", format="ggufv2", quantization="Q8_0"),
            8300 + 2304,
            14000,
        ),
        (chat(model="qwen3", size="0_6", format="fp8", quantization="fp8", context=512), 600, 2700),
    ],
    ids=lambda value: value.upstream if isinstance(value, Model) else None,
)
def test_every_kind_of_model_is_weighed(model: Model, at_least: int, at_most: int) -> None:
    assert at_least <= need(model).total <= at_most


@pytest.mark.parametrize("type_", ["LLM", "embedding", "rerank"])
def test_nothing_of_the_list_is_beyond_weighing(type_: ModelType) -> None:
    kind = {"LLM": "chat"}.get(type_, type_)
    for listed in vendor_models(type_).values():
        for spec in listed.specs:
            told = {"model": listed.name, "format": spec.format, "size": spec.size or None}
            for quantization in spec.quantizations:
                source = told | {"engine": "vllm", "quantization": quantization}
                model = Model.model_validate(
                    {"name": "any", "kind": kind, "context": 4096, "xinference": source}
                )
                # Nothing that anybody serves weighs less than its bits, or more than 32 of them.
                assert least_weights_mib(model) <= need(model).weights
                assert need(model).weights > 20


def test_an_unknown_shape_is_said() -> None:
    known, guessed = chat(size=14), chat(model="qwen3.5", size=9)
    assert "shape is not known" not in need(known).how
    assert "shape is not known" in need(guessed).how
    # Of Qwen2's architecture, but each head has a cache of its own.
    assert "shape is not known" in need(chat(model="qwen1.5-chat", size=14)).how


def test_a_chat_model_of_the_same_shape_has_the_same_cache() -> None:
    distilled = chat(model="deepseek-r1-distill-qwen", size=14)
    assert need(distilled).cache == need(chat(size=14)).cache


def test_the_operator_may_know_better() -> None:
    heavy = small("m3e-base", "embedding", memoryGiB=6)
    found = fit([heavy, chat(0.7)], gpus_of(A10))
    assert found.rows[0].needed_mib == 6 * 1024
    assert fit([heavy, chat(0.74)], gpus_of(A10)).problems
    # Of vLLM it tells what the share must hold; the share itself is still what it takes.
    assert fit([chat(0.5, memoryGiB=12)], gpus_of(A10)).problems
    assert fit([chat(0.55, memoryGiB=12)], gpus_of(A10)).rows[0].needed_mib == 12503


@pytest.mark.parametrize(
    ("models", "cards"),
    [
        ([chat(0.9), M3E, RERANK], [(0,), (1,), (0,)]),
        # The idlest is the one with the fewest models, however large they are.
        (
            [small("a", "embedding", memoryGiB=6), small("b", "embedding"), RERANK, chat(0.5)],
            [(0,), (1,), (1,), (0,)],
        ),
    ],
)
def test_two_cards_are_filled_as_xinference_does(models: list[Model], cards: list[Any]) -> None:
    found = fit(models, gpus_of("ecs.gn7i-2x.8xlarge"))
    assert [row.cards for row in found.rows] == cards
    assert found.needed_mib == sum(row.needed_mib for row in found.rows if row.cards == (0,))


def test_a_model_over_two_cards_and_two_replicas() -> None:
    two = gpus_of("ecs.gn7i-2x.8xlarge")
    over = fit([chat(0.9, gpus=2, size=32)], two)
    assert not over.problems
    assert over.rows[0].cards == (0, 1)
    assert fit([chat(0.7, replicas=2)], two).rows[0].cards == (0, 1)
    assert fit([chat(0.9, size=32)], two).problems


def test_without_gpu_everything_runs_on_the_cpu_or_is_refused() -> None:
    on_cpu = small("m3e-base", "embedding", gpus=0)
    for gpus in (None, gpus_of(A10)):
        found = fit([on_cpu, REMOTE], gpus)
        assert (found.problems, found.needed_mib, found.rows[0].cards) == ((), 0, ())
    refused = fit([REMOTE, M3E, chat(gpus=0)], None).problems
    assert [p.path for p in refused] == ["models[1].xinference.gpus", "models[2].xinference.gpus"]
    assert "gpus: 0" in refused[0].right
    assert "engine: transformers" in refused[1].right
