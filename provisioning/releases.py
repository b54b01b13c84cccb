"""Which releases of the lab's parts are good, have known holes, or are refused: `releases.json`.

What is known comes from `docs/facts/vulnerabilities.md`, whose day is `looked_at`. Tried are the
lines of releases that the lab was held against; of any other nobody knows how it answers.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from provisioning.images import Images
from provisioning.problems import Problem
from provisioning.settings import Settings
from provisioning.tables import table

STALE_DAYS = 90
"""So long the table is trusted without another look."""

OPEN_DOOR = "CVE-2026-40351"
"""FastGPT's hole that lets in whoever reaches its port (`docs/facts/vulnerabilities.md`)."""

_Number = tuple[int, ...]


@dataclass(frozen=True)
class Hole:
    """A known hole: from which release on, and below which one; "" for the first, and for none.

    `lets`: whom it lets do what. `limit`: what keeps that small in this lab. Refused without one.
    """

    id: str
    below: str
    lets: str
    limit: str = ""
    since: str = ""
    refused: bool = False

    def is_in(self, number: _Number) -> bool:
        """Whether the release has it."""
        return _number(self.since) <= number and (not self.below or number < _number(self.below))


@dataclass(frozen=True)
class Part:
    """What is known of one part: the lines that were tried, and the holes."""

    tried: tuple[str, ...]
    holes: tuple[Hole, ...]


@dataclass(frozen=True)
class _Table:
    looked_at: date
    parts: Mapping[str, Part]


_TABLE = table("releases.json", _Table)


@dataclass(frozen=True)
class Verdict:
    """What is known of one part's release.

    Attributes:
        part: the service.
        release: `5.0.18`.
        known: whether its line was tried.
        holes: those it has.
    """

    part: str
    release: str
    known: bool
    holes: tuple[Hole, ...]

    @property
    def word(self) -> str:
        """`refused`, `unknown`, `warned` or `good`."""
        if any(hole.refused for hole in self.holes):
            return "refused"
        if not self.known:
            return "unknown"
        return "warned" if self.holes else "good"

    def __str__(self) -> str:
        holes = "; ".join(f"{hole.id} lets {hole.lets}" for hole in self.holes)
        return f"{self.word}: {holes}" if holes else self.word


def verdict(part: str, release: str) -> Verdict:
    """What is known of a release, `4.8.8-fix2` or an image's tag, `v2.12.0-cpu`."""
    known, number = _TABLE.parts[part], _number(release)
    tried = any(number[: len(_number(line))] == _number(line) for line in known.tried)
    holes = tuple(hole for hole in known.holes if hole.is_in(number))
    return Verdict(part, release.removeprefix("v"), tried, holes)


def verdicts(chosen: Images, uses_xinference: bool) -> list[Verdict]:
    """One for each image's tag; none for a Xinference that is not there."""
    parts = sorted(chosen.keys() - ({"xinference"} if not uses_xinference else set()))
    return [verdict(part, chosen[part].tag) for part in parts]


def release_problems(
    found: Iterable[Verdict], accept_unknown: bool, today: date
) -> Iterator[Problem]:
    """What is refused, and what has holes; a table too old is said."""
    for each in found:
        yield from _problems(each, accept_unknown)
    if (age := (today - _TABLE.looked_at).days) > STALE_DAYS:
        wrong = f"the list of known holes was last looked at {age} days ago"
        yield Problem("images", wrong, "take a newer release of this program", warning=True)


def door_problems(found: Iterable[Verdict], settings: Settings) -> Iterator[Problem]:
    """Whether visitors come to a FastGPT that lets whoever reaches it log in as root."""
    fastgpt = next(each for each in found if each.part == "fastgpt")
    if all(hole.id != OPEN_DOOR for hole in fastgpt.holes):
        return
    root = f"can log in as root: FastGPT {fastgpt.release} has {OPEN_DOOR}"
    if settings.public_chat and settings.let_anybody_log_in_as_root:
        right = "set publicChat: false, and name your visitors' networks in visitorCidrs"
        yield Problem("letAnybodyLogInAsRoot", f"everybody {root}", right, True, danger=True)
    elif settings.public_chat:
        right = "name your visitors' networks in visitorCidrs: port 3000 opens to them alone"
        yield Problem("publicChat", f"everybody {root}", right)
    if settings.visitor_cidrs:
        right = "name networks that you trust so far"
        yield Problem("visitorCidrs", f"whoever is in them {root}", right, warning=True)


def _problems(each: Verdict, accept_unknown: bool) -> Iterator[Problem]:
    path = "xinferenceVersion" if each.part == "xinference" else f"images.{each.part}"
    name = f"{each.part} {each.release}"
    if not each.known:
        tried = ", ".join(_TABLE.parts[each.part].tried)
        right = f"use one of {tried}, or set acceptUnknownVersions: true"
        wrong = f"the lab was never tried with {name}"
        yield Problem(path, wrong, right, warning=accept_unknown)
    for hole in each.holes:
        wrong = f"{hole.id} of {name} lets {hole.lets}"
        if hole.refused:
            yield Problem(path, wrong, _newer(hole))
    limited = [hole for hole in each.holes if not hole.refused]
    if limited:
        wrong = "; ".join(f"{hole.id} lets {hole.lets}" for hole in limited)
        right = "; ".join(dict.fromkeys(hole.limit for hole in limited))
        yield Problem(path, f"{name} has known holes: {wrong}", f"here {right}", warning=True)


def _newer(hole: Hole) -> str:
    return f"use {hole.below} or newer" if hole.below else "there is no release without it"


def _number(release: str) -> _Number:
    found = re.match(r"v?(\d+(?:\.\d+)*)", release)
    return tuple(map(int, found[1].split("."))) if found else ()
