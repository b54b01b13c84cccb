"""PDFs made for a test: what is written where, in which font, on which page."""

import io
from dataclasses import dataclass, field

from pypdf import PdfWriter
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    FloatObject,
    NameObject,
    RectangleObject,
)

HEIGHT = 800
_TO_UNICODE = (
    "1 begincodespacerange <0000> <FFFF> endcodespacerange "
    "1 beginbfrange <0000> <FFFF> <0000> endbfrange"
)


@dataclass(frozen=True)
class Page:
    """A page of 600 x 800 points.

    Attributes:
        lines: height to text, in the order of writing.
        font: its coding: "" for a plain font, else that of a composite font.
        mapped: a composite font has its map to Unicode.
        form: what is written is written in a form, at this height.
        turned: degrees.
        painted: something is painted that is no text.
        box: the page's box.
    """

    lines: tuple[tuple[float, str], ...] = ()
    font: str = ""
    mapped: bool = True
    form: float | None = None
    turned: int = 0
    painted: bool = False
    box: tuple[float, float, float, float] = field(default=(0, 0, 600, HEIGHT))


def pdf(*pages: Page, password: str = "") -> bytes:
    """A PDF of these pages."""
    writer, made = PdfWriter(), io.BytesIO()
    for page in pages:
        _add(writer, page)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(made)
    return made.getvalue()


def words(count: int = 3, height: float = 400) -> Page:
    """A page with text in its middle."""
    return Page(((height, "word " * count),))


def _add(writer: PdfWriter, page: Page) -> None:
    added = writer.add_blank_page(600, HEIGHT)
    added.mediabox = RectangleObject(page.box)
    added.cropbox = RectangleObject(page.box)
    if page.turned:
        added.rotate(page.turned)
    fonts = _dictionary(Font=_dictionary(F1=_font(page)))
    texts = _stream("".join(_line(page, height, text) for height, text in page.lines))
    if page.form is not None:
        texts.update(_dictionary(Type="XObject", Subtype="Form", Resources=fonts))
        texts[NameObject("/BBox")] = ArrayObject([FloatObject(n) for n in (0, 0, 600, 800)])
        fonts = _dictionary(XObject=_dictionary(Fm1=writer._add_object(texts)))
        texts = _stream(f"q 1 0 0 1 0 {page.form} cm /Fm1 Do Q")
    if page.painted:
        texts.set_data(texts.get_data() + b" 10 10 50 50 re f")
    added[NameObject("/Resources")] = fonts
    added[NameObject("/Contents")] = writer._add_object(texts)


def _line(page: Page, height: float, text: str) -> str:
    shown = f"<{text.encode('utf-16-be').hex()}>" if page.font else f"({text})"
    return f"BT /F1 12 Tf 1 0 0 1 50 {height} Tm {shown} Tj ET "


def _font(page: Page) -> DictionaryObject:
    if not page.font:
        return _dictionary(Type="Font", Subtype="Type1", BaseFont="Helvetica")
    below = _dictionary(Type="Font", Subtype="CIDFontType2", BaseFont="Song")
    font = _dictionary(Type="Font", Subtype="Type0", BaseFont="Song", Encoding=page.font)
    font[NameObject("/DescendantFonts")] = ArrayObject([below])
    if page.mapped:
        font[NameObject("/ToUnicode")] = _stream(_TO_UNICODE)
    return font


def _dictionary(**entries: object) -> DictionaryObject:
    return DictionaryObject(
        {
            NameObject(f"/{key}"): NameObject(f"/{value}") if isinstance(value, str) else value
            for key, value in entries.items()
        }
    )


def _stream(content: str) -> DecodedStreamObject:
    stream = DecodedStreamObject()
    stream.set_data(content.encode())
    return stream
