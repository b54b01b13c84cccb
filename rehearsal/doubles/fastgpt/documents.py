"""The text of an uploaded file or of a web page (docs/facts/fastgpt.md §4, docs/facts/measured.md
§1).

As FastGPT does: text by the encoding that its first 200 bytes look like; PDFs with pdf.js; Word by
mammoth and web pages by turndown to Markdown; tables to Markdown tables.
"""

import csv
import io
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from xml.etree import ElementTree

import chardet
import mammoth
import openpyxl
from bs4 import BeautifulSoup
from markdownify import MarkdownConverter
from openpyxl.utils.datetime import to_excel
from pypdf.errors import FileNotDecryptedError
from soupsieve import SelectorSyntaxError

from provisioning.pdf_text import pdf_pages
from rehearsal.doubles.fastgpt.chunks import SHEET_SIGN
from rehearsal.doubles.fastgpt.envelope import Problem

SAMPLE_BYTES = 200
_READABLE = ".txt, .md, .html, .pdf, .docx, pptx, .csv, .xlsx"


def file_text(name: str, content: bytes) -> str:
    """The text of the file `name`; empty for a scanned PDF.

    Raises:
        Problem: a kind of file that FastGPT does not read, or a broken one.
    """
    kind = name.rpartition(".")[2].lower()
    if kind not in _READERS:
        raise Problem(f"Only support {_READABLE}")
    # A mark in front falls away with the white space around a chunk (JavaScript's trim).
    return _READERS[kind](content).removeprefix("\ufeff")


def html_text(page: str, selector: str = "") -> tuple[str, str]:
    """Title and Markdown of a web page's elements that `selector` chooses, or of its body."""
    soup = BeautifulSoup(page, "html.parser")
    title = soup.select_one("head title, title") or soup.h1
    try:
        chosen = soup.select(selector.strip() or "body") if selector or soup.body else [soup]
    except SelectorSyntaxError:
        chosen = []
    inner = "\n".join(element.decode_contents() for element in chosen)
    return title.get_text().strip() if title else "", _tidied(_markdown(inner))


def plain_text(content: bytes) -> str:
    """Text by the encoding that FastGPT takes it for."""
    encoding = _encoding(content)
    if encoding == "ascii":
        # Node keeps the lower seven bits.
        return bytes(byte & 0x7F for byte in content).decode("ascii")
    return content.decode(encoding, errors="replace")


def _encoding(content: bytes) -> str:
    """Of what is no Unicode with a mark, UTF-8 or ASCII, all is GBK to FastGPT."""
    sample = content[:SAMPLE_BYTES]
    if sample.startswith(b"\xff\xfe"):
        return "utf-16-le"
    judged = str(chardet.detect(sample)["encoding"]).lower()
    if judged in ("utf-8", "utf-8-sig"):
        return "utf-8"
    return "ascii" if sample.isascii() else "gbk"


# Markdown


# turndown's settings. Nothing is escaped: FastGPT takes it out again.
_TURNDOWN = MarkdownConverter(
    heading_style="ATX",
    bullets="-",
    escape_asterisks=False,
    escape_underscores=False,
    code_language_callback=lambda code: " ".join(code.get_attribute_list("class")),
)


def _markdown(html: str) -> str:
    soup = BeautifulSoup(html, "html.parser")
    for dropped in soup(["i", "script", "iframe"]):
        dropped.decompose()
    for style in soup("style"):
        style.name = "p"
    return str(_TURNDOWN.convert_soup(soup))


def _tidied(text: str) -> str:
    """What FastGPT does to Markdown. It takes a backslash away before digits and capitals too."""
    text = re.sub(r"\r\n?", "\n", text.removeprefix("\ufeff").strip())
    text = re.sub(r"\n{3,}", "\n\n", text)
    text = re.sub(r"[\x00-\x08]", " ", text)
    text = re.sub(r"\\([#`!*()+-_\[\]{}\\.])", r"\1", text)
    return re.sub(r"\n *(#{1,4}|```|~~~)", r"\n\1", text).strip()


def _table(rows: Iterable[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *([c.replace("\n", "\\n") for c in row] for row in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# Formats


def _md(content: bytes) -> str:
    return _tidied(plain_text(content))


def _html(content: bytes) -> str:
    return _tidied(_markdown(plain_text(content)))


def _pdf(content: bytes) -> str:
    try:
        return "".join(page.text for page in pdf_pages(io.BytesIO(content)))
    except FileNotDecryptedError:
        raise Problem("No password given") from None
    except Exception:
        raise Problem("Invalid PDF structure.") from None


def _csv(content: bytes) -> str:
    text = plain_text(content).removeprefix("\ufeff")
    try:
        delimiter = csv.Sniffer().sniff(text, delimiters=",\t|;").delimiter
    except csv.Error:
        delimiter = ","
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    return _table([*rows, [""]] if text.endswith("\n") or not rows else rows)


def _docx(content: bytes) -> str:
    try:
        html = mammoth.convert_to_html(io.BytesIO(content)).value
    except Exception:
        raise Problem("Can not read doc file, please convert to PDF") from None
    # FastGPT keeps pictures in MongoDB and leaves a reference to them in the text.
    return re.sub(r"\(data:image/[^)]*\)", "(/api/system/img/1)", _tidied(_markdown(html)))


def _xlsx(content: bytes) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
    except Exception as error:
        raise Problem(f"read file error: {error}") from error
    sheets = [
        [[_cell(value) for value in row] for row in sheet.iter_rows(values_only=True)]
        for sheet in book.worksheets
        if any(value is not None for row in sheet.iter_rows(values_only=True) for value in row)
    ]
    return SHEET_SIGN.join(_table(rows) for rows in sheets)


def _cell(value: object) -> str:
    """As JavaScript writes it; a date is the number that is stored for it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (date, datetime, time, timedelta)):
        value = to_excel(value)  # type: ignore[no-untyped-call]
    if isinstance(value, float):
        return f"{value:.15g}"
    return "" if value is None else str(value)


def _pptx(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [n for n in archive.namelist() if re.search(_SLIDES, n)]
            slides = [ElementTree.fromstring(archive.read(name)) for name in names]
    except (zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise Problem(f"read file error: {error}") from error
    if not any("notes" not in name for name in names):
        raise Problem("解析 PPT 失败")
    runs = [
        [run.text or "" for run in paragraph.iter(f"{_DRAWING}t")]
        for slide in slides
        for paragraph in slide.iter(f"{_DRAWING}p")
    ]
    return "\n".join("".join(texts) for texts in runs if texts)


_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_SLIDES = r"ppt/(notesSlides|slides)/(notesSlide|slide)\d+.xml"
_READERS: dict[str, Callable[[bytes], str]] = {
    "txt": plain_text,
    "md": _md,
    "html": _html,
    "csv": _csv,
    "pdf": _pdf,
    "docx": _docx,
    "pptx": _pptx,
    "xlsx": _xlsx,
}
