"""Whether FastGPT finds text in a file, and all of it, said before anything is paid.

What it reads of each format is in `docs/facts/fastgpt.md §4`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from pypdf.errors import FileNotDecryptedError

from provisioning.pdf_text import MARGIN, PdfPage, pdf_pages
from provisioning.problems import Problem
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


def file_problems(path: str, file: Path) -> Iterator[Problem]:
    """What keeps FastGPT from reading this file, whole or in part; `path` names the setting."""
    say = partial(Problem, path)
    try:
        yield from _file_problems(say, file)
    except OSError as error:
        yield say(f"{file} cannot be opened ({error.strerror})", "see whether you may read it")


def says_something(texts: Iterable[str | None]) -> bool:
    """Whether there is a letter or a digit in any of these."""
    return any(character.isalnum() for text in texts for character in text or "")


def _file_problems(say: Say, file: Path) -> Iterator[Problem]:
    kind, most = file.suffix.lower(), LARGEST_BYTES >> 20
    if str(file).encode(errors="ignore").decode() != str(file):
        wrong = f"{str(file)!r} is not a name in UTF-8, and FastGPT decodes no other"
        yield say(wrong, "rename it")
    elif file.is_dir():
        yield say(f"{file} is a folder", "write `folder:` instead of `file:`")
    elif not file.is_file():
        yield say(f"{file} is not there", "paths are relative to the folder of Pulumi.yaml")
    elif kind not in READABLE:
        yield say(f"FastGPT does not read {file.name}", _instead(kind))
    elif (size := file.stat().st_size) == 0:
        yield say(f"{file.name} is empty", OR_LEAVE_OUT)
    elif size > LARGEST_BYTES:
        yield say(f"{file.name} has {size >> 20} MiB", f"{most} MiB is the most; split it")
    else:
        yield from _CHECKS[kind](say, file)


def _instead(kind: str) -> str:
    formats = f"use one of {', '.join(READABLE)}"
    way = _INSTEAD.get(kind)
    return f"{way}, or {formats}" if way else formats


# -- text ---------------------------------------------------------------------------------------


def _plain(say: Say, file: Path) -> Iterator[Problem]:
    text = decoded(file.read_bytes())
    if text is None:
        yield say(f"{file.name} is not text in UTF-8, UTF-16 or simplified Chinese", _TO_UTF8)
    elif not says_something([text]):
        yield say(f"{file.name} has no text in it", OR_LEAVE_OUT)


def _html(say: Say, file: Path) -> Iterator[Problem]:
    page, text = _Page(), decoded(file.read_bytes())
    page.feed(text or "")
    if text is None:
        yield from _plain(say, file)
    elif not says_something(page.texts):
        yield say(
            f"{file.name} has no text in it, at most what a script would add",
            "save the page from a browser as it is shown, print it to a PDF, or leave it out",
        )


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


# -- office -------------------------------------------------------------------------------------


def _office(
    say: Say, file: Path, parts: str, texts: tuple[str, ...], holds: str
) -> Iterator[Problem]:
    kind = file.suffix.lower()
    again = f"open it and save it again as {kind}"
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if re.fullmatch(parts, name)]
            if not names or "[Content_Types].xml" not in archive.namelist():
                yield say(f"{file.name} is an archive, but no {kind} file", again)
            elif not any(says_something(_texts(archive, name, texts)) for name in names):
                yield say(
                    f"{file.name} has no {holds}, and FastGPT reads no pictures", OR_LEAVE_OUT
                )
    except (zipfile.BadZipFile, ElementTree.ParseError, RuntimeError, NotImplementedError):
        if file.read_bytes()[:4] == _OLE:
            wrong = f"{file.name} is locked with a password, or of the time before {kind}"
            yield say(wrong, f"{again} without a password")
        else:
            yield say(f"{file.name} is not a readable {kind} file", again)


def _texts(archive: zipfile.ZipFile, name: str, wanted: tuple[str, ...]) -> Iterator[str | None]:
    with archive.open(name) as part:
        for _, element in ElementTree.iterparse(part):  # noqa: S314 - the operator's own
            if element.tag.rpartition("}")[2] in wanted:
                yield element.text


# -- PDF ----------------------------------------------------------------------------------------


def _pdf(say: Say, file: Path) -> Iterator[Problem]:
    try:
        with file.open("rb") as content:
            pages = pdf_pages(content)
    except FileNotDecryptedError:
        yield say(
            f"{file.name} opens with a password only",
            "save it without one (print it to a new PDF, or `qpdf --decrypt`)",
        )
    except OSError:
        raise
    except Exception as error:
        # A broken file makes the library fail in any way; none of them may end in a traceback.
        yield say(f"{file.name} is not a readable PDF ({error})", "see whether a reader opens it")
    else:
        yield from _page_problems(say, file.name, pages)


def _page_problems(say: Say, name: str, pages: list[PdfPage]) -> Iterator[Problem]:
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
        few = 2 * len(unread) <= len(shown)
        yield say(wrong, _recovery(unread.values()), warning=few)
    if cut:
        yield say(
            f"FastGPT leaves out most of the text of {name} on {_numbers(cut)}, because it stands "
            f"in the upper or lower {MARGIN:.0%} of the page",
            _MOVE,
            warning=True,
        )


_MOVE = "print it to a new PDF with wider margins, without turning pages"


def _recovery(unread: Iterable[PdfPage]) -> str:
    pages = list(unread)
    if any(page.unmapped for page in pages):
        return (
            "its fonts do not say which characters they show (no ToUnicode): make the PDF anew "
            "from the document, or run `ocrmypdf --force-ocr`"
        )
    if any(page.in_margins for page in pages):
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


Say = Callable[..., Problem]
_CHECKS: dict[str, Callable[[Say, Path], Iterator[Problem]]] = {
    ".pdf": _pdf,
    ".docx": partial(_office, parts=r"word/document\d*\.xml", texts=("t",), holds="text in it"),
    ".md": _plain,
    ".txt": _plain,
    ".html": _html,
    ".csv": _plain,
    ".xlsx": partial(
        _office, parts=r"xl/worksheets/[^/]+\.xml", texts=("v", "t"), holds="filled cell"
    ),
    ".pptx": partial(
        _office,
        parts=r"ppt/(slides|notesSlides)/\w+\.xml",
        texts=("t",),
        holds="text on its slides",
    ),
}
READABLE = tuple(_CHECKS)
