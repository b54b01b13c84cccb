"""How a text is cut into chunks (docs/facts/measured.md §1 F1).

The size asked for is a target. A piece is cut further only where it is longer than its rule lets it
grow, so chunks come out at up to four times the size; a heading is repeated before all that stands
under it, and comes on top.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_OVERLAP = 0.2
# Of the size: a chunk this long is not filled up with what follows.
_ENOUGH = 0.7
# Of the size: less than this at the end goes to the chunk before; an overlap is no longer.
_LITTLE = 0.4
# Of the size: what no rule can cut stays whole below this.
_WHOLE = 3
# Characters that a part of its own needs to become a chunk.
_STANDS_ALONE = 30
_ROOM_FOR_ROWS = 1.2
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
        pieces = [piece for piece in self._pieces(text) if piece.strip()]
        titled = [self._titled(piece) if self.titles else ("", piece) for piece in pieces]
        return [(title, body) for title, body in titled if body.strip()]

    def _pieces(self, text: str) -> Iterator[str]:
        begin = 0
        for match in self.found.finditer(text):
            cut = match.start() if self.begins else match.end()
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
    """The chunks of `text`, aimed at `size` characters each."""
    if _is_table(text):
        return _table_chunks(text, size)
    fenced = _FENCE.sub(lambda code: code[0].replace("\n", _FENCED_LINE_END), text)
    cut = _cut(_BLANK_LINES.sub("\n\n\n", fenced), size, 0, "")
    return [chunk.replace(_FENCED_LINE_END, "\n") for chunk in cut]


def _cut(text: str, size: int, step: int, title: str) -> list[str]:
    # By one rule after the other, each only what the rule before left too long.
    if step == len(_RULES):
        return _sliced(text, size, title)
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
    return _ended(chunks, size, open_, title)


def _ended(chunks: list[str], size: int, rest: str, title: str) -> list[str]:
    """`chunks` with what is left over: a chunk of its own, or a little more of the last one."""
    if not chunks:
        return [rest] if rest else []
    if not rest or chunks[-1].endswith(rest):
        return chunks
    if len(rest) < size * _LITTLE:
        return [*chunks[:-1], chunks[-1] + rest]
    return [*chunks, title + rest]


def _sliced(text: str, size: int, title: str) -> list[str]:
    if len(text) < size * _WHOLE:
        return [text]
    starts = range(0, len(text), size - round(size * _OVERLAP))
    return [title + text[start : start + size] for start in starts]


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


def _is_table(text: str) -> bool:
    """Whether `text` is one Markdown table and nothing else."""
    lines = [line.strip() for line in text.split("\n")]
    ruled = len(lines) > 1 and _TABLE_RULE.fullmatch(lines[1]) is not None
    return ruled and all(row.startswith("|") and row.endswith("|") for row in lines if row)


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
