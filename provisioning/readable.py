"""Whether FastGPT finds text in a file, and all of it (`docs/facts/fastgpt.md §4`).

A reader gives the texts of a file, or raises `Wrong` where there is none to give.
"""

import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from pypdf.errors import FileNotDecryptedError

from provisioning.pdf_text import MARGIN, PdfPage, pdf_pages
from provisioning.problems import Problem, Wrong
from provisioning.text_files import decoded

LARGEST_BYTES = 500 * 1024 * 1024
OR_LEAVE_OUT = "write something into it, or leave it out"
# What people hold instead of a format that is read, and the way to one.
_INSTEAD = {
    ".doc": "save it as .docx",
    ".xls": "save it as .xlsx",
    ".ppt": "save it as .pptx",
    ".htm": "rename it to .html",
    ".markdown": "rename it to .md",
    ".log": "rename it to .txt",
}
_OLE = b"\xd0\xcf\x11\xe0"
_TO_UTF8 = (
    "save it as UTF-8 (most editors have this under `Save as`), or "
    "`iconv -f BIG5 -t UTF-8 old.txt > new.txt` with the encoding that it is in"
)
_MOVE = "print it to a new PDF with wider margins, without turning pages"


def file_problems(path: str, file: Path) -> Iterator[Problem]:
    """What keeps FastGPT from reading this file, whole or in part; `path` names the setting."""
    try:
        _check(file)
        reader = _READERS.get(file.suffix.lower())
        if reader is None:
            yield from _page_problems(partial(Problem, path), file.name, _pdf(file))
        elif not says_something(reader.texts(file)):
            yield Problem(path, f"{file.name} has no {reader.lacks}", reader.right)
    except Wrong as error:
        yield Problem(path, error.wrong, error.right)
    except OSError as error:
        wrong = f"{file} cannot be opened ({error.strerror})"
        yield Problem(path, wrong, "see whether you may read it")


def says_something(texts: Iterable[str | None]) -> bool:
    """Whether there is a letter or a digit in any of these."""
    return any(character.isalnum() for text in texts for character in text or "")


def _check(file: Path) -> None:
    kind, most = file.suffix.lower(), LARGEST_BYTES >> 20
    if str(file).encode(errors="ignore").decode() != str(file):
        wrong = f"{str(file)!r} is not a name in UTF-8, and FastGPT decodes no other"
        raise Wrong(wrong, "rename it")
    if file.is_dir():
        raise Wrong(f"{file} is a folder", "write `folder:` instead of `file:`")
    if not file.is_file():
        raise Wrong(f"{file} is not there", "paths are relative to the folder of Pulumi.yaml")
    if kind not in READABLE:
        way = f"{_INSTEAD[kind]}, or " if kind in _INSTEAD else ""
        raise Wrong(f"FastGPT does not read {file.name}", f"{way}use one of {', '.join(READABLE)}")
    if (size := file.stat().st_size) == 0:
        raise Wrong(f"{file.name} is empty", OR_LEAVE_OUT)
    if size > LARGEST_BYTES:
        raise Wrong(f"{file.name} has {size >> 20} MiB", f"{most} MiB is the most; split it")


def _plain(file: Path) -> list[str]:
    text = decoded(file.read_bytes())
    if text is None:
        raise Wrong(f"{file.name} is not text in UTF-8, UTF-16 or simplified Chinese", _TO_UTF8)
    return [text]


def _html(file: Path) -> list[str]:
    page = _Page()
    page.feed("".join(_plain(file)))
    return page.texts


class _Page(HTMLParser):
    """Collects what FastGPT reads of a page; it drops `<i>` with all that is in it."""

    _DROPPED = ("head", "script", "style", "iframe", "noscript", "i")

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._dropped: list[str] = []

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            self._dropped.clear()
        elif tag in self._DROPPED:
            self._dropped.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._dropped:
            del self._dropped[self._dropped.index(tag) :]

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self.texts.append(data)


