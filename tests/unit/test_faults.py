"""The table of faults: every row has a test, and docs/trust.md has every row."""

import pytest

from tests import faults
from tests.faults import BROKEN, HELD, MISSING, SKIPPED, Fault

ROWS = faults.known()
BOTH = Fault("both", "survived", ("stage", "server"))


def test_every_fault_has_a_test_and_every_mark_a_row() -> None:
    assert faults.marked().keys() == faults.listed().keys()


@pytest.mark.parametrize("fault", ROWS, ids=[fault.name for fault in ROWS])
def test_an_outcome_is_one_of_three(fault: Fault) -> None:
    assert fault.outcome == "survived" or fault.outcome.startswith(("told: ", "not survived: "))


def test_the_page_has_the_rows_as_printed() -> None:
    """What held is told by the run that wrote the page."""
    page = faults.PAGE.read_text()
    printed = faults.table(dict.fromkeys(ROWS, HELD))
    assert _rows(page) == _rows(printed), "FAULTS_WRITE=1 make faults"
    assert _rows(faults.page_with("", printed)) == []
    assert _rows(faults.page_with(page, printed)) == _rows(printed)


def _rows(text: str) -> list[list[str]]:
    """The cells of each line of a table, but the last one."""
    lines = (line for line in text.splitlines() if line.startswith("| "))
    return [[cell.strip() for cell in line.split("|")[1:-2]] for line in lines]


@pytest.mark.parametrize(
    ("tiers", "noted", "held"),
    [
        (("stage", "server"), [("stage", HELD), ("server", HELD)], HELD),
        (("stage", "server"), [("stage", HELD), ("server", SKIPPED)], HELD),
        (("stage", "server"), [("stage", HELD), ("stage", BROKEN), ("server", HELD)], BROKEN),
        (("stage", "server"), [("stage", HELD)], MISSING),
        (("stage",), [("stage", HELD), ("server", BROKEN)], HELD),
        (("server",), [("server", SKIPPED)], SKIPPED),
    ],
)
def test_a_fault_held_when_no_test_of_it_failed_and_one_ran(
    tiers: tuple[str, ...], noted: list[tuple[str, str]], held: str
) -> None:
    told = [["both", tier, what] for tier, what in noted] + [["other", "stage", BROKEN]]
    assert faults.judged(BOTH, tiers, told) == held
    on_the_stage = Fault("here", "survived", ("stage",))
    assert faults.judged(on_the_stage, ("server",), told) == SKIPPED
