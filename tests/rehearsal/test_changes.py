"""Changing one's mind: each change touches only what it concerns, and the preview says the same.

One lab, several `up`s. Each test begins and ends with the reference settings, so their order does
not count.
"""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from rehearsal.lab import Lab
from rehearsal.probes import Probe
from tests.rehearsal.labs import (
    ask,
    change,
    concerned,
    done_to,
    order_of,
    pulumi,
    refused,
    settings_of,
    up,
)

# Several runs of the engine each, on a machine that may be busy.
pytestmark = pytest.mark.timeout(900)

QWEN, LLAMA = "qwen2.5-instruct", "llama-3.1-instruct"
QWEN_TURBO = {
    "name": "qwen-turbo",
    "kind": "chat",
    "context": 131072,
    "tools": True,
}
AWQ_8B = {"engine": "vllm", "format": "awq", "size": 8, "quantization": "Int4", "memoryShare": 0.65}
LLAMA_8B = {"name": LLAMA, "kind": "chat", "context": 16384, "tools": True, "xinference": AWQ_8B}
UPDATED, CREATED, DELETED = {"update"}, {"create"}, {"delete"}
REPLACED = {"create-replacement", "replace", "delete-replaced"}

TOLD_TO_FASTGPT = {"Models fastgpt-models": UPDATED}


@pytest.fixture
def lab(rehearsed_lab: Lab) -> Lab:
    return rehearsed_lab


@pytest.fixture
def reference(lab: Lab) -> Iterator[dict[str, Any]]:
    """The settings as they were, and are again afterwards."""
    before = settings_of(lab)
    yield copy.deepcopy(before)
    kept = ("models", "knowledge", "tokens", "leaseHours", "allowedCidrs")
    change(lab, **{name: before[name] for name in kept})
    up(lab)


def test_a_remote_model_comes_moves_and_leaves(lab: Lab, reference: dict[str, Any]) -> None:
    place = ["--config-file", str(lab.engine.stack_file)]
    pulumi(lab, "config", "set", "--secret", "key-dashscope", "rehearsal-dashscope.1", *place)
    here, elsewhere = "Channel dashscope-chat", "Channel dashscope-dashscope-intl-aliyuncs-com-chat"
    dashscope = {"provider": "dashscope"}
    abroad = {**dashscope, "baseUrl": "https://dashscope-intl.aliyuncs.com"}
    moved = {here: DELETED, elsewhere: CREATED}
    steps = ((dashscope, {**TOLD_TO_FASTGPT, here: CREATED}), (abroad, moved))
    for remote, expected in steps:
        change(lab, models=[*reference["models"], {**QWEN_TURBO, "remote": remote}])
        assert concerned(up(lab)) == expected
        with Probe(lab.outputs) as probe:
            assert probe.chat("qwen-turbo")["answer"]
    change(lab, models=reference["models"])
    assert concerned(up(lab)) == {**TOLD_TO_FASTGPT, elsewhere: DELETED}


def test_a_token_comes_and_leaves(lab: Lab, reference: dict[str, Any]) -> None:
    change(lab, tokens=[{"name": "notebook", "models": [QWEN]}])
    assert concerned(up(lab)) == {"Token token-notebook": CREATED}
    with Probe({**lab.outputs, "fastgptToken": lab.outputs["token-notebook"]}) as probe:
        assert probe.chat(QWEN)["answer"]
    change(lab, tokens=reference["tokens"])
    assert concerned(up(lab)) == {"Token token-notebook": DELETED}


