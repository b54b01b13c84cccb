"""Which releases are taken, warned of and refused, and who may come to a FastGPT with a way in."""

from datetime import date, timedelta
from typing import Any

import pytest

from provisioning.problems import Problem
from provisioning.releases import STALE_DAYS, release_problems, verdict
from tests.unit.test_plan import planned, problems_of

LOOKED_AT = date(2026, 11, 25)


@pytest.mark.parametrize(
    ("part", "release", "word", "holes"),
    [
        ("fastgpt", "v4.8.8-fix2", "warned", {"CVE-2026-40351", "CVE-2026-26075"}),
        ("fastgpt", "v4.14.9.5", "refused", {"CVE-2026-44284", "CVE-2026-55418"}),
        ("fastgpt", "v4.16.0", "unknown", set()),
        ("fastgpt", "dev", "unknown", {"CVE-2026-40351", "CVE-2026-26075"}),
        ("xinference", "v2.12.0-cpu", "warned", {"GHSA-jw93-m5fq-h5vc"}),
        ("xinference", "2.6.1", "refused", None),
        ("mongo", "5.0.33", "warned", {"CVE-2026-11933"}),
        ("mongo", "5.0.34", "good", set()),
        ("mongo", "6.0.0", "unknown", set()),
        ("mysql", "8.4.7", "good", set()),
        ("pg", "0.8.2-pg15", "good", set()),
    ],
)
def test_a_release_is_judged(part: str, release: str, word: str, holes: set[str] | None) -> None:
    found = verdict(part, release)
    assert found.word == word
    assert holes is None or {hole.id for hole in found.holes} == holes


def test_unknown_is_refused_unless_accepted() -> None:
    (refused,) = release_problems([verdict("mongo", "6.0.0")], False, LOOKED_AT)
    assert not refused.warning
    assert "acceptUnknownVersions" in refused.right
    (warned,) = release_problems([verdict("mongo", "6.0.0")], True, LOOKED_AT)
    assert warned.warning


@pytest.mark.parametrize(("days", "said"), [(STALE_DAYS, 0), (STALE_DAYS + 1, 1)])
def test_an_old_list_is_said(days: int, said: int) -> None:
    today = LOOKED_AT + timedelta(days=days)
    assert len(list(release_problems([verdict("mongo", "5.0.34")], False, today))) == said
