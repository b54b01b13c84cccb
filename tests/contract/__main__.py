"""`python -m tests.contract`: the table of cases, double against real.

A row is a case: the first line of its test's docstring. The exit code is not 0 when a case fails
for one of the two, or when their answers differ.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rehearsal.real_oneapi.build import UnavailableError, binary

HERE = Path(__file__).parent
SUBJECTS = ("double", "real")


@dataclass
class Case:
    """One row: the outcome for each subject, and the fact that excuses a difference."""

    service: str
    title: str
    known: str = ""
    outcomes: dict[str, str] = field(default_factory=dict)


class Collector:
    """A pytest plugin that fills the rows."""

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}
        self._places: dict[str, tuple[str, str]] = {}
        self.reasons: dict[str, set[str]] = defaultdict(set)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Name the rows, in the order of the files."""
        for item in sorted(items, key=lambda each: (str(each.path), _line(each))):
            subject, row = _split(item)
            self._places[item.nodeid] = (row, subject)
            if row not in self.cases:
                marker = item.get_closest_marker("known_difference")
                known = str(marker.args[0]) if marker else ""
                self.cases[row] = Case(_service(item), _title(item), known)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome; a failed setup or teardown counts as well."""
        row, subject = self._places[report.nodeid]
        outcomes = self.cases[row].outcomes
        if report.failed:
            outcomes[subject] = "[red]FAIL[/red]"
        elif report.skipped:
            outcomes[subject] = "skipped"
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.reasons[subject].add(str(reason).removeprefix("Skipped: "))
        elif report.when == "call":
            outcomes.setdefault(subject, "[green]as told[/green]")


def main(arguments: list[str]) -> int:
    """Run the cases, print the table, return pytest's exit code."""
    console = Console()
    try:
        binary()
    except UnavailableError as error:
        console.print(f"[yellow]Only the double is tried: {error}[/yellow]")
    collector = Collector()
    code = pytest.main([str(HERE), "-q", "--no-header", *arguments], plugins=[collector])
    console.print(_table(collector))
    for subject, reasons in collector.reasons.items():
        for reason in sorted(reasons):
            console.print(f"{subject} skipped: {reason}")
    return int(code)


def _table(collector: Collector) -> Table:
    table = Table(title="Contracts: double and real", show_lines=False)
    for heading in ("service", "case", *SUBJECTS, "equal"):
        table.add_column(heading, overflow="fold")
    for case in collector.cases.values():
        shown = [case.outcomes.get(subject, "-") for subject in SUBJECTS]
        if case.outcomes:
            table.add_row(case.service, escape(case.title), *shown, _equal(case))
    return table


def _equal(case: Case) -> str:
    if case.known:
        return f"known difference: {escape(case.known)}"
    told = [case.outcomes.get(subject, "") for subject in SUBJECTS]
    if all("as told" in outcome for outcome in told):
        return "[green]yes[/green]"
    return "[red]NO[/red]" if any("FAIL" in outcome for outcome in told) else "-"


def _split(item: pytest.Item) -> tuple[str, str]:
    """The item's subject, and its name without it. A case without subjects is the double's."""
    parameters = getattr(item, "callspec", None)
    subject = parameters.params.get("subject") if parameters else None
    if subject not in SUBJECTS:
        return "double", item.nodeid
    return str(subject), item.nodeid.replace(f"[{subject}", "[")


def _service(item: pytest.Item) -> str:
    folder = item.path.parent
    return item.path.stem.removeprefix("test_") if folder == HERE else folder.name


def _title(item: pytest.Item) -> str:
    function = getattr(item, "function", None)
    told = (getattr(function, "__doc__", "") or item.name).strip().splitlines()[0]
    parameters = item.name.partition("[")[2].rstrip("]")
    rest = [part for part in parameters.split("-") if part not in SUBJECTS]
    return f"{told} [{'-'.join(rest)}]" if any(rest) else told


def _line(item: pytest.Item) -> int:
    return item.location[1] or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
