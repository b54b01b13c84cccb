"""How a text is cut into chunks (docs/facts/measured.md §1 F1).

The size asked for is a target. A piece is cut further only where it is longer than its rule lets it
grow, so chunks come out at up to four times the size; a heading is repeated before all that stands
under it, and comes on top. Lengths are UTF-16 units, as JavaScript counts them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

SHEET_SIGN = "-----CUSTOM_SPLIT_SIGN-----"
OVERLAP = 0.2
_ENOUGH = 0.7
"""Of the size: a chunk this long is not filled up with what follows."""
_LITTLE = 0.4
"""Of the size: less than this at the end goes to the chunk before; an overlap is no longer."""
_WHOLE = 3
"""Of the size: what no rule can cut stays whole below this."""
_STANDS_ALONE = 30
"""Characters that a part of its own needs to become a chunk."""
_ROOM_FOR_ROWS = 1.2
_FENCE = re.compile(r"```.*?```|~~~.*?~~~", re.S)
_FENCED_LINE_END = "CODE_BLOCK_LINE_MARKER"
"""Stands for a line end inside a code block while a text is cut, and counts with its own length."""
_BLANK_LINES = re.compile(r"(\r?\n|\r){3,}")
_TABLE_RULE = re.compile(r"(\|[\s:]*-+[\s:]*)+\|")


class _Place(Enum):
    """What becomes of the text that a rule finds."""

    GONE = "a separator of the user's: on neither side"
    TITLE = "a heading: begins a part, and stands before each of its chunks"
    BEGINS = "the beginning of a part of its own"
    ENDS = "the end of a part"
    SENTENCE = "the end of a part whose last words the next chunk repeats"


@dataclass(frozen=True)
class _Rule:
    """Where to cut, and how many sizes long a piece may be before the next rule cuts it."""

    found: re.Pattern[str]
    most: float
    place: _Place

    @property
    def alone(self) -> bool:
        """Whether its parts are not joined with their neighbours."""
        return self.place in (_Place.TITLE, _Place.BEGINS)

    def parts(self, text: str) -> list[tuple[str, str]]:
        """Title and text of each part; one without text is no part, its title neither."""
        pieces = [piece for piece in self._pieces(text) if piece.strip()]
        if self.place is not _Place.TITLE:
            return [("", piece) for piece in pieces]
        titled = [self._titled(piece) for piece in pieces]
        return [(title, body) for title, body in titled if body.strip()]

    def _pieces(self, text: str) -> Iterator[str]:
        begin = 0
        for match in self.found.finditer(text):
            if self.place is _Place.GONE:
                yield text[begin : match.start()]
                begin = match.end()
            else:
                cut = match.start() if self.alone else match.end()
                yield text[begin:cut]
                begin = cut
        yield text[begin:]

    def _titled(self, piece: str) -> tuple[str, str]:
        # The line end after a heading gets lost: a heading without a blank line after it takes the
        # first line of its text into the title.
        glued = self.found.sub(r"\1", piece, count=1)
        match = self.found.search(glued)
        title = match.group(0) if match else ""
        return title, glued.replace(title, "", 1) if title else glued


_RULES = (
    *(_Rule(re.compile(rf"^(#{{{n}}}\s[^\n]+)\n", re.M), 1.2, _Place.TITLE) for n in range(1, 5)),
    _Rule(re.compile(r"\n[`~]"), 4, _Place.BEGINS),
    _Rule(re.compile(r"\n(?!\s*[*\-|>0-9])"), 2, _Place.ENDS),
    _Rule(re.compile(r"\n"), 1.2, _Place.ENDS),
    _Rule(re.compile(r"。|[a-zA-Z]\.\s"), 1.2, _Place.SENTENCE),
    _Rule(re.compile(r"！|!\s"), 1.2, _Place.SENTENCE),
    _Rule(re.compile(r"？|\?\s"), 1.4, _Place.SENTENCE),
    _Rule(re.compile(r"；|;\s"), 1.6, _Place.SENTENCE),
    _Rule(re.compile(r"，|,\s"), 2, _Place.SENTENCE),
)


def split(text: str, size: int, separator: str = "", overlap: float = OVERLAP) -> list[str]:
    """The chunks of `text`, aimed at `size` characters each; `separator` cuts first.

    Raises:
        IndexError: a long part that holds nothing but headings, which the real one dies of too.
    """
    units = _units(text)
    # A workbook is cut once for each of its sheets, but the whole of it each time.
    return [
        _text(chunk)
        for sheet in units.split(SHEET_SIGN)
        for chunk in (
            _table_chunks(units, size)
            if _is_table(sheet)
            else _Splitter(size, separator, overlap).chunks(units)
        )
    ]


def length(text: str) -> int:
    """As many as JavaScript counts: a character outside the basic plane is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


