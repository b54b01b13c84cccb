"""Knowledge on the real engine: documents that come, change, move and go, in a lab that stands.

One lab for all cases. Each says by `up` what the settings are and looks at FastGPT by plain HTTP,
not by our client, for what came of it. What they show and nothing cheaper can: that a change takes
its own way through engine, program, resources and FastGPT, and touches nothing beside it.
"""

from __future__ import annotations

import copy
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from rehearsal.children import PROJECT
from rehearsal.engine import Engine, EngineError, Outcome
from rehearsal.lab import Lab, prepare
from rehearsal.probes import Probe
from tests.rehearsal.hands import FastGptPage
from tests.rehearsal.labs import change, done_to, up
from tests.unit.pdfs import Page as PdfPage
from tests.unit.pdfs import pdf

pytestmark = pytest.mark.timeout(600)

EMBEDDINGS = ("m3e-base", "bge-large-zh-v1.5")
CHINESE = "实验室手册 100%.md"
PAGE = "https://hours.example/opening"
_PATIENCE = 60.0

Settings = dict[str, Any]


class Page(FastGptPage):
    """FastGPT's web page, read by name."""

    def everything(self) -> dict[str, Any]:
        """Names to ids of all there is, to compare two moments; two of one name fail here."""
        bases, apps = _by_name(self.bases()), _by_name(self.apps())
        return {
            "bases": bases,
            "documents": {name: _by_name(self.documents(id)) for name, id in bases.items()},
            "apps": apps,
            "links": {name: _by_name(self.links(id), "shareId") for name, id in apps.items()},
            "keys": {name: list(_by_name(self.keys(id))) for name, id in apps.items()},
        }


def _by_name(rows: list[dict[str, Any]], id_: str = "_id") -> dict[str, str]:
    found = {row["name"]: row[id_] for row in rows}
    assert len(found) == len(rows), f"there are two of one name: {rows}"
    return found


@dataclass
class Standing:
    """The lab of this file, and the folder with its documents."""

    lab: Lab
    folder: Path
    page: Page
    said: list[str]
    applied: Settings

    def up(self, knowledge: Settings, *options: str) -> dict[str, set[str]]:
        """`pulumi up` with these settings; resource to what was done to it."""
        change(self.lab, knowledge=copy.deepcopy(knowledge))
        done = done_to(up(self.lab, *options))
        # The resources' provider has all settings in its own, so it changes with each of them.
        return {name: what for name, what in done.items() if name != "pulumi-python default"}

    def fails(self, knowledge: Settings, *options: str) -> str:
        """`pulumi up` with these settings fails; all that it says, on one line."""
        change(self.lab, knowledge=copy.deepcopy(knowledge))
        self.said.clear()
        with pytest.raises(EngineError):
            self.lab.engine.up(*options)
        return " ".join(" ".join(self.said).split())

    def ask(self, link: str, question: str) -> dict[str, Any]:
        """Answer and citations, as a visitor of that link gets them."""
        with Probe(self.lab.outputs) as probe:
            return probe.ask(self.lab.outputs["shareLinks"][link], question)

    def resources(self) -> list[dict[str, Any]]:
        """What the state has."""
        found: list[dict[str, Any]] = self.lab.engine.export()["deployment"]["resources"]
        return found


