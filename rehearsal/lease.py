"""`auto_release_time`: what the cloud accepts, and what the provider does with a change.

Source: docs/facts/alicloud.md 8, "Cost controls and errors".
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from rehearsal.refusals import Refusal

_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?Z")
_EARLIEST = timedelta(minutes=30)
_LATEST = timedelta(days=3 * 365)


def parse(text: str, now: datetime) -> datetime | None:
    """When the server goes, seconds dropped; None for "" (never).

    Raises:
        Refusal: not that form, not UTC, less than half an hour or more than three years ahead.
    """
    if not text:
        return None
    refusal = Refusal(
        400, "InvalidAutoReleaseTime.Malformed", "The specified AutoReleaseTime is malformed."
    )
    if not _FORM.fullmatch(text):
        raise refusal
    try:
        end = datetime.fromisoformat(text[:16]).replace(tzinfo=timezone.utc)
    except ValueError:
        raise refusal from None
    if not now + _EARLIEST <= end < now + _LATEST:
        raise refusal
    return end


def shown(end: datetime | None) -> str:
    """As the API reads it back: to the minute."""
    return end.strftime("%Y-%m-%dT%H:%MZ") if end else ""


def suppressed(old: str, new: str) -> bool:
    """Whether the provider takes `new` for no change of `old`.

    Its `HasPrefix(new, Trim(old, ":00Z"))` trims a set of characters, not a suffix, so a time that
    ends in a zero loses more than meant, and later times of the same hours count as equal.
    """
    return bool(old) and bool(new) and new.startswith(old.strip(":0Z"))
