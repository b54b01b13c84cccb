"""What the double of FastGPT reads from files (docs/facts/fastgpt.md §4, docs/facts/measured.md
§1)."""

import hashlib
from pathlib import Path

import pytest

from provisioning.text_files import as_sent
from rehearsal.doubles.fastgpt.documents import file_text, html_text
from rehearsal.doubles.fastgpt.envelope import Problem
from tests.unit.pdfs import Page, pdf, words

PROJECT = Path(__file__).resolve().parents[2]
CASES = PROJECT / "tests" / "cases" / "docs"
# As FastGPT v4.8.8-fix2 told it of the same file: hashRawText.
RECORDED = "d856c7dcb9b8d1e988f839ea3df56f1d5a389f2d4f66396d48465b7f1ce2b86a"


def test_the_reference_labs_document_is_what_the_real_one_read() -> None:
    text = file_text("a.pdf", (PROJECT / "documents" / "lab-manual.pdf").read_bytes())
    assert hashlib.sha256(text.encode()).hexdigest() == RECORDED


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


def test_a_web_page_is_its_title_and_the_text_of_its_body() -> None:
    page = "<title>Opening hours</title><body><script>var x</script><p>From <b>nine</b>.</p>"
    assert html_text(page) == ("Opening hours", "From\nnine\n.")
    assert file_text("a.html", page.encode()) == html_text(page)[1]


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
