"""Documents on the operator's machine: what there is, and what FastGPT could not read.

Limits are FastGPT's (`facts/fastgpt.md §4`).
"""

from __future__ import annotations

from pathlib import Path

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from provisioning.knowledge import Document

READABLE = (".pdf", ".docx", ".md", ".txt", ".html", ".csv", ".xlsx", ".pptx")
LARGEST_BYTES = 500 * 1024 * 1024


def files_of(document: Document, project: Path) -> tuple[Path, ...]:
    """The files that a `file:` or `folder:` document means, sorted; empty for texts and links.

    A file or folder that is not there is answered as it is, so that `document_problem` can say so.
    """
    if document.file is not None:
        return (project / document.file,)
    if document.folder is None:
        return ()
    folder = project / document.folder
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in READABLE)
    return tuple(found) or (folder,)


def document_problem(file: Path) -> str | None:
    """What keeps FastGPT from reading this file, and what would be right; None if nothing does."""
    if file.is_dir():
        return f"{file} holds no file that can be read ({', '.join(READABLE)})"
    if not file.is_file():
        return f"{file} is not there; paths are relative to the folder of Pulumi.yaml"
    if file.suffix.lower() not in READABLE:
        return f"{file.name} cannot be read; use one of {', '.join(READABLE)}"
    if "%" in file.name:
        return f"{file.name} has a % in its name, which FastGPT cannot decode; rename the file"
    size = file.stat().st_size
    if size == 0:
        return f"{file.name} is empty"
    if size > LARGEST_BYTES:
        return f"{file.name} has {size >> 20} MiB; FastGPT takes {LARGEST_BYTES >> 20} MiB at most"
    return _without_text(file)


def _without_text(file: Path) -> str | None:
    if file.suffix.lower() == ".pdf":
        return _pdf_problem(file)
    if (
        file.suffix.lower() in (".md", ".txt", ".csv", ".html")
        and not file.read_text(errors="replace").strip()
    ):
        return f"{file.name} has no text in it"
    return None


def _pdf_problem(file: Path) -> str | None:
    try:
        pages = PdfReader(file).pages
        if any(page.extract_text().strip() for page in pages):
            return None
    except (PyPdfError, ValueError, KeyError, OSError) as error:
        return f"{file.name} is not a readable PDF ({error})"
    return f"{file.name} is a scan without text; run it through OCR first (ocrmypdf does it)"
