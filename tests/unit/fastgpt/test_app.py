"""An app is published when its graph changes, and told from what FastGPT makes of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from stack.resources.fastgpt.app import as_wanted
from tests.unit.fake_services import FakeFastGpt
from tests.unit.fastgpt.bench import EDGES, NODES, Bench
from tests.unit.subject import Subject


@pytest.fixture
def app(bench: Bench) -> Subject:
    return bench.app()


def test_an_app_is_published_also_where_that_was_interrupted(
    app: Subject, service: FakeFastGpt
) -> None:
    app.create()
    app.create()
    assert [version["nodes"] for version in service.published] == [NODES, NODES]
    assert service.published[0]["chatConfig"]["welcomeText"] == "Hi"


def test_what_fastgpt_changes_on_save_is_no_drift(app: Subject, service: FakeFastGpt) -> None:
    row = service.apps[app.create()["object_id"]]
    inputs = copy.deepcopy(NODES[1]["inputs"])
    # Another order, fields of its own, empty ones dropped.
    row["modules"] = [
        {**NODES[1], "showStatus": True, "inputs": inputs[::-1]},
        {"nodeId": "start", "inputs": [{"key": "q", "label": ""}]},
    ]
    row["chatConfig"] = {"welcomeText": "Hi", "ttsConfig": {"type": "web"}}
    assert not app.drifts()


@pytest.mark.parametrize("hand", ["value", "extra node", "edge", "welcome", "name"])
def test_an_app_edited_in_the_web_page_is_seen_and_published_anew(
    app: Subject, service: FakeFastGpt, hand: str
) -> None:
    row = service.apps[app.create()["object_id"]]
    row.update(copy.deepcopy({key: row[key] for key in ("modules", "edges", "chatConfig")}))
    edits: dict[str, Any] = {
        "value": lambda: row["modules"][1]["inputs"][1].update(value=0.9),
        "extra node": lambda: row["modules"].append({"nodeId": "x"}),
        "edge": lambda: row["edges"].clear(),
        "welcome": lambda: row["chatConfig"].update(welcomeText="Bye"),
        "name": lambda: row.update(name="other"),
    }
    edits[hand]()
    app.heal()
    shown = {key: row[key] for key in ("name", "modules", "edges")}
    assert shown == {"name": "assistant", "modules": NODES, "edges": EDGES}
    assert row["chatConfig"]["welcomeText"] == "Hi"


def test_a_new_intro_publishes_nothing(app: Subject, service: FakeFastGpt) -> None:
    made = app.create()
    app.update(intro="New")
    assert len(service.published) == 1
    assert service.apps[made["object_id"]]["intro"] == "New"


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ({"a": None}, {}, True),
        ({"a": []}, {"a": None}, True),
        ({"a": 1}, {"a": 1.0, "b": 2}, True),
        ({"key": "limit", "value": 9000}, {"key": "limit", "value": 3000}, False),
        ({"a": "x"}, {}, False),
        ([["start", "q"]], [["start", "other"]], False),
        (["start", "q"], ["start", "q"], True),
        (["start", "q"], ["start"], False),
        ([{"datasetId": "a"}] * 2, [{"datasetId": "a", "name": "x"}] * 2, True),
        ([{"id": "a", "b": 1}, {"id": "c"}], [{"id": "c"}, {"id": "a", "b": 1, "d": 2}], True),
        ([], [{"key": "new"}], False),
    ],
)
def test_what_counts_as_the_same(wanted: Any, found: Any, same: bool) -> None:
    assert (as_wanted(wanted, found) == wanted) is same