def _office(file: Path, parts: str, tags: tuple[str, ...]) -> Iterator[str | None]:
    kind = file.suffix.lower()
    again = f"open it and save it again as {kind}"
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if re.fullmatch(parts, name)]
            if not names or "[Content_Types].xml" not in archive.namelist():
                raise Wrong(f"{file.name} is an archive, but no {kind} file", again)
            for name in names:
                with archive.open(name) as part:
                    for _, element in ElementTree.iterparse(part):  # noqa: S314 - the operator's
                        if element.tag.rpartition("}")[2] in tags:
                            yield element.text
    except (zipfile.BadZipFile, ElementTree.ParseError, RuntimeError, NotImplementedError):
        if file.read_bytes()[:4] == _OLE:
            wrong = f"{file.name} is locked with a password, or of the time before {kind}"
            raise Wrong(wrong, f"{again} without a password") from None
        raise Wrong(f"{file.name} is not a readable {kind} file", again) from None


class _Reader(NamedTuple):
    texts: Callable[[Path], Iterable[str | None]]
    lacks: str = "text in it"
    right: str = OR_LEAVE_OUT


_TEXT = _Reader(_plain)
_READERS = {
    ".docx": _Reader(
        partial(_office, parts=r"word/document\d*\.xml", tags=("t",)),
        "text in it, and FastGPT reads no pictures",
    ),
    ".md": _TEXT,
    ".txt": _TEXT,
    ".html": _Reader(
        _html,
        "text in it, at most what a script would add",
        "save the page from a browser as it is shown, print it to a PDF, or leave it out",
    ),
    ".csv": _TEXT,
    ".xlsx": _Reader(
        partial(_office, parts=r"xl/worksheets/[^/]+\.xml", tags=("v", "t")), "filled cell"
    ),
    ".pptx": _Reader(
        partial(_office, parts=r"ppt/(slides|notesSlides)/\w+\.xml", tags=("t",)),
        "text on its slides, and FastGPT reads no pictures",
    ),
}
READABLE = (".pdf", *_READERS)


def _pdf(file: Path) -> list[PdfPage]:
    try:
        with file.open("rb") as content:
            return pdf_pages(content)
    except FileNotDecryptedError:
        right = "save it without one (print it to a new PDF, or `qpdf --decrypt`)"
        raise Wrong(f"{file.name} opens with a password only", right) from None
    except OSError:
        raise
    except Exception as error:
        # A broken file makes the library fail in any way; none of them may end in a traceback.
        wrong = f"{file.name} is not a readable PDF ({error})"
        raise Wrong(wrong, "see whether a reader opens it") from None


def _page_problems(
    say: Callable[..., Problem], name: str, pages: list[PdfPage]
) -> Iterator[Problem]:
    """Most pages without text: it is not the document that was meant. A few: the operator knows.

    Pages that are blank say nothing to anybody and do not count.
    """
    shown = {number: page for number, page in enumerate(pages, start=1) if not page.blank}
    unread = {number: page for number, page in shown.items() if page.read <= page.unmapped}
    cut = [number for number, page in shown.items() if 0 < page.read < page.in_margins]
    if not shown:
        yield say(f"{name} has blank pages only", OR_LEAVE_OUT)
    elif unread:
        count = f"{len(unread)} of {len(shown)} pages of {name}"
        wrong = f"FastGPT finds no text on {count} ({_numbers(unread)})"
        yield say(wrong, _recovery(unread.values()), warning=2 * len(unread) <= len(shown))
    if cut:
        where = f"because it stands in the upper or lower {MARGIN:.0%} of the page"
        wrong = f"FastGPT leaves out most of the text of {name} on {_numbers(cut)}, {where}"
        yield say(wrong, _MOVE, warning=True)


def _recovery(unread: Collection[PdfPage]) -> str:
    if any(page.unmapped for page in unread):
        return (
            "its fonts do not say which characters they show (no ToUnicode): make the PDF anew "
            "from the document, or run `ocrmypdf --force-ocr`"
        )
    if any(page.in_margins for page in unread):
        return f"their text stands in the outer {MARGIN:.0%}, above or below: {_MOVE}"
    return "these are pictures, as a scanner makes them: run it through OCR first (`ocrmypdf`)"


def _numbers(pages: Collection[int]) -> str:
    """`page 3`, `pages 2-10, 12`; at most ten runs of them."""
    words = []
    # In a run of pages, number and place grow together.
    for _, run in groupby(enumerate(sorted(pages)), lambda found: found[1] - found[0]):
        numbers = [number for _, number in run]
        words.append(f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0]))
    more = ["..."] if len(words) > 10 else []
    return f"page{'s' if len(pages) > 1 else ''} {', '.join([*words[:10], *more])}"