def _write(folder: Path) -> None:
    """The documents as every case finds them."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "notes").mkdir(parents=True)
    (folder / "manual").mkdir()
    shutil.copy(PROJECT / "documents" / "lab-manual.pdf", folder / "manual")
    (folder / CHINESE).write_text(
        "# 实验室手册\n\n实验室每天早上八点开门，晚上十点关门。\n\n"
        "# 钥匙\n\n备用钥匙放在门卫室的蓝色柜子里。\n"
    )
    (folder / "notes" / "打印机.txt").write_text("打印机在三楼走廊尽头，墨盒在旁边的抽屉里。\n")
    (folder / "notes" / "coffee.md").write_text("The coffee machine is cleaned every Friday.\n")


def _knowledge(folder: Path) -> Settings:
    """Two bases over two embedding models, two apps, three links, a key, a question."""
    return {
        "bases": [
            {
                "name": "manuals",
                "embedding": EMBEDDINGS[0],
                "documents": [
                    {"file": str(folder / "manual" / "lab-manual.pdf")},
                    {"file": str(folder / CHINESE)},
                    {"name": "facts", "text": "The server room is in the basement."},
                    {"link": PAGE},
                ],
            },
            {
                "name": "便签",
                "embedding": EMBEDDINGS[1],
                "documents": [
                    {"folder": str(folder / "notes")},
                    {
                        "name": "parking",
                        "text": "Visitors park behind the tower. It is free.",
                        "training": "qa",
                    },
                ],
            },
        ],
        "apps": [
            {
                "name": "assistant",
                "bases": ["manuals"],
                "similarity": 0.1,
                "limit": 3000,
                "searchMode": "mixedRecall",
                "rerank": True,
                "links": [{"name": "visitors"}, {"name": "guests"}],
                "apiKeys": ["notebook"],
            },
            {
                "name": "便签助手",
                "bases": ["便签"],
                "similarity": 0.1,
                "prompt": "Be brief.",
                "links": [{"name": "同事"}],
            },
        ],
        "question": {"ask": "How do I stop paying for the lab?", "cites": "lab-manual.pdf"},
    }


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    folder = tmp_path_factory.mktemp("documents")
    _write(folder)
    models = yaml.safe_load((PROJECT / "Pulumi.dev.yaml").read_text())["config"]["ai-lab:models"]
    second = {"name": EMBEDDINGS[1], "kind": "embedding", "maxInput": 512, "xinference": {}}
    changes = {
        "ai-lab:models": [*models, second],
        "ai-lab:knowledge": _knowledge(folder),
        "ai-lab:documentDeadlineMinutes": 1,
    }
    said: list[str] = []
    lab = prepare(tmp_path_factory.mktemp("rehearsal"), "dev", said.append, changes)
    try:
        up(lab)
        page = Page(str(lab.outputs["fastgptUrl"]), str(lab.outputs["fastgptPassword"]))
        yield Standing(lab, folder, page, said, _knowledge(folder))
        page.close()
    finally:
        lab.end()


@pytest.fixture
def as_built(standing: Standing) -> Settings:
    """The settings to begin with, in force: a case that changed them is undone first."""
    wanted = _knowledge(standing.folder)
    if standing.applied != wanted:
        _write(standing.folder)
        standing.up(wanted)
        standing.applied = wanted
    return copy.deepcopy(wanted)


@pytest.fixture
def knowledge(standing: Standing, as_built: Settings) -> Settings:
    """`as_built`, for a case that changes something."""
    standing.applied = {}
    return as_built


def _base(knowledge: Settings, name: str) -> Settings:
    found: Settings = next(base for base in knowledge["bases"] if base["name"] == name)
    return found


def _app(knowledge: Settings, name: str) -> Settings:
    found: Settings = next(app for app in knowledge["apps"] if app["name"] == name)
    return found


# -- what is there at first ---------------------------------------------------------------------


def test_a_lab_with_documents_of_every_kind(standing: Standing, as_built: Settings) -> None:
    outputs, there = standing.lab.outputs, standing.page.everything()
    title = "hours.example/opening (rehearsed)"
    assert {name: set(rows) for name, rows in there["documents"].items()} == {
        "manuals": {"lab-manual.pdf", CHINESE, "facts", title},
        "便签": {"打印机.txt", "coffee.md", "parking"},
    }
    assert {name: set(rows) for name, rows in there["links"].items()} == {
        "assistant": {"visitors", "guests"},
        "便签助手": {"同事"},
    }
    shared = {name: parse_qs(urlsplit(url).query) for name, url in outputs["shareLinks"].items()}
    assert set(shared) == {"assistant/visitors", "assistant/guests", "便签助手/同事"}
    assert shared["assistant/guests"]["shareId"] == [there["links"]["assistant"]["guests"]]

    assert outputs["answer"].strip()
    assert "lab-manual.pdf" in {citation["document"] for citation in outputs["citations"]}
    assert all(citation["passage"].strip() for citation in outputs["citations"])
    assert standing.page.chats_with(outputs["apiKey-assistant/notebook"])


@pytest.mark.parametrize(
    ("link", "question", "said", "document"),
    [
        ("assistant/visitors", "备用钥匙放在哪里？", "蓝色柜子", CHINESE),
        ("assistant/guests", "Where is the server room?", "basement", "facts"),
        (
            "assistant/guests",
            "What does the page hours.example/opening stand for?",
            "rehearsal cannot reach",
            "hours.example/opening (rehearsed)",
        ),
        ("便签助手/同事", "打印机在哪里？", "三楼", "打印机.txt"),
        ("便签助手/同事", "Where do visitors park?", "tower", "parking"),
    ],
    ids=["Chinese", "text", "web page", "folder", "questions and answers"],
)
def test_every_kind_of_document_is_cited(
    standing: Standing, as_built: Settings, link: str, question: str, said: str, document: str
) -> None:
    answer = standing.ask(link, question)
    assert said in answer["answer"], answer
    assert document in {citation["source"] for citation in answer["citations"]}, answer


def test_only_qa_training_waits_for_the_chat_model(standing: Standing, as_built: Settings) -> None:
    by_urn = {resource["urn"]: resource for resource in standing.resources()}

    def urn(kind: str, name: str) -> str:
        return next(str(u) for u in by_urn if u.endswith(f":{kind}::{name}"))

    def needs(kind: str, name: str) -> set[str]:
        found: set[str] = set()
        todo = [urn(kind, name)]
        while todo:
            fresh = set(by_urn[todo.pop()].get("dependencies") or []) - found
            found |= fresh
            todo += fresh
        return found

    chat = urn("Channel", "xinference-chat")
    assert chat in needs("Document", "document-便签/parking")
    assert chat not in needs("Document", "document-便签/coffee.md")
    assert chat in needs("Answer", "answer")


def test_nothing_changes_by_itself(standing: Standing, as_built: Settings) -> None:
    before = standing.page.everything()
    assert standing.up(as_built, "--refresh") == {}
    assert standing.page.everything() == before


# -- documents that change ----------------------------------------------------------------------


def test_a_changed_document_changes_only_its_own_collection(
    standing: Standing, knowledge: Settings
) -> None:
    before = standing.page.everything()
    (standing.folder / CHINESE).write_text("# 实验室手册\n\n备用钥匙现在放在二楼的红色箱子里。\n")
    manuals = _base(knowledge, "manuals")["documents"]
    # One removed, and one moved: its content and its name are the same.
    manuals[:] = [document for document in manuals if document.get("name") != "facts"]
    moved = standing.folder / "archive" / "lab-manual.pdf"
    moved.parent.mkdir()
    Path(manuals[0]["file"]).rename(moved)
    manuals[0]["file"] = str(moved)

    done = standing.up(knowledge)

    assert set(done) == {
        f"Document document-manuals/{CHINESE}",
        "Document document-manuals/facts",
        "DocumentsReady base-manuals-ready",
        "Answer answer",
    }
    after = standing.page.everything()
    old, new = before["documents"].pop("manuals"), after["documents"].pop("manuals")
    assert after == before
    assert new.pop(CHINESE) != old.pop(CHINESE)
    assert old.pop("facts")
    assert new == old

    key = standing.ask("assistant/visitors", "备用钥匙放在哪里？")
    assert "红色箱子" in key["answer"]
    assert not any("蓝色柜子" in citation["text"] for citation in key["citations"])
    room = standing.ask("assistant/visitors", "Where is the server room?")
    assert not any("basement" in citation["text"] for citation in room["citations"])


# -- bases and apps that change -----------------------------------------------------------------


def test_another_embedding_builds_its_base_anew_and_no_other(
    standing: Standing, knowledge: Settings
) -> None:
    before = standing.page.everything()
    _base(knowledge, "便签")["embedding"] = EMBEDDINGS[0]
    _app(knowledge, "便签助手")["prompt"] = "Answer in full sentences."
    _app(knowledge, "assistant")["name"] = "renamed"

    done = standing.up(knowledge)

    after = standing.page.everything()
    assert {name for name in done if name.startswith("Dataset")} == {"Dataset base-便签"}
    assert after["bases"]["manuals"] == before["bases"]["manuals"]
    assert after["documents"]["manuals"] == before["documents"]["manuals"]
    assert after["bases"]["便签"] != before["bases"]["便签"]
    old, new = before["documents"]["便签"], after["documents"]["便签"]
    assert set(new) == set(old)
    assert not set(new.values()) & set(old.values())
    (rebuilt,) = (row for row in standing.page.bases() if row["name"] == "便签")
    assert rebuilt["vectorModel"]["model"] == EMBEDDINGS[0]

    # The app is the same, with its link; its new graph is what visitors get.
    assert done["App app-便签助手"] == {"update"}
    assert after["apps"]["便签助手"] == before["apps"]["便签助手"]
    assert after["links"]["便签助手"] == before["links"]["便签助手"]
    fields = [f for n in standing.page.app("便签助手")["modules"] for f in n["inputs"]]
    assert "Answer in full sentences." in [f.get("value") for f in fields]
    assert "三楼" in standing.ask("便签助手/同事", "打印机在哪里？")["answer"]

    # Another name is another app with another link; the old one is gone.
    assert set(after["apps"]) == {"renamed", "便签助手"}
    assert "basement" in standing.ask("renamed/guests", "Where is the server room?")["answer"]
    assert "answer" in standing.lab.outputs


# -- runs that were interrupted -----------------------------------------------------------------


@pytest.mark.slow
def test_what_a_lost_state_made_is_adopted_and_never_made_twice(
    standing: Standing, knowledge: Settings
) -> None:
    before = standing.page.everything()
    ours = ("Dataset", "Document", "App", "ShareLink", "ApiKey")
    kinds = tuple(f"fastgpt:{kind}" for kind in ours)
    forgotten = [r["urn"] for r in standing.resources() if r["type"].endswith(kinds)]
    assert len(forgotten) == 2 + 7 + 2 + 3 + 1
    engine = standing.lab.engine
    while left := [r["urn"] for r in standing.resources() if r["urn"] in forgotten]:
        arguments = ["state", "delete", left[0], "--target-dependents", "--yes"]
        engine._run([*arguments, "--stack", engine.stack], quiet=True)
    # Whoever lost the state may also have lost the question's outcome: it need not be asked here.
    del knowledge["question"]

    done = standing.up(knowledge)

    assert {urn.rsplit("::", 1)[-1] for urn in forgotten} <= {
        name.partition(" ")[2] for name in done
    }
    assert all(operations == {"create"} for operations in done.values())
    assert standing.page.everything() == before
    assert standing.page.chats_with(standing.lab.outputs["apiKey-assistant/notebook"])
    assert not {"answer", "citations"} & set(standing.lab.outputs)


@pytest.mark.slow
def test_a_killed_run_is_taken_up_by_the_next(standing: Standing, knowledge: Settings) -> None:
    before = standing.page.everything()
    notes = {f"note{n}": f"Box {n} holds {n} spare cables for the racks." for n in range(8)}
    documents = [{"name": name, "text": text} for name, text in notes.items()]
    knowledge["bases"].append({"name": "boxes", "embedding": EMBEDDINGS[0], "documents": documents})
    change(standing.lab, knowledge=knowledge)

    _kill_when(standing, lambda: bool(standing.page.everything()["documents"].get("boxes")))

    standing.up(knowledge)
    after = standing.page.everything()
    assert set(after["documents"].pop("boxes")) == set(notes)
    assert after["bases"].pop("boxes")
    assert after == before


def _kill_when(standing: Standing, reached: Callable[[], bool]) -> None:
    """Start an `up` and kill it, engine and all, at that moment."""
    old = standing.lab.engine
    ended: list[BaseException | Outcome] = []

    def run() -> None:
        try:
            ended.append(old.up())
        except EngineError as error:
            ended.append(error)

    running = threading.Thread(target=run)
    running.start()
    deadline = time.monotonic() + _PATIENCE
    while not reached():
        assert time.monotonic() < deadline, "the moment to kill the run never came"
        assert not ended, ended
        time.sleep(0.02)
    old.close()
    running.join(_PATIENCE)
    assert isinstance(ended[0], EngineError), "the run had ended before it was killed"
    world = standing.lab.world
    standing.lab.engine = Engine(
        old.folder, old.program, old.stack, world.debug_providers, standing.said.append
    )
    # As an operator would: the killed run still holds the stack's lock.
    standing.lab.engine._run(["cancel", "--yes", "--stack", old.stack])


# -- what goes wrong ----------------------------------------------------------------------------


def test_bad_documents_are_said_before_anything_is_touched(
    standing: Standing, knowledge: Settings
) -> None:
    before = standing.page.everything()
    (standing.folder / "scan.pdf").write_bytes(pdf(PdfPage(painted=True)))
    (standing.folder / "empty.md").write_text("")
    manuals = _base(knowledge, "manuals")
    manuals["documents"] += [
        {"file": str(standing.folder / "scan.pdf")},
        {"file": str(standing.folder / "empty.md")},
        {"file": "documents/nowhere.pdf"},
        {"folder": str(standing.folder / "manual")},
    ]
    _base(knowledge, "便签")["embedding"] = "m3e-large"
    knowledge["apps"].append(copy.deepcopy(knowledge["apps"][0]))

    said = standing.fails(knowledge)

    for words in (
        "FastGPT finds no text on 1 of 1 pages of scan.pdf (page 1)",
        "empty.md is empty",
        "nowhere.pdf is not there",
        "lab-manual.pdf is there twice",
        "no embedding model is called m3e-large",
        "assistant is there twice",
        "nothing was created",
    ):
        assert words in said, said
    assert standing.page.everything() == before


def test_a_document_that_only_fastgpt_can_refuse_leaves_nothing(
    standing: Standing, knowledge: Settings
) -> None:
    before = standing.page.everything()
    standing.lab.world.call("switch_on", fault="pages.gone", key="hours.example")
    _base(knowledge, "manuals")["documents"].append({"link": "https://hours.example/other"})
    said = standing.fails(knowledge, "--continue-on-error")
    standing.lab.world.call("switch_off", fault="pages.gone", key="hours.example")

    assert "index https://hours.example/other" in said
    assert "FastGPT must reach the page from the server" in said
    assert standing.page.everything() == before