def test_another_chat_model_takes_the_place_of_the_old_one(
    lab: Lab, reference: dict[str, Any]
) -> None:
    link = lab.outputs["shareLinks"]
    change(lab, **with_chat_model(reference, LLAMA_8B))
    announced = done_to(lab.engine.preview())
    done = up(lab)
    assert done_to(done) == announced
    assert concerned(done) == {
        **TOLD_TO_FASTGPT,
        "Eviction chat-models-eviction": UPDATED,
        f"Model {QWEN}": DELETED,
        f"Model {LLAMA}": CREATED,
        "ModelsReady chat-models-ready": UPDATED,
        "Channel xinference-chat": UPDATED,
        "Dataset base-lab-manual": UPDATED,
        "App app-lab-assistant": UPDATED,
        "Answer answer": UPDATED,
    }
    order = order_of(done)
    eviction = order.index(("update", "Eviction chat-models-eviction"))
    assert eviction < order.index(("create", f"Model {LLAMA}")), "the card has room for one"
    with Probe(lab.outputs) as probe:
        assert probe.chat(LLAMA)["answer"]
        assert QWEN not in probe.running()
    assert lab.outputs["shareLinks"] == link, "visitors keep their link"
    assert ask(lab)["citations"]


@pytest.mark.slow
@pytest.mark.fault("a download failing for good")
def test_a_model_that_does_not_start_can_be_taken_back(lab: Lab, reference: dict[str, Any]) -> None:
    # Other files than the test before left on the disk, so that it has to download.
    source = {**AWQ_8B, "model": LLAMA, "format": "gptq"}
    lab.world.call("switch_on", fault="xinference.download", key=LLAMA)
    trial = {**LLAMA_8B, "name": "trial", "xinference": source}
    change(lab, **with_chat_model(reference, trial))
    assert "trial" in refused(lab, lab.engine.up)
    lab.world.call("switch_on", fault="xinference.download", key=LLAMA, times=0)
    change(lab, models=reference["models"], knowledge=reference["knowledge"])
    up(lab)
    with Probe(lab.outputs) as probe:
        assert probe.chat(QWEN)["answer"]
        assert "trial" not in probe.running()
    assert ask(lab)["citations"]


def test_another_embedding_builds_its_base_anew(lab: Lab, reference: dict[str, Any]) -> None:
    embedding = {"name": "bge-m3", "kind": "embedding", "maxInput": 8192, "xinference": {}}
    models = [embedding if m["kind"] == "embedding" else m for m in reference["models"]]
    reference["knowledge"]["bases"][0]["embedding"] = "bge-m3"
    change(lab, models=models, knowledge=reference["knowledge"])
    assert concerned(up(lab)) == {
        **TOLD_TO_FASTGPT,
        "Eviction side-models-eviction": UPDATED,
        "Model m3e-base": DELETED,
        "Model bge-m3": CREATED,
        "ModelsReady side-models-ready": UPDATED,
        "Channel xinference-embedding": UPDATED,
        "Dataset base-lab-manual": REPLACED,
        "Document document-lab-manual/lab-manual.pdf": REPLACED,
        "DocumentsReady base-lab-manual-ready": UPDATED,
        "App app-lab-assistant": UPDATED,
        "Answer answer": UPDATED,
    }
    with Probe(lab.outputs) as probe:
        assert probe.embedding("bge-m3")["dimensions"] == 1024
        assert QWEN in probe.running(), "the chat model is none of its business"
    assert ask(lab)["citations"]


def test_a_longer_lease_stops_nothing(lab: Lab, reference: dict[str, Any]) -> None:
    before = lab.world.call("servers")[0]
    change(lab, leaseHours=48)
    assert concerned(up(lab)) == {"Lease lease": UPDATED, "Instance instance": UPDATED}
    after = lab.world.call("servers")[0]
    assert after["ends"] > before["ends"]
    assert after["ends"] == lab.outputs["leaseEnds"]
    assert (after["id"], after["address"]) == (before["id"], before["address"])


def with_chat_model(reference: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """The settings with `model` in the place of the chat model, wherever that is named."""
    knowledge = copy.deepcopy(reference["knowledge"])
    knowledge["bases"][0]["fileModel"] = model["name"]
    knowledge["apps"][0]["model"] = model["name"]
    models = [model if m["kind"] == "chat" else m for m in reference["models"]]
    return {"models": models, "knowledge": knowledge}
