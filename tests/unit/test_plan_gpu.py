"""The models' memory, and the price, before anything is paid."""

from __future__ import annotations

from typing import Any

import pytest

from provisioning.catalogue import Model
from provisioning.gpu import fit, gpus_of, has_gpu, known_gpu_types, launch_order
from provisioning.prices import hourly_price

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


def test_the_reference_server() -> None:
    gpus = gpus_of(A10)
    assert gpus is not None
    # 60 GiB, not 64; and what the driver reports, not 24 GiB.
    assert (gpus.card, gpus.count, gpus.memory_mib) == ("NVIDIA A10", 1, 22731)
    assert (gpus.vcpus, gpus.memory_gib, gpus.estimate) == (16, 60, False)
    assert gpus.usable_mib < gpus.memory_mib


@pytest.mark.parametrize("instance_type", known_gpu_types())
def test_every_type_of_the_table_is_one_with_gpus(instance_type: str) -> None:
    gpus = gpus_of(instance_type)
    assert gpus is not None
    assert has_gpu(instance_type)
    assert gpus.count >= 1
    assert 0 < gpus.usable_mib < gpus.memory_mib
    assert gpus.estimate == (not instance_type.startswith("ecs.gn7i-"))


@pytest.mark.parametrize(
    ("instance_type", "gpu"),
    [
        ("ecs.g7.2xlarge", False),
        ("ecs.c8i.large", False),
        ("ecs.gn9x-c1.large", True),
        ("ecs.ebmgn7i.32xlarge", True),
        ("ecs.vgn6i-m4.xlarge", True),
    ],
)
def test_a_type_outside_the_table(instance_type: str, gpu: bool) -> None:
    assert gpus_of(instance_type) is None
    assert has_gpu(instance_type) is gpu


def test_the_reference_lab_fits_and_its_table_adds_up() -> None:
    found = fit([REMOTE, chat(), M3E, RERANK], gpus_of(A10))
    assert found.fits
    assert [row.model for row in found.rows] == [
        "m3e-base",
        "bge-reranker-v2-m3",
        "qwen2.5-instruct",
    ]
    # vLLM takes its share of the whole card, not of what is free.
    assert found.rows[-1].needed_mib == 15912
    assert found.needed_mib == sum(row.needed_mib for row in found.rows)
    table = found.table()
    assert "qwen-plus" not in table
    for row in found.rows:
        assert f"{row.needed_mib} MiB" in next(li for li in table.splitlines() if row.model in li)
    assert f"{found.needed_mib} MiB" in table.splitlines()[-1]


@pytest.mark.parametrize(
    ("models", "path", "said"),
    [
        # Too much beside the others: the largest share that leaves them room.
        ([chat(0.95), M3E, RERANK], "models[0].xinference.memoryShare", "set it to 0.83 or less"),
        ([M3E, RERANK, chat(None)], "models[2].xinference.memoryShare", "set it to 0.83 or less"),
        # The share does not hold the weights and one context.
        (
            [chat(0.65, 32768), M3E],
            "models[0].xinference.memoryShare",
            "set memoryShare to 0.79 or more, or set context to 16384 or less",
        ),
        ([chat(0.3, size=72)], "models[0].xinference.memoryShare", "smaller size or quantization"),
        # Nothing helps but less.
        (
            [chat(0.9, 32768), M3E, small("a", "embedding"), small("b", "embedding"), RERANK],
            "models[0].xinference.memoryShare",
            "choose a smaller size, quantization or context",
        ),
        (
            [chat(None, 4096, engine="transformers", format="pytorch", quantization="none")],
            "models",
            "a larger instance type",
        ),
        ([chat(gpus=2)], "models[0].xinference.gpus", "set gpus to 1 at the most"),
        ([chat(gpus=0)], "models[0].xinference.gpus", "engine: transformers"),
        ([chat(0.5, size=7, replicas=2)], "models[0].xinference.memoryShare", "or less"),
    ],
)
def test_what_does_not_fit_says_what_would(models: list[Model], path: str, said: str) -> None:
    found = fit(models, gpus_of(A10))
    assert not found.fits
    problem = next(p for p in found.problems if p.path == path)
    assert said in problem.right


def test_no_share_is_advised_that_the_others_do_not_leave() -> None:
    # 17822 MiB are needed, and two more embeddings leave 13824.
    crowd = [chat(0.55, 32768), M3E, RERANK, small("a", "embedding"), small("b", "embedding")]
    problem = fit(crowd, gpus_of(A10)).problems[0]
    assert problem.right == "set context to 4096 or less"


@pytest.mark.parametrize("share", [0.83, 0.79])
def test_the_advice_holds(share: float) -> None:
    assert fit([chat(share, 16384), M3E, RERANK], gpus_of(A10)).fits


