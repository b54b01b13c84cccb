"""Text files are sent so that FastGPT reads them right, or are refused (docs/facts/fastgpt.md
§4)."""

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


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, TRADITIONAL, KOREAN, JAPANESE, RUSSIAN])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_is_read_whatever_the_language(text: str, encoding: str) -> None:
    assert decoded(text.encode(encoding)) == text


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, "第一章\n一"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_utf_16_is_known_without_a_mark(text: str, order: str) -> None:
    assert decoded(text.encode(f"utf-16-{order}")) == text


@pytest.mark.parametrize(
    "text", [CHINESE, "借书证", "项目,电话\r\n阅览室,5551234\r\n", CHINESE + "😀"]
)
def test_simplified_chinese_is_known_in_its_own_encoding(text: str) -> None:
    assert decoded(text.encode("gb18030")) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (TRADITIONAL, "big5"),
        (TRADITIONAL, "gbk"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "iso2022_jp"),
        ("東京都,大阪府,京都府,北海道,青森県,岩手県,宮城県", "euc_jp"),
        (KOREAN, "euc_kr"),
        (KOREAN, "johab"),
        (RUSSIAN, "koi8_r"),
        (RUSSIAN, "cp1251"),
        (FRENCH, "cp1252"),
        (FRENCH, "mac_roman"),
        # Two characters may be anything.
        ("公交", "gbk"),
        ("公交", "utf-16-le"),
    ],
)
def test_what_may_be_another_encoding_is_not_guessed(text: str, encoding: str) -> None:
    assert decoded(text.encode(encoding)) is None


@pytest.mark.parametrize("content", [bytes(64), b"text\0text", b"\xff\xfe\x00\xd8", b"\x89PNG\r\n"])
def test_what_is_no_text_is_none(content: bytes) -> None:
    assert decoded(content) is None


def test_a_web_page_says_its_encoding_itself() -> None:
    page = f"<html><head><meta charset='big5'></head><body>{TRADITIONAL}</body></html>"
    assert decoded(page.encode("big5")) == page
    assert decoded(page.replace("big5", "no-such").encode("big5")) is None


def test_other_files_are_sent_as_they_are() -> None:
    assert as_sent("a.pdf", CHINESE.encode("gbk")) == CHINESE.encode("gbk")


def test_a_text_that_cannot_be_read_is_not_sent() -> None:
    with pytest.raises(UnicodeError, match=r"a\.TXT"):
        as_sent("a.TXT", JAPANESE.encode("shift_jis"))


LATE = ENGLISH * 10 + CHINESE


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-be", "utf-16", "gb18030"])
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.csv", "a.html"])
def test_fastgpt_reads_what_is_sent_right(name: str, encoding: str) -> None:
    """Also where the first other letter comes late, which it takes for ASCII without a mark."""
    text = file_text(name, as_sent(name, LATE.encode(encoding)))
    for word in ("library", "阅览室每天九点开放", "约 5 元"):
        assert word in text


def test_without_the_mark_fastgpt_reads_late_letters_wrong() -> None:
    assert "阅览室" not in file_text("a.txt", LATE.encode())
