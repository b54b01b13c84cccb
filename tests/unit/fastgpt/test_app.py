"""An app is published when its graph changes, and told from what FastGPT makes of it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from stack.resources.fastgpt.app import as_wanted
from tests.tables import table
from tests.unit.fastgpt.bench import BOTH, EDGES, NODES, Bench
from tests.unit.subject import Subject

PUBLISH = ("POST", "/api/core/app/version/publish")


@pytest.fixture
def app(bench: Bench) -> Subject:
    made = bench.app()
    made.create()
    return made


def shown(bench: Bench, app: Subject) -> dict[str, Any]:
    return bench.row("apps", app.state["object_id"])


@BOTH
def test_an_app_is_published_also_where_that_was_interrupted(app: Subject, bench: Bench) -> None:
    app.create()
    assert bench.calls.count(PUBLISH) == 2
    newest = bench.mongo.find("app_versions")[-1]
    assert (newest["nodes"], newest["chatConfig"]["welcomeText"]) == (NODES, "Hi")


def test_what_fastgpt_changes_on_save_is_no_drift(app: Subject, bench: Bench) -> None:
    inputs = copy.deepcopy(NODES[1]["inputs"])
    # Another order, fields of its own, empty ones dropped.
    modules = [
        {**NODES[1], "showStatus": True, "inputs": inputs[::-1]},
        {
            **{key: value for key, value in NODES[0].items() if key != "outputs"},
            "inputs": [{"key": "q", "renderTypeList": ["agentGenerated", "reference"]}],
        },
    ]
    chat = {"welcomeText": "Hi", "ttsConfig": {"type": "web"}}
    bench.edit("apps", app.state["object_id"], modules=modules, chatConfig=chat)
    assert not app.drifts()


@BOTH
@pytest.mark.parametrize(
    "hand",
    [
        lambda row: row["modules"][1]["inputs"][1].update(value=0.9),
        lambda row: row["modules"].append({**NODES[0], "nodeId": "x"}),
        lambda row: row["edges"].clear(),
        lambda row: row["chatConfig"].update(welcomeText="Bye"),
        lambda row: row.update(name="other"),
    ],
    ids=["value", "extra node", "edge", "welcome", "name"],
)
def test_an_app_edited_in_the_web_page_is_seen_and_published_anew(
    app: Subject, bench: Bench, hand: Callable[[dict[str, Any]], object]
) -> None:
    row = shown(bench, app)
    hand(row)
    bench.mongo.put("apps", row)
    app.heal()
    row = shown(bench, app)
    assert (row["name"], row["modules"], row["edges"]) == ("assistant", NODES, EDGES)
    assert row["chatConfig"]["welcomeText"] == "Hi"


@BOTH
def test_a_new_intro_publishes_nothing(app: Subject, bench: Bench) -> None:
    app.update(intro="New")
    assert bench.calls.count(PUBLISH) == 1
    assert shown(bench, app)["intro"] == "New"


@table("fastgpt_app")
def test_what_counts_as_the_same(wanted: Any, found: Any, same: bool) -> None:
    assert (as_wanted(wanted, found) == wanted) is same
