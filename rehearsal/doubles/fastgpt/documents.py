"""The text of an uploaded file or of a web page (facts/fastgpt.md §4)."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from rehearsal.doubles.fastgpt.envelope import Problem

SKIPPED = ("script", "style", "noscript", "head", "svg")
BLOCKS = ("p", "div", "section", "article", "li", "tr", "br", "table", "pre", "blockquote")


def file_text(name: str, content: bytes) -> str:
    """The text of the file `name`; empty for a scanned PDF.

    Raises:
        Problem: a kind of file that FastGPT does not read, or a broken one.
    """
    kind = name.rpartition(".")[2].lower()
    if kind not in _READERS:
        raise Problem("Only support .txt, .md, .html, .pdf, .docx, .pptx, .csv, .xlsx")
    try:
        return _READERS[kind](content).strip()
    except (PyPdfError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise Problem(f"read file error: {error}") from error


def plain_text(content: bytes) -> str:
    """Text in UTF-8 or, failing that, in the Chinese encoding."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("gb18030", errors="replace")


def html_text(page: str, selector: str = "") -> tuple[str, str]:
    """Title and text of a web page; headings become Markdown's.

    `selector` is a tag, `#id` or `.class`; without one, the whole body counts.
    """
    reader = _PageReader(selector.strip())
    reader.feed(page)
    text = re.sub(r"[ \t]+", " ", "".join(reader.parts))
    return reader.title.strip(), re.sub(r"\s*\n\s*\n\s*", "\n\n", text).strip()


def _pdf(content: bytes) -> str:
    reader = PdfReader(io.BytesIO(content))
    return "\n".join(page.extract_text() for page in reader.pages)


def _html(content: bytes) -> str:
    return html_text(plain_text(content))[1]


def _csv(content: bytes) -> str:
    rows = csv.reader(io.StringIO(plain_text(content)))
    return "\n".join(",".join(cell for cell in row) for row in rows)


def _docx(content: bytes) -> str:
    return _office(content, r"word/document\.xml", "w:p", "w:t")


def _pptx(content: bytes) -> str:
    return _office(content, r"ppt/slides/slide\d+\.xml", "a:p", "a:t")


def _xlsx(content: bytes) -> str:
    return _office(content, r"xl/sharedStrings\.xml", "si", "t")


def _office(content: bytes, part: str, paragraph: str, run: str) -> str:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = sorted(name for name in archive.namelist() if re.fullmatch(part, name))
        pages = [archive.read(name).decode("utf-8") for name in names]
    paragraphs = re.findall(rf"<{paragraph}[ >].*?</{paragraph}>", "".join(pages), re.S)
    runs = re.compile(rf"<{run}(?: [^>]*)?>(.*?)</{run}>", re.S)
    return "\n".join(unescape("".join(runs.findall(text))) for text in paragraphs)


_READERS: dict[str, Callable[[bytes], str]] = {
    "txt": plain_text,
    "md": plain_text,
    "html": _html,
    "csv": _csv,
    "pdf": _pdf,
    "docx": _docx,
    "pptx": _pptx,
    "xlsx": _xlsx,
}


class _PageReader(HTMLParser):
    """Collects the text inside the selected element."""

    def __init__(self, selector: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.title = ""
        self._selector = selector
        self._inside = 0 if selector else 1
        self._skipped = 0
        self._in_title = False
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        chosen = bool(self._selector) and self._matches(tag, dict(attrs))
        if tag not in _VOID:
            self._open.append((tag, chosen))
            self._inside += chosen
        self._skipped += tag in SKIPPED
        self._in_title = tag == "title"
        if re.fullmatch("h[1-6]", tag):
            self._add("\n\n" + "#" * int(tag[1]) + " ")
        elif tag in BLOCKS:
            self._add("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag not in [name for name, _ in self._open]:
            return
        while self._open:
            name, chosen = self._open.pop()
            self._skipped -= name in SKIPPED
            if name == tag:
                self._add("\n" if tag in BLOCKS or re.fullmatch("h[1-6]", tag) else "")
            self._inside -= chosen
            if name == tag:
                break
        self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        self._add(data)

    def _add(self, text: str) -> None:
        if self._inside and not self._skipped:
            self.parts.append(text)

    def _matches(self, tag: str, attributes: dict[str, str | None]) -> bool:
        wanted = self._selector
        if wanted.startswith("#"):
            return attributes.get("id") == wanted[1:]
        if wanted.startswith("."):
            return wanted[1:] in (attributes.get("class") or "").split()
        return tag == wanted


_VOID = ("br", "img", "hr", "meta", "link", "input", "source", "area", "base", "col", "wbr")
