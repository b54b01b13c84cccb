"""`auto_release_time`: what the cloud accepts.

Source: docs/facts/alicloud.md 8, "Cost controls and errors".
"""

import re
from datetime import datetime, timedelta, timezone

from rehearsal.cloud.refusals import refusal

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
    malformed = refusal("InvalidAutoReleaseTime.Malformed")
    if not _FORM.fullmatch(text):
        raise malformed
    try:
        end = datetime.fromisoformat(text[:16]).replace(tzinfo=timezone.utc)
    except ValueError:
        raise malformed from None
    if not now + _EARLIEST <= end < now + _LATEST:
        raise malformed
    return end