@lru_cache(maxsize=1)
def _units(text: str) -> str:
    """`text` with one character for each UTF-16 unit."""
    return "".join(map(chr, memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")))


def _text(units: str) -> str:
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _Splitter:
    """Cuts by one rule after the other, each only what the rule before left too long."""

    def __init__(self, size: int, separator: str, overlap: float) -> None:
        self._size = size
        self._overlap = int(size * overlap + 0.5)
        own = [_Rule(re.compile(re.escape(separator)), 1.4, _Place.GONE)] if separator else []
        self._rules = (*own, *_RULES)

    def chunks(self, text: str) -> list[str]:
        """The chunks of `text`."""
        fenced = _FENCE.sub(lambda code: code[0].replace("\n", _FENCED_LINE_END), text)
        cut = self._cut(_BLANK_LINES.sub("\n\n\n", fenced), 0, "")
        return [chunk.replace(_FENCED_LINE_END, "\n") for chunk in cut]

    def _cut(self, text: str, step: int, title: str) -> list[str]:
        if step == len(self._rules):
            return self._sliced(text, title)
        rule = self._rules[step]
        parts = rule.parts(text)
        most = self._size * (rule.most if len(parts) > 1 else 1)
        chunks: list[str] = []
        open_ = ""
        for heading, part in parts:
            titles = title + heading
            if len(open_ + part) > most and len(open_) > self._size * _ENOUGH:
                chunks.append(titles + open_)
                open_ = self._tail(open_, step)
            if len(open_ + part) > most:
                inner = self._cut(open_ + part, step + 1, titles)
                keep = rule.alone or len(inner[-1]) >= self._size * _ENOUGH
                chunks += inner if keep else inner[:-1]
                open_ = self._tail("".join(inner[-1:]), step) if keep else inner[-1]
                continue
            open_ += part
            if self._is_full(open_, rule):
                chunks.append(titles + open_)
                open_ = self._tail(open_, step)
        return self._ended(chunks, open_, title)

    def _is_full(self, text: str, rule: _Rule) -> bool:
        if rule.place is _Place.GONE:
            return True
        return len(text) >= self._size or (rule.alone and len(text) > _STANDS_ALONE)

    def _ended(self, chunks: list[str], rest: str, title: str) -> list[str]:
        """`chunks` with what is left over: a chunk of its own, or a little more of the last one."""
        if not chunks:
            return [rest] if rest else []
        if not rest or chunks[-1].endswith(rest):
            return chunks
        if len(rest) < self._size * _LITTLE:
            return [*chunks[:-1], chunks[-1] + rest]
        return [*chunks, title + rest]

    def _sliced(self, text: str, title: str) -> list[str]:
        if len(text) < self._size * _WHOLE:
            return [text]
        starts = range(0, len(text), self._size - self._overlap)
        return [title + text[start : start + self._size] for start in starts]

    def _tail(self, text: str, step: int) -> str:
        """The last sentences of `text`, with which the next chunk begins."""
        if step == len(self._rules) or not self._overlap:
            return ""
        rule = self._rules[step]
        if rule.place is not _Place.SENTENCE:
            return ""
        tail = ""
        for _, part in reversed(rule.parts(text)):
            longer = part + tail
            if len(longer) > self._size * _LITTLE and len(longer) > self._overlap:
                return self._tail(longer, step + 1) or tail
            if len(longer) > self._overlap:
                return longer
            tail = longer
        return tail


def _is_table(text: str) -> bool:
    """Whether `text` is one Markdown table and nothing else."""
    lines = [line.strip() for line in text.split("\n")]
    if len(lines) < 2 or not _TABLE_RULE.fullmatch(lines[1]):
        return False
    rows = [lines[0], *(line for line in lines[2:] if line)]
    return all(row.startswith("|") and row.endswith("|") for row in rows)


def _table_chunks(text: str, size: int) -> list[str]:
    """The rows of a table, its head before each chunk of them; a single row is never cut."""
    head, _, *rows = text.split("\n")
    columns = max(1, head.count("|") - 1)
    top = f"{head}\n| {' | '.join(['---'] * columns)} |\n"
    chunks = [top]
    for row in rows:
        if len(chunks[-1]) + len(row) > size * _ROOM_FOR_ROWS:
            chunks.append(top)
        chunks[-1] += row + "\n"
    return chunks
