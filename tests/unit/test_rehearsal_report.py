"""What a rehearsal reads from the engine's events, and what it writes down."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from rehearsal.engine import Outcome, _what_happened
from rehearsal.progress import Progress
from rehearsal.report import Report, Step, slowest


def _event(kind: str, name: str, op: str, at: int) -> dict[str, Any]:
    metadata = {"urn": f"urn:pulumi:dev::lab::toy:index:Thing::{name}", "op": op, "type": "Thing"}
    return {"timestamp": at, kind: {"metadata": metadata}}


EVENTS = [
    _event("resourcePreEvent", "quick", "create", 10),
    _event("resOutputsEvent", "quick", "create", 10),
    _event("resourcePreEvent", "slow", "update", 10),
    _event("resOutputsEvent", "slow", "update", 17),
    _event("resourcePreEvent", "left", "same", 17),
    {"timestamp": 18, "summaryEvent": {"resourceChanges": {"create": 1, "update": 1, "same": 1}}},
]


def test_changes_are_counted_and_named(tmp_path: Path) -> None:
    log = tmp_path / "events"
    log.write_text("\n".join(map(json.dumps, EVENTS)))
    operations, changed = _what_happened(log)
    assert changed == (("create", "Thing", "quick"), ("update", "Thing", "slow"))
    assert Outcome(1.0, "", operations, changed).changes == 2
    assert Outcome(1.0, "", {"same": 5, "read": 1}).changes == 0


def test_the_slowest_come_first_and_the_quick_not_at_all() -> None:
    assert slowest(EVENTS) == [{"name": "slow", "seconds": 7}]


def test_the_report_is_written_with_all_its_times(tmp_path: Path) -> None:
    report = Report("dev", ok=True, steps=[Step("up", 1.234, "x"), Step("destroy", 2.0)])
    found = json.loads(report.write(tmp_path).read_text())
    assert found["ok"] is True
    assert found["steps"][0] == {"name": "up", "seconds": 1.23, "note": "x"}
    assert found["seconds"] == 3.23
    assert found["drift_healed"] == []


def test_the_answer_is_shown_with_what_it_stands_on_and_where_it_came_from() -> None:
    console = Console(record=True, width=80, force_terminal=False)
    report = Report("dev", ok=True, question="How [much]?", answer="Ten.\nA month.")
    report.citations = [{"source": "a [1].pdf", "text": "It costs\nten."}] * 5
    report.share_link = "http://127.0.0.1:3000/chat/share?shareId=abc"
    report.show(console)
    shown = console.export_text()
    assert "Asked: How [much]?\nAnswered: Ten. A month.\n" in shown
    assert shown.count("Cited: a [1].pdf: It costs ten.\n") == 3
    assert "Through: http://127.0.0.1:3000/chat/share?shareId=abc\n" in shown


def test_a_lab_that_was_not_asked_shows_no_answer() -> None:
    console = Console(record=True, width=80, force_terminal=False)
    Report("dev").show(console)
    assert "Asked" not in console.export_text()


def test_what_the_program_says_is_shown_once() -> None:
    console = Console(record=True, width=120, force_terminal=False)
    progress = Progress(console)
    with progress.of("up"):
        for _ in range(2):
            progress.line(" +  pulumi:pulumi:Stack lab creating (3s) info: model m3e-base: serves")
    assert console.export_text().count("model m3e-base: serves") == 1
