"""PDFs made for a test: what is written where, in which font, on which page."""

import io
from dataclasses import dataclass

from pypdf import PdfWriter
from pypdf.generic import ArrayObject as Array
from pypdf.generic import DecodedStreamObject as Stream
from pypdf.generic import DictionaryObject as Dictionary
from pypdf.generic import FloatObject, NameObject, RectangleObject

WHOLE = (0, 0, 600, 800)
_TO_UNICODE = (
    "1 begincodespacerange <0000> <FFFF> endcodespacerange "
    "1 beginbfrange <0000> <FFFF> <0000> endbfrange"
)


@dataclass(frozen=True)
class Page:
    """A page of 600 x 800 points; `lines` are texts by their heights, in the order of writing."""

    lines: tuple[tuple[float, str], ...] = ()
    font: str = ""  # The coding of a composite font; a plain one has none.
    mapped: bool = True  # A composite font has its map to Unicode.
    form: float | None = None  # What is written is written in a form, at this height.
    turned: int = 0  # Degrees.
    painted: bool = False  # Something is painted that is no text.
    box: tuple[float, float, float, float] = WHOLE


def pdf(*pages: Page, password: str = "") -> bytes:
    writer, made = PdfWriter(), io.BytesIO()
    for page in pages:
        _add(writer, page)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(made)
    return made.getvalue()


def words() -> Page:
    return Page(((400, "word word word "),))


def _add(writer: PdfWriter, page: Page) -> None:
    added = writer.add_blank_page(*WHOLE[2:])
    added.mediabox = added.cropbox = RectangleObject(page.box)
    if page.turned:
        added.rotate(page.turned)
    fonts = _dictionary(Font=_dictionary(F1=_font(page)))
    texts = _stream("".join(_line(page, height, text) for height, text in page.lines))
    if page.form is not None:
        texts.update(_dictionary(Type="XObject", Subtype="Form", Resources=fonts))
        texts[NameObject("/BBox")] = Array([FloatObject(n) for n in WHOLE])
        fonts = _dictionary(XObject=_dictionary(Fm1=writer._add_object(texts)))
        texts = _stream(f"q 1 0 0 1 0 {page.form} cm /Fm1 Do Q")
    if page.painted:
        texts.set_data(texts.get_data() + b" 10 10 50 50 re f")
    added[NameObject("/Resources")] = fonts
    added[NameObject("/Contents")] = writer._add_object(texts)


def _line(page: Page, height: float, text: str) -> str:
    shown = f"<{text.encode('utf-16-be').hex()}>" if page.font else f"({text})"
    return f"BT /F1 12 Tf 1 0 0 1 50 {height} Tm {shown} Tj ET "


def _font(page: Page) -> Dictionary:
    if not page.font:
        return _dictionary(Type="Font", Subtype="Type1", BaseFont="Helvetica")
    below = _dictionary(Type="Font", Subtype="CIDFontType2", BaseFont="Song")
    font = _dictionary(Type="Font", Subtype="Type0", BaseFont="Song", Encoding=page.font)
    font[NameObject("/DescendantFonts")] = Array([below])
    if page.mapped:
        font[NameObject("/ToUnicode")] = _stream(_TO_UNICODE)
    return font


def _dictionary(**entries: object) -> Dictionary:
    values = {key: NameObject(f"/{v}") if isinstance(v, str) else v for key, v in entries.items()}
    return Dictionary({NameObject(f"/{key}"): value for key, value in values.items()})


def _stream(content: str) -> Stream:
    stream = Stream()
    stream.set_data(content.encode())
    return stream
