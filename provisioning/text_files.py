"""Text files in whatever encoding, sent so that FastGPT reads them right.

FastGPT judges the encoding by a file's first 200 bytes and takes what is neither Unicode nor ASCII
there for GBK. UTF-8 with a mark in front is the one form that it never mistakes
(`docs/facts/fastgpt.md §4`).
"""

import codecs
import re
import unicodedata

KINDS = (".md", ".txt", ".csv", ".html")
_PROSE = (".md", ".txt")
# UTF-32's mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"""<meta[^>]+charset\s*=\s*["']?\s*([\w-]+)""", re.IGNORECASE)
# A block of code, in which FastGPT sees no headings, or a heading with text in the next line.
_HEADING = re.compile(r"(```.*?```|~~~.*?~~~)|^#{1,4}\s[^\n]+\n(?!\r?\n)", re.DOTALL | re.MULTILINE)
_WHITE = "\t\n\v\f\r\x1a\x1b"
# A language's second alphabet, switched on by an escape, looks like ASCII (ISO-2022-JP).
_SWITCH = "\x1b$"


def as_sent(name: str, content: bytes) -> bytes:
    """What is uploaded for a file: a text in UTF-8 with a mark in front, others as they are.

    Headings get the empty line that FastGPT wants behind them. A UnicodeError where the encoding
    cannot be told for certain.
    """
    if not name.lower().endswith(KINDS):
        return content
    text = decoded(content)
    if text is None:
        raise UnicodeError(f"the encoding of {name} cannot be told for certain")
    if name.lower().endswith(_PROSE):
        text = with_spaced_headings(text)
    return codecs.BOM_UTF8 + text.encode()


def with_spaced_headings(text: str) -> str:
    """`text` (Markdown or plain) with an empty line behind each heading.

    FastGPT takes the line behind a heading for a part of it, and drops a section of that line only.
    """
    return _HEADING.sub(lambda found: found[0] if found[1] else f"{found[0]}\n", text)


def decoded(content: bytes) -> str | None:
    """The text of a file, without a mark; None where its encoding cannot be told for certain."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _strictly(content, encoding)
    text = _strictly(content, "utf-8")
    if text is not None and _SWITCH not in text:
        return text
    # A web page says its encoding itself.
    declared = _DECLARED.search(content[:1024])
    said = _strictly(content, declared[1].decode()) if declared else None
    return _utf16(content) or said or _chinese(content)


def _strictly(content: bytes, encoding: str) -> str | None:
    try:
        text = content.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None
    return None if "\0" in text else text


def _utf16(content: bytes) -> str | None:
    """UTF-16 without a mark: only in the right byte order it has spaces and line ends."""
    if b"\0" not in content:
        return None
    texts = (_strictly(content, "utf-16-le"), _strictly(content, "utf-16-be"))
    spaced = [text for text in texts if text and any(white in text for white in " \r\n")]
    if len(spaced) != 1:
        return None
    others = (character for character in spaced[0] if character not in _WHITE)
    unwritten = any(unicodedata.category(other) in ("Cc", "Cn", "Co", "Cs") for other in others)
    return None if unwritten else spaced[0]


def _chinese(content: bytes) -> str | None:
    """Simplified Chinese in GBK or GB18030.

    Nearly any bytes of other double-byte encodings are some rare character in GBK. So nearly all
    must be of the 3755 common ones, which GB 2312 has in rows B0 to D7 by their sound, or
    punctuation. Hangul lies in B0 to C8 of EUC-KR, and the common kanji end at CF in EUC-JP: what
    has no character beyond them may be either.
    """
    text = _strictly(content, "gb18030")
    pairs = [character.encode("gb18030") for character in text or "" if not character.isascii()]
    plain = [pair for pair in pairs if len(pair) == 2 and pair[1] >= 0xA1]
    common = [pair[0] for pair in plain if 0xB0 <= pair[0] <= 0xD7]
    punctuation = [pair for pair in plain if 0xA1 <= pair[0] <= 0xA3]
    beyond_hangul = sum(row > 0xC8 for row in common)
    beyond_kanji = sum(row > 0xCF for row in common)
    certain = (
        len(common) + len(punctuation) >= 0.9 * len(pairs)
        and beyond_hangul >= 0.2 * len(common)
        and beyond_kanji >= max(1, 0.03 * len(common))
    )
    return text if certain else None
