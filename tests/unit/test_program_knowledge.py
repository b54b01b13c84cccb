"""What the program makes of the setting `knowledge`, under the recording mock."""

import copy
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.program import PROJECT, Recording, configured, plain_strings, run_program

Knowledge = dict[str, Any]
Run = Callable[[Knowledge], Recording]


@pytest.fixture
def run(key: Path) -> Run:
    return lambda knowledge: run_program(configured("dev", key, {"knowledge": knowledge}))


@pytest.fixture
def knowledge(key: Path) -> Knowledge:
    found: Knowledge = copy.deepcopy(configured("dev", key)["ai-lab:knowledge"])
    return found


def test_any_number_of_resources_leaves_the_pickler_alone(run: Run, knowledge: Knowledge) -> None:
    """Each resource would wrap it once more, and the thousandth end in a RecursionError."""
    pickler: Any = pickle._Pickler
    before = pickler._batch_setitems
    run(knowledge)
    assert pickler._batch_setitems is before


def test_the_question_its_citation_and_nothing_asked_without_one(
    run: Run, knowledge: Knowledge
) -> None:
    lab = run(knowledge)
    assert {"answer", "citations"} <= set(lab.outputs)
    assert lab.one("fastgpt:Answer").inputs["cites"] == "lab-manual.pdf"
    del knowledge["question"]["cites"]
    assert run(knowledge).one("fastgpt:Answer").inputs["cites"] == ""
    apps = [{**knowledge["apps"][0], "bases": [], "rerank": False}, *knowledge["apps"][1:]]
    plain = run({**knowledge, "apps": apps}).one("fastgpt:Answer")
    assert plain.inputs.get("cites") is None, "no base, no citation"
    del knowledge["question"]
    lab = run(knowledge)
    proof = lab.one("fastgpt:DocumentsReady")
    assert proof.inputs["reranker"] == "bge-reranker-v2-m3", "without a question as well"
    unasked = {**knowledge, "apps": [{**app, "rerank": False} for app in knowledge["apps"]]}
    assert run(unasked).one("fastgpt:DocumentsReady").inputs["reranker"] == ""
    assert not lab.of_type("fastgpt:Answer")
    assert not {"answer", "citations"} & set(lab.outputs)


def test_a_moved_file_is_the_same_document(run: Run, knowledge: Knowledge, tmp_path: Path) -> None:
    before = run(knowledge).one("fastgpt:Document")
    moved = shutil.copy(PROJECT / "documents" / "lab-manual.pdf", tmp_path)
    knowledge["bases"][0]["documents"][0]["file"] = str(moved)
    after = run(knowledge).one("fastgpt:Document")
    assert after.urn == before.urn
    assert after.inputs["content_hash"] == before.inputs["content_hash"]
    assert after.inputs["file"] == str(moved)
    assert before.inputs["file"] == "documents/lab-manual.pdf"


def test_names_that_run_into_each_other_stay_apart(run: Run, knowledge: Knowledge) -> None:
    base = knowledge["bases"][0]
    base["documents"].append({"name": "b-c", "text": "One."})
    other = {"name": f"{base['name']}-b", "documents": [{"name": "c", "text": "Two."}]}
    knowledge["bases"].append(other)
    lab = run(knowledge)
    urns = [document.urn for document in lab.of_type("fastgpt:Document")]
    assert len(urns) == len(set(urns)) == 3


def test_only_qa_training_waits_for_the_chat_channel(key: Path, knowledge: Knowledge) -> None:
    def run(told: Knowledge) -> Recording:
        return run_program(configured("seeds", key, {"knowledge": told}))

    document = {"name": "asked", "text": "It is so.", "training": "qa"}
    knowledge["bases"][0]["documents"].append(document)
    lab = run(knowledge)
    chat = lab.one("oneapi:Channel", "xinference-chat").urn
    base = knowledge["bases"][0]["name"]
    assert chat in lab.before(lab.one("fastgpt:Document", f"document-{base}/asked"))
    assert chat not in lab.before(lab.one("fastgpt:Document", f"document-{base}/lab-manual.pdf"))


def test_every_kind_of_source_is_handed_over_as_itself(
    run: Run, knowledge: Knowledge, tmp_path: Path
) -> None:
    (tmp_path / "手册 100%.md").write_text("这是手册。")
    knowledge["bases"][0]["documents"] = [
        {"folder": str(tmp_path)},
        {"name": "facts", "text": "It is so."},
        {"link": "https://example.com/page", "chunkSize": 400},
    ]
    knowledge["question"].pop("cites")
    lab = run(knowledge)
    found = {
        document.inputs["name"]: document.inputs for document in lab.of_type("fastgpt:Document")
    }
    kinds = {
        name: [kind for kind in ("file", "text", "link") if inputs.get(kind) is not None]
        for name, inputs in found.items()
    }
    assert kinds == {
        "手册 100%.md": ["file"],
        "facts": ["text"],
        "https://example.com/page": ["link"],
    }
    assert found["https://example.com/page"]["chunk_size"] == 400


def test_the_current_edition_is_told_of_its_models_once_they_are_routed(key: Path) -> None:
    lab = run_program(configured("dev", key, {"edition": "current"}))
    models = lab.one("fastgpt:Models")
    told = {each["model"]: each["metadata"] for each in models.inputs["models"]}
    assert models.inputs["tried"] == list(told)
    assert told["bge-reranker-v2-m3"]["requestAuth"] == "plain-xinference-key-password"
    assert not [text for text in plain_strings(models.raw) if "plain-" in text], "secret"
    channels = {channel.urn for channel in lab.of_type("oneapi:Channel")}
    assert lab.before(models) >= channels | {lab.one("fastgpt:Ready").urn}
    for kind in ("Dataset", "App", "Answer"):
        assert models.urn in lab.before(lab.one(f"fastgpt:{kind}"))
    assert lab.one("fastgpt:Ready").inputs["models"] == {}
    assert lab.one("fastgpt:App").inputs["chat_config"]["questionGuide"] == {"open": False}
    assert lab.one("fastgpt:Answer").inputs["reranked"] is True
    indexed = lab.one("fastgpt:DocumentsReady")
    assert indexed.inputs["reranker"] == "bge-reranker-v2-m3"
    assert lab.one("xinference:ModelsReady", "side-models-ready").urn in lab.before(indexed)
    ours = [each for each in lab.resources if "ailab/fastgpt:" in each.type]
    assert {each.inputs["edition"] for each in ours} == {"current"}


def test_the_seeds_edition_reads_its_models_from_a_file(key: Path) -> None:
    lab = run_program(configured("dev", key, {"edition": "seeds"}))
    assert not lab.of_type("fastgpt:Models")
    assert lab.one("fastgpt:Ready").inputs["models"]["rerank"] == ["bge-reranker-v2-m3"]
    assert lab.one("fastgpt:App").inputs["chat_config"]["questionGuide"] is False