def test_the_advised_context_fits() -> None:
    assert fit([chat(0.65, 16384), M3E], gpus_of(A10)).fits
    assert not fit([chat(0.65, 16384 + 1024), M3E], gpus_of(A10)).fits


def test_baichuan_13b_does_not_fit_one_a10() -> None:
    # facts/xinference.md §4 measured 30 GB.
    model = Model.model_validate(
        {
            "name": "baichuan-2-chat",
            "kind": "chat",
            "context": 4096,
            "xinference": {"engine": "transformers", "format": "pytorch", "size": 13},
        }
    )
    assert not fit([model], gpus_of(A10)).fits


def test_the_operator_may_know_better() -> None:
    heavy = small("m3e-base", "embedding", memoryGiB=6)
    found = fit([heavy, chat(0.7)], gpus_of(A10))
    assert found.rows[0].needed_mib == 6 * 1024
    assert not fit([heavy, chat(0.74)], gpus_of(A10)).fits
    # Of vLLM it tells what the share must hold; the share itself is still what it takes.
    assert not fit([chat(0.5, memoryGiB=12)], gpus_of(A10)).fits
    assert fit([chat(0.55, memoryGiB=12)], gpus_of(A10)).rows[0].needed_mib == 12503


def test_two_cards_are_filled_as_xinference_does() -> None:
    found = fit([chat(0.9), M3E, RERANK], gpus_of("ecs.gn7i-2x.8xlarge"))
    assert {row.model: row.cards for row in found.rows} == {
        "m3e-base": (0,),
        "bge-reranker-v2-m3": (1,),
        "qwen2.5-instruct": (0,),
    }
    assert found.needed_mib == 1024 + 20458
    assert "card 1" in found.table()


def test_the_idlest_card_is_the_one_with_the_fewest_models() -> None:
    crowd = [
        small("a", "embedding", memoryGiB=6),
        small("b", "embedding"),
        small("c", "rerank"),
        chat(0.5, size=7),
    ]
    found = fit(crowd, gpus_of("ecs.gn7i-2x.8xlarge"))
    assert [row.cards for row in found.rows] == [(0,), (1,), (1,), (0,)]


def test_a_model_over_two_cards_and_two_replicas() -> None:
    two = gpus_of("ecs.gn7i-2x.8xlarge")
    over = fit([chat(0.9, gpus=2, size=32)], two)
    assert over.fits
    assert over.rows[0].cards == (0, 1)
    assert fit([chat(0.7, replicas=2)], two).rows[0].cards == (0, 1)
    assert not fit([chat(0.9, size=32)], two).fits


def test_without_gpu_everything_runs_on_the_cpu_or_is_refused() -> None:
    assert fit([small("m3e-base", "embedding", gpus=0), REMOTE], None).fits
    refused = fit([REMOTE, M3E], None)
    assert [p.path for p in refused.problems] == ["models[1].xinference.gpus"]
    assert "gpus: 0" in refused.problems[0].right


def test_on_the_cpu_a_model_takes_no_gpu_memory() -> None:
    found = fit([small("m3e-base", "embedding", gpus=0)], gpus_of(A10))
    assert found.needed_mib == 0
    assert found.rows[0].cards == ()


def test_small_models_are_launched_first() -> None:
    order = launch_order([chat(), REMOTE, RERANK, M3E])
    assert [model.kind for model in order] == ["embedding", "rerank", "chat"]


def test_the_price_is_made_of_its_parts() -> None:
    price = hourly_price(A10, 1000, "cloud_essd", "PL1", "cn-hangzhou", spot=False)
    assert (price.total, price.currency) == (12.19, "CNY")
    assert [part.amount for part in price.parts] == [10.09, 2.10]
    assert "out of date" in price.note


@pytest.mark.parametrize(
    ("arguments", "known", "said"),
    [
        ((A10, 100, "cloud_essd", "PL1", "cn-beijing", True), True, "Spot follows the market"),
        (("ecs.g7.large", 100, "cloud_essd", "PL0", "cn-hangzhou", False), False, "ecs.g7.large"),
        ((A10, 100, "cloud_new", "", "cn-hangzhou", False), False, "this disk"),
        ((A10, 100, "cloud_essd", "PL1", "ap-southeast-1", False), False, "outside the mainland"),
    ],
)
def test_a_price_that_is_not_known_is_none(
    arguments: tuple[str, int, str, str, str, bool], known: bool, said: str
) -> None:
    price = hourly_price(*arguments)
    assert (price.total is not None) is known
    assert said in price.note


def test_the_disk_level_counts_and_only_for_essd() -> None:
    def disk(category: str, level: str) -> float | None:
        return hourly_price(A10, 1000, category, level, "cn-hangzhou", False).parts[1].amount

    assert disk("cloud_essd", "PL2") == 4.2
    assert disk("cloud_essd", "") == disk("cloud_essd", "PL1")
    assert disk("cloud_auto", "PL3") == disk("cloud_auto", "")
