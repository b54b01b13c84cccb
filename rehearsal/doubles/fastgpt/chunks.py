"""How a text is cut into chunks: at headings, then at the strongest separator that helps.

Lengths are characters, as in the real one; neighbours overlap by a fifth (facts/fastgpt.md §4).
"""

from __future__ import annotations

import itertools
import re

OVERLAP = 0.2
_HEADING = re.compile(r"^(#{1,4})\s+\S.*$", re.M)
_SEPARATORS = (r"\n{2,}", r"\n", r"[。！？]|[.!?](?=\s)", r"[；;]", r"[，,]\s*")


def split(text: str, size: int, separator: str = "") -> list[str]:
    """The chunks of `text`, about `size` characters each; `separator` cuts first."""
    parts = text.split(separator) if separator else [text]
    found = [
        chunk
        for part in parts
        for titles, section in _sections(part)
        for chunk in _section_chunks(titles, section, size)
    ]
    return [chunk for chunk in found if chunk]


def _sections(text: str) -> list[tuple[str, str]]:
    """Each heading's own text, with the headings above it."""
    places = [0, *(found.start() for found in _HEADING.finditer(text)), len(text)]
    titles: dict[int, str] = {}
    sections = []
    for start, end in itertools.pairwise(places):
        body = text[start:end].strip()
        heading = _HEADING.match(body)
        if heading:
            level = len(heading.group(1))
            titles = {depth: title for depth, title in titles.items() if depth < level}
            above = "".join(title + "\n" for title in titles.values())
            titles[level] = heading.group(0)
            if body != heading.group(0):
                sections.append((above, body))
        elif body:
            sections.append(("", body))
    return sections


def _section_chunks(titles: str, text: str, size: int) -> list[str]:
    if len(text) <= size * 1.2:
        return [(titles + text).strip()]
    pieces = _pieces(text, size, 0)
    chunks: list[list[str]] = []
    current: list[str] = []
    for piece in pieces:
        if current and sum(map(len, current)) + len(piece) > size:
            chunks.append(current)
            current = _tail(current, int(size * OVERLAP))
        current = [*current, piece]
    return [(titles + "".join(chunk)).strip() for chunk in [*chunks, current]]


def _pieces(text: str, size: int, step: int) -> list[str]:
    """`text` in pieces no longer than a fifth of a chunk where its separators allow that."""
    longest = max(1, int(size * OVERLAP))
    if len(text) <= longest:
        return [text]
    if step == len(_SEPARATORS):
        if len(text) <= size:
            return [text]
        return [text[start : start + longest] for start in range(0, len(text), longest)]
    ends = [found.end() for found in re.finditer(_SEPARATORS[step], text)]
    places = [0, *ends, len(text)]
    return [
        smaller
        for start, end in itertools.pairwise(places)
        if end > start
        for smaller in _pieces(text[start:end], size, step + 1)
    ]


def _tail(pieces: list[str], length: int) -> list[str]:
    kept: list[str] = []
    for piece in reversed(pieces):
        if sum(map(len, kept)) + len(piece) > length:
            break
        kept.insert(0, piece)
    return kept
