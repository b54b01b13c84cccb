"""What the double of FastGPT reads from files (docs/facts/fastgpt.md §4, docs/facts/measured.md
§1)."""

from __future__ import annotations

import hashlib
import io
import zipfile
from datetime import datetime
from pathlib import Path

import openpyxl
import pytest

from provisioning.text_files import as_sent
from rehearsal.doubles.fastgpt.chunks import SHEET_SIGN
from rehearsal.doubles.fastgpt.documents import file_text, html_text
from rehearsal.doubles.fastgpt.envelope import Problem
from tests.contract.test_fastgpt_datasets import docx
from tests.unit.pdfs import Page, pdf, words

PROJECT = Path(__file__).resolve().parents[2]
CASES = PROJECT / "tests" / "cases" / "docs"
# As FastGPT v4.8.8-fix2 told it of the same file: hashRawText.
RECORDED = "d856c7dcb9b8d1e988f839ea3df56f1d5a389f2d4f66396d48465b7f1ce2b86a"


def test_the_reference_labs_document_is_what_the_real_one_read() -> None:
    text = file_text("a.pdf", (PROJECT / "documents" / "lab-manual.pdf").read_bytes())
    assert hashlib.sha256(text.encode()).hexdigest() == RECORDED


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.exe", b"x", "Only support .txt, .md, .html, .pdf, .docx, pptx, .csv, .xlsx"),
        ("a.pdf", b"no pdf", "Invalid PDF structure."),
        ("a.pdf", pdf(words(), password="x"), "No password given"),
        ("a.docx", b"no zip", "Can not read doc file, please convert to PDF"),
        ("a.docx", (CASES / "zip.docx").read_bytes(), "Can not read doc file, please convert"),
    ],
    ids=["exe", "broken pdf", "locked pdf", "broken docx", "zip"],
)
def test_messages_are_those_of_the_real_one(name: str, content: bytes, message: str) -> None:
    with pytest.raises(Problem) as raised:
        file_text(name, content)
    assert message in str(raised.value.message)


def test_a_scan_is_read_as_nothing() -> None:
    assert file_text("a.pdf", pdf(Page(painted=True))) == ""


def test_the_encoding_is_judged_by_the_first_200_bytes() -> None:
    late = b"x" * 200 + "书".encode()
    assert "书" not in file_text("a.txt", late)
    assert file_text("a.txt", b"x" * 199 + "书".encode("utf-8-sig"))[-1] != "书"
    assert file_text("a.txt", b"\xef\xbb\xbf" + late).endswith("书")


def test_what_is_neither_unicode_nor_ascii_is_taken_for_gbk() -> None:
    assert file_text("a.txt", "阅览室每天九点开放".encode("gbk")) == "阅览室每天九点开放"
    assert file_text("a.txt", "圖書館每天九點開放".encode("big5")) != "圖書館每天九點開放"
    assert file_text("a.txt", b"\xfe\xff" + "图书馆".encode("utf-16-be")) != "图书馆"


def test_tables_become_markdowns() -> None:
    assert file_text("a.csv", b'thing,place\npump,"room\nseven"') == (
        "| thing | place |\n| --- | --- |\n| pump | room\\nseven |"
    )
    assert file_text("a.csv", b"a;b\n1;2").startswith("| a | b |")


def test_a_workbooks_cells_are_read_as_they_are_stored() -> None:
    book, made = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["when", "stock", "price", "open"])  # type: ignore[union-attr]
    book.active.append([datetime(2024, 1, 2), 120, 0.1 + 0.2, True])  # type: ignore[union-attr]
    book.create_sheet("more").append(["gate code", 4711])
    book.create_sheet("empty")
    book.save(made)
    first, second = file_text("a.xlsx", made.getvalue()).split(SHEET_SIGN)
    assert first.endswith("| 45293 | 120 | 0.3 | true |")
    assert second.startswith("| gate code | 4711 |")


def test_slides_and_their_notes_are_read() -> None:
    made = io.BytesIO()
    space = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
    with zipfile.ZipFile(made, "w") as archive:
        for part, text in (("slides/slide1", "Opening"), ("notesSlides/notesSlide1", "At nine")):
            body = f"<a:p><a:r><a:t>{text}</a:t></a:r><a:r><a:t> hours</a:t></a:r></a:p><a:p/>"
            archive.writestr(f"ppt/{part}.xml", f"<s {space}>{body}</s>")
    assert file_text("a.pptx", made.getvalue()) == "Opening hours\nAt nine hours"


def test_a_word_document_is_read_as_a_whole_package_only() -> None:
    assert file_text("a.docx", docx("Room seven &amp; eight")) == "Room seven & eight"
    # A picture leaves a reference, which is text to FastGPT.
    pictures = file_text("a.docx", (CASES / "pictures.docx").read_bytes())
    assert pictures == "![](/api/system/img/1)"


def test_a_web_page_becomes_markdown() -> None:
    page = (
        "<script>var x</script><h2>Hours</h2><p>Open <i>not</i> from <strong>nine</strong>.</p>"
        "<ul><li>1</li></ul><pre class='py'>x = 1\n\n  y</pre>"
        "<table><tr><th>a</th></tr><tr><td>1</td></tr></table>"
    )
    assert file_text("a.html", page.encode()) == (
        "## Hours\n\nOpen  from **nine**.\n\n- 1\n\n```py\nx = 1\n\n  y\n```\n\n"
        "| a |\n| --- |\n| 1 |"
    )


def test_a_fetched_page_is_its_body_as_recorded() -> None:
    page = (
        "<html><head><title>Opening hours</title></head><body><nav>Menu</nav>"
        "<div id=text><h2>Hours</h2><p>Open from nine.</p></div></body></html>"
    )
    assert html_text(page) == ("Opening hours", "Menu\n\n## Hours\n\nOpen from nine.")
    assert html_text(page, "#text")[1] == "## Hours\n\nOpen from nine."
    assert html_text(page, "p[")[1] == ""
    assert html_text("<h1>Only a heading</h1>")[0] == "Only a heading"


def test_markdown_loses_some_backslashes() -> None:
    assert file_text("a.md", rb"1\. C:\Windows and \alpha") == r"1. C:Windows and \alpha"


LANGUAGES = (
    "The library opens at nine.\n图书馆九点开门。\n図書館は九時に開きます。\nБиблиотека открыта.\n"
)
TABLE = "| no | thing |\n| --- | --- |\n" + "".join(f"| {n} | 物品 {n} |\n" for n in range(2000))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("languages.txt", LANGUAGES * 50),
        ("one-line.txt", "一二三四五六七八九十" * 2000),
        ("one-line.md", "word " * 5000),
        ("table.md", TABLE),
        ("README.md", (PROJECT / "README.md").read_text()),
        ("README.zh-CN.md", (PROJECT / "README.zh-CN.md").read_text()),
        ("architecture.md", (PROJECT / "docs" / "architecture.md").read_text()),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)
def test_a_document_is_read_whole(name: str, text: str) -> None:
    """Every word of it, in its order; only white space and escapes change."""
    read = file_text(name, as_sent(name, text.encode()))
    assert [w.replace("\\", "") for w in read.split()] == [
        w.replace("\\", "") for w in text.split()
    ]
