"""What a rehearsal tells in the end: a table, and `report.json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

REPORT = "report.json"
_CITATIONS_SHOWN = 3
_PASSAGE = 300


@dataclass
class Step:
    """A finished step."""

    name: str
    seconds: float
    note: str = ""


@dataclass
class Report:
    """The whole rehearsal. None means: this lab has no such thing, or it was not reached."""

    stack: str
    ok: bool = False
    failed: str | None = None
    reason: str | None = None
    kept: bool = False
    resources: int = 0
    steps: list[Step] = field(default_factory=list)
    slowest: list[dict[str, Any]] = field(default_factory=list)
    second_up_changes: int | None = None
    drift_healed: list[str] = field(default_factory=list)
    chat: dict[str, Any] | None = None
    embedding: dict[str, Any] | None = None
    rerank: dict[str, Any] | None = None
    question: str | None = None
    answer: str | None = None
    citations: list[dict[str, Any]] | None = None
    share_link: str | None = None
    cost: float | None = None
    billable_after_destroy: list[dict[str, Any]] | None = None
    left_after_destroy: list[str] | None = None

    @property
    def seconds(self) -> float:
        """How long all steps took."""
        return sum(step.seconds for step in self.steps)

    def write(self, base: Path) -> Path:
        """Write `report.json` into `base`, and return where it is."""
        found = asdict(self)
        for step in found["steps"]:
            step["seconds"] = round(step["seconds"], 2)
        found["seconds"] = round(self.seconds, 2)
        place = base / REPORT
        place.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return place

    def show(self, console: Console) -> None:
        """Print the table of steps."""
        table = Table(title=f"Rehearsal of {self.stack}", title_justify="left")
        table.add_column("step")
        table.add_column("seconds", justify="right")
        table.add_column("what came of it")
        for step in self.steps:
            table.add_row(step.name, f"{step.seconds:.1f}", step.note)
        if self.failed:
            table.add_row(f"[red]{self.failed}[/red]", "", "[red]failed[/red]")
        table.add_section()
        table.add_row("all", f"{self.seconds:.1f}", "")
        console.print(table)
        if self.slowest:
            names = ", ".join(f"{item['name']} {item['seconds']} s" for item in self.slowest)
            console.print(f"Slowest of the first up: {names}", style="dim")
        if self.answer is not None:
            self._show_answer(console)

    def _show_answer(self, console: Console) -> None:
        console.print()
        for what, text in (("Asked", self.question), ("Answered", self.answer)):
            console.print(f"[bold]{what}:[/bold] {escape(_flat(text or ''))}", soft_wrap=True)
        for citation in (self.citations or [])[:_CITATIONS_SHOWN]:
            source = escape(str(citation["source"]))
            passage = escape(_flat(str(citation["text"]))[:_PASSAGE])
            console.print(f"[bold]Cited:[/bold] {source}: {passage}", soft_wrap=True)
        console.print(f"[bold]Through:[/bold] {self.share_link}", soft_wrap=True)


def _flat(text: str) -> str:
    return " ".join(text.split())


def slowest(events: Sequence[dict[str, Any]], count: int = 5) -> list[dict[str, Any]]:
    """The resources that took longest, from an event log: `{name, seconds}`, whole seconds."""
    started: dict[str, int] = {}
    took: dict[str, int] = {}
    for event in events:
        if "resourcePreEvent" in event:
            started[event["resourcePreEvent"]["metadata"]["urn"]] = event["timestamp"]
        if "resOutputsEvent" in event:
            urn = event["resOutputsEvent"]["metadata"]["urn"]
            took[urn] = event["timestamp"] - started.get(urn, event["timestamp"])
    longest = sorted(took.items(), key=lambda item: item[1], reverse=True)[:count]
    return [
        {"name": urn.rsplit("::", 1)[-1], "seconds": seconds} for urn, seconds in longest if seconds
    ]
