"""Faults, and the tests that show what becomes of a lab that meets them.

`@pytest.mark.fault("apt locked")` names a row of tests/cases/faults.yaml; the room that the test is
in is its tier. Where FAULTS_LOG names a file, a run notes there what became of each such test, and
`python -m tests.faults [stage|server|all]` prints the table of all that was noted.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml

LOG = "FAULTS_LOG"
WRITE = "FAULTS_WRITE"
TESTS = Path(__file__).parent
LIST = TESTS / "cases" / "faults.yaml"
PAGE = TESTS.parent / "docs" / "trust.md"
TIERS = ("stage", "server")
HELD, BROKEN, SKIPPED, MISSING = "yes", "NO", "not run", "NO: no test ran"
_MARK = re.compile(r'pytest\.mark\.fault\("([^"]+)"\)')
_BEGIN, _END = "<!-- make faults -->\n\n", "\n<!-- end -->"


@dataclass(frozen=True)
class Fault:
    """`tiers`: the rooms with a test of it; `outcome`: `survived`, `told: ...` or `not survived:
    ...`."""

    name: str
    outcome: str
    tiers: tuple[str, ...]


def listed() -> dict[str, str]:
    """Fault to outcome, in the table's order."""
    return dict(yaml.safe_load(LIST.read_text()))


def marked() -> dict[str, set[str]]:
    """Fault to the tiers of the tests that are marked with it, read from their source."""
    found: dict[str, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text()
        for name in _MARK.findall(text):
            found.setdefault(name, set()).add(_tier(path.relative_to(TESTS).parts[0]))
    return found


def known() -> list[Fault]:
    tiers = marked()
    return [
        Fault(name, outcome, tuple(tier for tier in TIERS if tier in tiers.get(name, ())))
        for name, outcome in listed().items()
    ]


def _tier(room: str) -> str:
    return "server" if room == "server" else "stage"


# -- noting, in a run of pytest -------------------------------------------------------------------


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """So that the reports of the workers tell the one who starts them."""
    for item in items:
        faults = [mark.args[0] for mark in item.iter_markers("fault")]
        item.user_properties += [("fault", name) for name in faults]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    place = os.environ.get(LOG)
    if not place or "PYTEST_XDIST_WORKER" in os.environ:
        return
    as_told = report.passed or hasattr(report, "wasxfail")
    if report.when == "call" or not report.passed:
        said = HELD if as_told else SKIPPED if report.skipped else BROKEN
        tier = _tier(Path(report.nodeid.partition("::")[0]).parts[1])
        with Path(place).open("a") as log:
            for key, name in report.user_properties:
                if key == "fault":
                    log.write(json.dumps([name, tier, said]) + "\n")


# -- the table ------------------------------------------------------------------------------------


def judged(fault: Fault, tiers: Sequence[str], noted: Sequence[Sequence[str]]) -> str:
    """What a run over these tiers showed of a fault; `noted`: [fault, tier, what] each."""
    said = [what for name, tier, what in noted if name == fault.name and tier in tiers]
    wanted = set(tiers) & set(fault.tiers)
    if not wanted and fault.tiers:
        return SKIPPED
    ran = {tier for name, tier, _ in noted if name == fault.name}
    if not fault.tiers or wanted - ran:
        return MISSING
    return next(what for what in (BROKEN, HELD, SKIPPED) if what in said)


def table(verdicts: Mapping[Fault, str]) -> str:
    """As it is printed, and stands in docs/trust.md."""
    rows = [["", "fault", "tier", "outcome", "held"]]
    for number, (fault, held) in enumerate(verdicts.items(), start=1):
        rows.append([str(number), fault.name, ", ".join(fault.tiers), fault.outcome, held])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(map(str.ljust, row, widths)) + " |"  # type: ignore[arg-type]
        for row in rows
    ]
    ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], ruler, *lines[1:]]) + "\n"


def page_with(text: str, of_the_run: str) -> str:
    before, begin, rest = text.partition(_BEGIN)
    if not begin:
        return text
    _, end, after = rest.partition(_END)
    return f"{before}{begin}{of_the_run}{end}{after}"


def main(arguments: Sequence[str]) -> int:
    """Print the table of what was noted. 1 when a fault of these tiers did not hold."""
    tiers = (*TIERS,) if arguments[:1] in ([], ["all"]) else (*arguments[:1],)
    place = Path(os.environ.get(LOG) or os.devnull)
    noted = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
    judge = partial(judged, tiers=tiers, noted=noted)
    verdicts = {fault: judge(fault) for fault in known()}
    printed = table(verdicts)
    print(printed)
    wrong = [fault.name for fault, held in verdicts.items() if held in (BROKEN, MISSING)]
    if wrong:
        print(f"Did not hold: {'; '.join(wrong)}.")
    elif os.environ.get(WRITE):
        PAGE.write_text(page_with(PAGE.read_text(), printed))
        print(f"Written into {PAGE}.")
    elif page_with(text := PAGE.read_text(), printed) != text:
        print("docs/trust.md has another table; `FAULTS_WRITE=1 make faults` writes this one.")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
