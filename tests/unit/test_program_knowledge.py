"""What the program makes of the setting `knowledge`, under the recording mock."""

import copy
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.program import PROJECT, Recording, configured, run_program

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


def test_without_a_question_nothing_is_asked(run: Run, knowledge: Knowledge) -> None:
    assert {"answer", "citations"} <= set(run(knowledge).outputs)
    del knowledge["question"]
    lab = run(knowledge)
    assert not lab.of_type("fastgpt:Answer")
    assert not {"answer", "citations"} & set(lab.outputs)


def test_an_app_without_a_base_is_asked_for_no_citation(run: Run, knowledge: Knowledge) -> None:
    assert run(knowledge).one("fastgpt:Answer").inputs["cites"] == "lab-manual.pdf"
    del knowledge["question"]["cites"]
    assert run(knowledge).one("fastgpt:Answer").inputs["cites"] == ""
    knowledge["apps"][0].update(bases=[], rerank=False)
    assert run(knowledge).one("fastgpt:Answer").inputs.get("cites") is None


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


def test_only_qa_training_waits_for_the_chat_channel(run: Run, knowledge: Knowledge) -> None:
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
