"""Texts are sent so that FastGPT reads them right, or are refused (docs/facts/fastgpt.md §4)."""

import itertools

import pytest

from provisioning.text_files import as_sent, decoded
from rehearsal.doubles.fastgpt.documents import file_text

ENGLISH = "The library opens at nine.\nIt closes at five.\n"
CHINESE = "阅览室每天九点开放，周一闭馆。\n借书证遗失须付五元工本费（约 5 元）。\n"
TRADITIONAL = "圖書館每天九點開放，週一閉館。借書證遺失須付五元工本費。"
KOREAN = "도서관은 매일 아침 아홉시에 엽니다. 월요일은 휴관입니다."
JAPANESE = "図書館は九時に開きます。月曜日は休館日です。"
RUSSIAN = "Библиотека открыта каждый день с девяти часов"
FRENCH = "Bibliothèque ouverte dès neuf heures, fermée à Noël"


UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-32")
TABLE = "项目,电话\r\n阅览室,5551234\r\n"
KNOWN = {
    (ENGLISH, CHINESE, TRADITIONAL, KOREAN, JAPANESE, RUSSIAN): UNICODE,
    # Without a mark.
    (ENGLISH, CHINESE, "第一章\n一"): ("utf-16-le", "utf-16-be"),
    (CHINESE, "借书证", TABLE, CHINESE + "😀"): ("gb18030",),
}


@pytest.mark.parametrize(("texts", "encodings"), KNOWN.items())
def test_what_cannot_be_another_encoding_is_read(
    texts: tuple[str, ...], encodings: tuple[str, ...]
) -> None:
    for text, encoding in itertools.product(texts, encodings):
        assert decoded(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("text", "encodings"),
    [
        (TRADITIONAL, "big5 gbk"),
        (JAPANESE, "shift_jis euc_jp iso2022_jp"),
        ("東京都,大阪府,京都府,北海道,青森県,岩手県,宮城県", "euc_jp"),
        (KOREAN, "euc_kr johab"),
        (RUSSIAN, "koi8_r cp1251"),
        (FRENCH, "cp1252 mac_roman"),
        # Two characters may be anything.
        ("公交", "gbk utf-16-le"),
    ],
)
def test_what_may_be_another_encoding_is_not_guessed(text: str, encodings: str) -> None:
    assert [e for e in encodings.split() if decoded(text.encode(e)) is not None] == []


@pytest.mark.parametrize("content", [bytes(64), b"text\0text", b"\xff\xfe\x00\xd8", b"\x89PNG\r\n"])
def test_what_is_no_text_is_none(content: bytes) -> None:
    assert decoded(content) is None


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
