"""Which releases of the lab's parts are good, have known holes, or are refused: `releases.json`.

What is known comes from `docs/facts/vulnerabilities.md`. Tried are the lines of releases that the
lab was held against; of any other nobody knows how it answers.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from provisioning.images import Images
from provisioning.problems import Problem
from provisioning.settings import Settings
from provisioning.tables import table

STALE_DAYS = 90
"""So long the table is trusted without another look."""

# FastGPT's hole that lets in whoever reaches its port.
_OPEN_DOOR = "CVE-2026-40351"


@dataclass(frozen=True)
class Hole:
    """A known hole of the releases from `since` on and below `below`; "" for the first, for none.

    `lets`: whom it lets do what. `limit`: what keeps that small in this lab; refused without.
    """

    id: str
    below: str
    lets: str
    limit: str = ""
    since: str = ""


@dataclass(frozen=True)
class _Table:
    looked_at: date
    tried: Mapping[str, tuple[str, ...]]
    holes: Mapping[str, tuple[Hole, ...]]


_TABLE = table("releases.json", _Table)


@dataclass(frozen=True)
class Verdict:
    """What is known of a part's release (`mongo`, `5.0.18`): if its line was tried, its holes."""

    part: str
    release: str
    known: bool
    holes: tuple[Hole, ...]

    @property
    def word(self) -> str:
        """`refused`, `unknown`, `warned` or `good`."""
        if any(not hole.limit for hole in self.holes):
            return "refused"
        return ("warned" if self.holes else "good") if self.known else "unknown"


def known_holes(part: str) -> tuple[Hole, ...]:
    """Those of all its releases."""
    return _TABLE.holes[part]


def verdict(part: str, release: str) -> Verdict:
    """What is known of a release, `4.8.8-fix2` or an image's tag, `v2.12.0-cpu`."""
    numbers = number(release)
    holes = (
        hole
        for hole in _TABLE.holes[part]
        if number(hole.since) <= numbers and (not hole.below or numbers < number(hole.below))
    )
    tried = any(numbers[: len(line)] == line for line in map(number, _TABLE.tried[part]))
    return Verdict(part, release.removeprefix("v"), tried, tuple(holes))


def verdicts(chosen: Images) -> list[Verdict]:
    """One for each image's tag."""
    return [verdict(part, chosen[part].tag) for part in sorted(chosen)]


def release_problems(
    found: Iterable[Verdict], settings: Settings, today: date
) -> Iterator[Problem]:
    """What is refused, what has holes, and who may come to them; a table too old is said."""
    for each in found:
        path = "xinferenceVersion" if each.part == "xinference" else f"images.{each.part}"
        yield from _problems(each, path, settings.accept_unknown_versions)
        if each.part == "fastgpt" and any(hole.id == _OPEN_DOOR for hole in each.holes):
            yield from _door_problems(each.release, settings)
    if (age := (today - _TABLE.looked_at).days) > STALE_DAYS:
        wrong = f"the list of known holes was last looked at {age} days ago"
        yield Problem("images", wrong, "take a newer release of this program", warning=True)


def _problems(each: Verdict, path: str, accept_unknown: bool) -> Iterator[Problem]:
    name = f"{each.part} {each.release}"
    if not each.known:
        tried = " or ".join(_TABLE.tried[each.part])
        right = f"use a release of {tried}, or set acceptUnknownVersions: true"
        yield Problem(path, f"the lab was never tried with {name}", right, accept_unknown)
    for hole in (hole for hole in each.holes if not hole.limit):
        yield Problem(path, f"{name}: {hole.id} lets {hole.lets}", f"use {hole.below} or newer")
    limited = [hole for hole in each.holes if hole.limit]
    lets: dict[str, list[str]] = defaultdict(list)
    for hole in limited:
        lets[hole.lets].append(hole.id)
    wrong = "; ".join(
        f"{', '.join(ids)} {'let' if ids[1:] else 'lets'} {what}" for what, ids in lets.items()
    )
    right = "; ".join(dict.fromkeys(hole.limit for hole in limited))
    if limited:
        right = f"here {right}{_without(each.part, limited)}"
        yield Problem(path, f"{name} has known holes: {wrong}", right, warning=True)


def _without(part: str, holes: Iterable[Hole]) -> str:
    """The release that has none of them, if the lab was tried with it."""
    fixed = max((hole.below for hole in holes), key=lambda below: (not below, number(below)))
    tried = fixed and verdict(part, fixed).known
    return f". In a new lab, {part} {fixed} has none of them: set images.{part}" if tried else ""


def _door_problems(release: str, settings: Settings) -> Iterator[Problem]:
    root = f"can log in as root: FastGPT {release} has {_OPEN_DOOR}"
    right = "name your visitors' networks in visitorCidrs: the chat pages open to them alone"
    if settings.public_chat and settings.let_anybody_log_in_as_root:
        yield Problem("letAnybodyLogInAsRoot", f"everybody {root}", right, True, danger=True)
    elif settings.public_chat:
        yield Problem("publicChat", f"everybody {root}", right)
    if settings.visitor_cidrs:
        right = "name networks that you trust so far"
        yield Problem("visitorCidrs", f"whoever is in them {root}", right, warning=True)


def number(release: str) -> tuple[int, ...]:
    """A release's numbers, which compare, MinIO's being a date; () where it has none."""
    found = re.match(r"(?:v|RELEASE\.)?(\d+(?:[.-]\d+)*)", release)
    return tuple(map(int, re.split("[.-]", found[1]))) if found else ()
