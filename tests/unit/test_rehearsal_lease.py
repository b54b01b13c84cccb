"""auto_release_time as the cloud and its provider treat it (docs/facts/alicloud.md 8)."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from rehearsal import lease
from rehearsal.refusals import Refusal

NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T12:30:00Z",  # exactly half an hour fails in flight
        "2026-11-22T11:00:00Z",
        "2029-11-30T12:00:00Z",
        "2026-11-23 12:00:00",
        "2026-11-23T12:00:00+08:00",
        "2026-13-23T12:00:00Z",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        lease.parse(text, NOW)
    assert refused.value.code == "InvalidAutoReleaseTime.Malformed"


def test_accepted_to_the_minute_and_shown_without_seconds() -> None:
    end = lease.parse("2026-11-22T12:31:59Z", NOW)
    assert lease.shown(end) == "2026-11-22T12:31Z"
    assert lease.parse("", NOW) is None
    assert lease.shown(None) == ""


def test_the_providers_suppression_trims_characters_not_a_suffix() -> None:
    assert lease.suppressed("2026-11-22T20:37Z", "2026-11-22T20:37:00Z")
    assert not lease.suppressed("2026-11-22T20:37Z", "2026-11-22T21:37:00Z")
    # The bug: "20:00" loses its zeros, and every later time of those hours counts as equal.
    assert lease.suppressed("2026-11-22T20:00Z", "2026-11-22T23:37:00Z")
    assert not lease.suppressed("", "2026-11-22T20:37:00Z")
