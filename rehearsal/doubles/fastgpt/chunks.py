"""How a text is cut into chunks, of up to four times the size (docs/facts/measured.md §1 F1).

A piece is cut further only where it is longer than its rule lets it grow; a heading is repeated
before all that stands under it, and comes on top.
"""

import re
from itertools import pairwise
from typing import NamedTuple

# Of the size: what chunks share; when one is filled up no more; what goes to the one before.
_OVERLAP, _ENOUGH, _LITTLE = 0.2, 0.7, 0.4
# Of the size: what no rule can cut stays whole below this; the rows of a table have this room.
_WHOLE, _ROOM_FOR_ROWS = 3, 1.2
# Characters that a part of its own needs to become a chunk.
_STANDS_ALONE = 30
_FENCE = re.compile(r"```.*?```|~~~.*?~~~", re.S)
# Stands for a line end inside a code block while a text is cut, and counts with its own length.
_FENCED_LINE_END = "CODE_BLOCK_LINE_MARKER"
_BLANK_LINES = re.compile(r"(\r?\n|\r){3,}")
_TABLE_RULE = re.compile(r"(\|[\s:]*-+[\s:]*)+\|")


class _Rule(NamedTuple):
    """Where to cut, and how many sizes long a piece may be before the next rule cuts it."""

    found: re.Pattern[str]
    most: float
    begins: bool = False  # rather than ends a part; such a part is not joined with the next
    titles: bool = False  # a heading, which stands before each of the chunks under it
    overlaps: bool = False  # the next chunk repeats the last words

    def parts(self, text: str) -> list[tuple[str, str]]:
        """Title and text of each part; one without text is no part, its title neither."""
        found = self.found.finditer(text)
        cuts = [match.start() if self.begins else match.end() for match in found]
        pieces = (text[begin:end] for begin, end in pairwise([0, *cuts, len(text)]))
        titled = (self._titled(piece) if self.titles else ("", piece) for piece in pieces)
        return [(title, body) for title, body in titled if body.strip()]

    def _titled(self, piece: str) -> tuple[str, str]:
        # The line end after a heading gets lost: a heading without a blank line after it takes the
        # first line of its text into the title.
        glued = self.found.sub(r"\1", piece, count=1)
        match = self.found.search(glued)
        title = match.group(0) if match else ""
        return title, glued.replace(title, "", 1) if title else glued


_RULES = (
    *(_Rule(re.compile(rf"^(#{{{n}}}\s[^\n]+)\n", re.M), 1.2, True, True) for n in range(1, 5)),
    _Rule(re.compile(r"\n[`~]"), 4, begins=True),
    _Rule(re.compile(r"\n(?!\s*[*\-|>0-9])"), 2),
    _Rule(re.compile(r"\n"), 1.2),
    _Rule(re.compile(r"。|[a-zA-Z]\.\s"), 1.2, overlaps=True),
    _Rule(re.compile(r"！|!\s"), 1.2, overlaps=True),
    _Rule(re.compile(r"？|\?\s"), 1.4, overlaps=True),
    _Rule(re.compile(r"；|;\s"), 1.6, overlaps=True),
    _Rule(re.compile(r"，|,\s"), 2, overlaps=True),
)


def split(text: str, size: int) -> list[str]:
    lines = [line.strip() for line in text.split("\n")]
    ruled = len(lines) > 1 and _TABLE_RULE.fullmatch(lines[1])
    if ruled and all(row[0] == row[-1] == "|" for row in lines if row):
        return _table_chunks(text, size)
    fenced = _FENCE.sub(lambda code: code[0].replace("\n", _FENCED_LINE_END), text)
    cut = _cut(_BLANK_LINES.sub("\n\n\n", fenced), size, 0, "")
    return [chunk.replace(_FENCED_LINE_END, "\n") for chunk in cut]


def _cut(text: str, size: int, step: int, title: str) -> list[str]:
    # By one rule after the other, each only what the rule before left too long.
    if step == len(_RULES):
        starts = range(0, len(text), size - round(size * _OVERLAP))
        slices = [title + text[start : start + size] for start in starts]
        return [text] if len(text) < size * _WHOLE else slices
    rule = _RULES[step]
    parts = rule.parts(text)
    most = size * (rule.most if len(parts) > 1 else 1)
    full = min(size, _STANDS_ALONE + 1) if rule.begins else size
    chunks: list[str] = []
    open_ = ""
    for heading, part in parts:
        titles = title + heading
        if len(open_ + part) > most and len(open_) > size * _ENOUGH:
            chunks.append(titles + open_)
            open_ = _tail(open_, size, step)
        if len(open_ + part) > most:
            inner = _cut(open_ + part, size, step + 1, titles)
            keep = rule.begins or len(inner[-1]) >= size * _ENOUGH
            chunks += inner if keep else inner[:-1]
            open_ = _tail("".join(inner[-1:]), size, step) if keep else inner[-1]
            continue
        open_ += part
        if len(open_) >= full:
            chunks.append(titles + open_)
            open_ = _tail(open_, size, step)
    # What is left over is a chunk of its own, or a little more of the last one.
    if not chunks:
        return [open_] if open_ else []
    if chunks[-1].endswith(open_):
        return chunks
    if len(open_) < size * _LITTLE:
        return [*chunks[:-1], chunks[-1] + open_]
    return [*chunks, title + open_]


def _tail(text: str, size: int, step: int) -> str:
    """The last sentences of `text`, with which the next chunk begins."""
    if step == len(_RULES) or not _RULES[step].overlaps:
        return ""
    tail = ""
    for _, part in reversed(_RULES[step].parts(text)):
        longer = part + tail
        if len(longer) > size * _LITTLE:
            return _tail(longer, size, step + 1) or tail
        if len(longer) > round(size * _OVERLAP):
            return longer
        tail = longer
    return tail


def _table_chunks(text: str, size: int) -> list[str]:
    """The rows of a table, its head before each chunk of them; a single row is never cut."""
    head, _, *rows = text.split("\n")
    top = f"{head}\n| {' | '.join(['---'] * max(1, head.count('|') - 1))} |\n"
    chunks = [top]
    for row in rows:
        if len(chunks[-1]) + len(row) > size * _ROOM_FOR_ROWS:
            chunks.append(top)
        chunks[-1] += row + "\n"
    return chunks
