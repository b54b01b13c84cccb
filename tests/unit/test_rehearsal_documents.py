"""What the double of FastGPT reads from files (docs/facts/fastgpt.md §4, docs/facts/measured.md
§1)."""

import io
import zipfile
from pathlib import Path

import pytest

from provisioning.text_files import as_sent
from rehearsal.doubles.fastgpt.documents import file_text, html_text
from rehearsal.doubles.fastgpt.envelope import Problem
from tests.unit.pdfs import Page, pdf, words

PROJECT = Path(__file__).resolve().parents[2]
CASES = PROJECT / "tests" / "cases" / "docs"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.exe", b"x"),
        ("a.pdf", b"no pdf"),
        ("a.pdf", pdf(words(), password="x")),
        ("a.docx", b"no zip"),
        ("a.docx", (CASES / "zip.docx").read_bytes()),
    ],
    ids=["exe", "broken pdf", "locked pdf", "broken docx", "zip"],
)
def test_what_is_no_such_file_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(Problem):
        file_text(name, content)


def test_what_is_read_of_a_file() -> None:
    """Its encoding is judged by the first 200 bytes: Unicode, ASCII, else it is taken for GBK."""
    page = "<title>Opening hours</title><body><script>var x</script><p>From <b>nine</b>.</p>"
    assert html_text(page) == ("Opening hours", "From\nnine\n.")
    assert file_text("a.html", page.encode()) == html_text(page)[1]
    assert file_text("a.pdf", pdf(Page(painted=True))) == "", "a scan"
    late = b"x" * 200 + "书".encode()
    assert "书" not in file_text("a.txt", late)
    assert file_text("a.txt", b"x" * 199 + "书".encode("utf-8-sig"))[-1] != "书"
    assert file_text("a.txt", b"\xef\xbb\xbf" + late).endswith("书")
    assert file_text("a.txt", "阅览室每天九点开放".encode("gbk")) == "阅览室每天九点开放"
    assert file_text("a.txt", "圖書館每天九點開放".encode("big5")) != "圖書館每天九點開放"
    assert file_text("a.txt", b"\xfe\xff" + "图书馆".encode("utf-16-be")) != "图书馆"


def test_a_paragraph_is_read_as_one_whatever_its_runs() -> None:
    """Word begins a run where somebody corrected a letter."""
    runs = "".join(f"<w:r><w:t>{text}</w:t></w:r>" for text in ("The li", "brary"))
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = f'<w:document xmlns:w="{space}"><w:body><w:p>{runs}</w:p><w:p>{runs}</w:p></w:body>'
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", f"{body}</w:document>")
    assert file_text("a.docx", file.getvalue()) == "The library\n\nThe library"


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
    """Every word of it, in its order; only white space changes."""
    read = file_text(name, as_sent(name, text.encode()))
    assert read.split() == text.split()
