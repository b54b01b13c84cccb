"""Texts are sent so that FastGPT reads them right, or are refused (docs/facts/fastgpt.md §4)."""

import pytest

from provisioning.text_files import as_sent, decoded, with_spaced_headings
from rehearsal.doubles.fastgpt.documents import file_text
from tests.unit.plans import cases

TABLE = cases("texts.yaml")
TEXTS = [text for text, _ in TABLE["known"]]
ENGLISH, CHINESE, TRADITIONAL, _, JAPANESE = TEXTS[:5]


@pytest.mark.parametrize(("text", "encodings"), TABLE["known"])
def test_what_cannot_be_another_encoding_is_read(text: str, encodings: str) -> None:
    assert [e for e in encodings.split() if decoded(text.encode(e)) != text] == []


@pytest.mark.parametrize(("text", "encodings"), TABLE["unknown"])
def test_what_may_be_another_encoding_is_not_guessed(text: str, encodings: str) -> None:
    assert [e for e in encodings.split() if decoded(text.encode(e)) is not None] == []


def test_what_is_no_text_is_none() -> None:
    contents = (bytes(64), b"text\0text", b"\xff\xfe\x00\xd8", b"\x89PNG\r\n")
    assert [decoded(content) for content in contents] == [None] * 4


def test_a_web_page_says_its_encoding_itself() -> None:
    page = f"<html><head><meta charset='big5'></head><body>{TRADITIONAL}</body></html>"
    assert decoded(page.encode("big5")) == page
    assert decoded(page.replace("big5", "no-such").encode("big5")) is None


def test_other_files_are_sent_as_they_are_and_unreadable_texts_not_at_all() -> None:
    assert as_sent("a.pdf", CHINESE.encode("gbk")) == CHINESE.encode("gbk")
    with pytest.raises(UnicodeError, match=r"a\.TXT"):
        as_sent("a.TXT", JAPANESE.encode("shift_jis"))


LATE = ENGLISH * 10 + CHINESE


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-be", "utf-16", "gb18030"])
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.csv", "a.html"])
def test_fastgpt_reads_what_is_sent_right(name: str, encoding: str) -> None:
    """Also where the first other letter comes late, which it takes for ASCII without a mark."""
    text = file_text(name, as_sent(name, LATE.encode(encoding)))
    assert all(words in text for words in ("library", "阅览室每天九点开放", "约 5 元"))


def test_without_the_mark_fastgpt_reads_late_letters_wrong() -> None:
    assert "阅览室" not in file_text("a.txt", LATE.encode())


@pytest.mark.parametrize(("text", "sent"), TABLE["headings"])
def test_a_heading_stands_alone(text: str, sent: str) -> None:
    assert with_spaced_headings(text) == sent
    assert with_spaced_headings(sent) == sent
