"""Durations in Go's form, as Docker's API and its provider have them."""

from __future__ import annotations

import re

SECOND = 1_000_000_000
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def parse(text: str) -> int:
    """Nanoseconds of `1m30s`.

    Raises:
        ValueError: with Go's own text.
    """
    if text == "0":
        return 0
    matches = list(_PART.finditer(text))
    if not matches or "".join(match[0] for match in matches) != text:
        bare = re.fullmatch(r"[\d.]+", text)
        why = "missing unit in duration" if bare else "invalid duration"
        raise ValueError(f'time: {why} "{text}"')
    return sum(round(float(match[1]) * _UNITS[match[2]]) for match in matches)


def canonical(nanoseconds: int) -> str:
    """Go's `Duration.String()`: `1m0s`, never `60s`."""
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < SECOND:
        for unit in ("ms", "us", "ns"):
            if nanoseconds >= _UNITS[unit]:
                return f"{_number(nanoseconds / _UNITS[unit])}{'µs' if unit == 'us' else unit}"
    hours, rest = divmod(nanoseconds, _UNITS["h"])
    minutes, rest = divmod(rest, _UNITS["m"])
    text = f"{_number(rest / SECOND)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")
