"""Documents on the operator's machine: what there is, and what FastGPT could not read.

Limits are FastGPT's (`facts/fastgpt.md §4`).
"""

from __future__ import annotations

import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pypdf import PdfReader

from provisioning.knowledge import Base, Document

READABLE = (".pdf", ".docx", ".md", ".txt", ".html", ".csv", ".xlsx", ".pptx")
LARGEST_BYTES = 500 * 1024 * 1024
_OFFICE = (".docx", ".xlsx", ".pptx")
_PLAIN = (".md", ".txt", ".csv", ".html")
# What editors and office programs put beside a file while it is open.
_HIDDEN = (".", "~$")
_OR_LEAVE_OUT = "write something into it, or leave it out"


@dataclass(frozen=True)
class Source:
    """One thing that becomes one document in FastGPT.

    Attributes:
        name: what a citation shows, and what tells it from the others of its base. A web page is
            called by its address; its citations show the page's title.
        index: place in the base's `documents`; a folder has many sources in one place.
        document: the setting that it comes from.
        file: where it lies, in the operator's words: relative to the project where he wrote it so,
            so that the state means the same file on another machine. None for texts and links.
    """

    name: str
    index: int
    document: Document
    file: Path | None = None


def sources(base: Base, project: Path) -> tuple[Source, ...]:
    """All sources of a base, in the order of the settings, a folder's sorted by path."""
    return tuple(
        source
        for index, document in enumerate(base.documents)
        for source in _sources_of(document, index, project)
    )


def source_problems(base: Base, project: Path) -> Iterator[tuple[int, str]]:
    """What is wrong with a base's documents: (index in `documents`, message)."""
    names: dict[str, Source] = {}
    for source in sources(base, project):
        if wrong := _source_problem(source, project):
            yield source.index, wrong
            continue
        twin = names.setdefault(source.name, source)
        if twin is not source:
            yield source.index, _twice(source, twin)


def files_of(document: Document, project: Path) -> tuple[Path, ...]:
    """The files that a `file:` or `folder:` document means, sorted; empty for texts and links.

    A file or folder that is not there is answered as it is, so that `document_problem` can say so.
    """
    if document.file is not None:
        return (_place(document.file, project),)
    if document.folder is None:
        return ()
    folder = _place(document.folder, project)
    found = sorted(p for p in folder.rglob("*") if _is_document(p, folder))
    return tuple(found) or (folder,)


def document_problem(file: Path) -> str | None:
    """What keeps FastGPT from reading this file, and what would be right; None if nothing does."""
    if file.is_dir():
        return f"{file} holds nothing to read; put a file in it ({', '.join(READABLE)})"
    if not file.is_file():
        return f"{file} is not there; paths are relative to the folder of Pulumi.yaml"
    if file.suffix.lower() not in READABLE:
        return f"{file.name} cannot be read; use one of {', '.join(READABLE)}"
    if not _is_utf8(file.name):
        return f"{file.name!r} is not a name in UTF-8, and FastGPT decodes no other; rename it"
    size = file.stat().st_size
    if size == 0:
        return f"{file.name} is empty; {_OR_LEAVE_OUT}"
    if size > LARGEST_BYTES:
        return f"{file.name} has {size >> 20} MiB; FastGPT takes {LARGEST_BYTES >> 20} MiB at most"
    return _unreadable(file)


def _sources_of(document: Document, index: int, project: Path) -> Iterator[Source]:
    if document.link is not None:
        yield Source(document.link, index, document)
    elif document.text is not None:
        yield Source(str(document.name), index, document)
    else:
        for file in files_of(document, project):
            # Another system may write the same name in decomposed characters.
            name = unicodedata.normalize("NFC", file.name)
            yield Source(name, index, document, _as_written(file, project))


def _place(written: str, project: Path) -> Path:
    return project / Path(written).expanduser()


def _as_written(file: Path, project: Path) -> Path:
    return file.relative_to(project) if file.is_relative_to(project) else file


def _is_document(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(_HIDDEN) for part in file.relative_to(folder).parts)
    return not hidden and file.is_file() and file.suffix.lower() in READABLE


def _source_problem(source: Source, project: Path) -> str | None:
    if source.file is not None:
        return document_problem(project / source.file)
    if source.document.text is not None and not source.document.text.strip():
        return f"{source.name} has no text in it; {_OR_LEAVE_OUT}"
    if source.document.link is not None and not _is_web_address(source.document.link):
        return f"{source.name} is no address of a web page; write it like https://example.com/page"
    return None


def _twice(source: Source, twin: Source) -> str:
    where = f" ({twin.file} and {source.file})" if source.file and twin.file else ""
    return (
        f"{source.name} is there twice{where}; a citation could not tell which is meant: "
        "rename one, or put it into another base"
    )


def _is_web_address(link: str) -> bool:
    try:
        parts = urlsplit(link)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unreadable(file: Path) -> str | None:
    kind = file.suffix.lower()
    if kind == ".pdf":
        return _pdf_problem(file)
    if kind in _OFFICE and not zipfile.is_zipfile(file):
        return f"{file.name} is not a readable {kind} file; save it again in that format"
    if kind in _PLAIN and not file.read_text(errors="replace").strip():
        return f"{file.name} has no text in it; {_OR_LEAVE_OUT}"
    return None


def _pdf_problem(file: Path) -> str | None:
    try:
        pages = PdfReader(file).pages
        if any(page.extract_text().strip() for page in pages):
            return None
    except Exception as error:
        # A broken file makes the library fail in any way; none of them may end in a traceback.
        return f"{file.name} is not a readable PDF ({error}); see whether a reader opens it"
    return f"{file.name} is a scan without text; run it through OCR first (ocrmypdf does it)"
