"""The text of a PDF as FastGPT reads it with pdf.js (`docs/facts/fastgpt.md §4`).

It joins lines without a space, ends one after a sentence only, and leaves out what stands in the
outer twentieth of a page's height, above and below.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import IO, Any

from pypdf import PageObject, PdfReader, Transformation
from pypdf.generic import DictionaryObject, NameObject

MARGIN = 0.05
_SENTENCE_ENDS = tuple("。？！.?!\n\r")
_IDENTITY = ("/Identity-H", "/Identity-V")
_TEXT = (b"Tj", b"TJ", b"'", b'"')
_DRAWING = (b"Do", b"INLINE IMAGE", b"sh", *b"S s f F f* B B* b b*".split())
_UNMOVED = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)

Numbers = Iterable[float]
Font = DictionaryObject | None


@dataclass(frozen=True)
class PdfPage:
    """What there is to read on a page. Counts are of letters and digits.

    Attributes:
        text: what FastGPT reads.
        in_margins: left out because of their place.
        unmapped: not readable, because the font does not say which characters it shows.
        blank: nothing is painted on it at all.
    """

    text: str
    read: int
    in_margins: int
    unmapped: int
    blank: bool


def pdf_pages(file: IO[bytes]) -> list[PdfPage]:
    """The pages of a PDF; a broken file raises anything, a locked one FileNotDecryptedError."""
    return [_page(page) for page in PdfReader(file).pages]


@dataclass(frozen=True)
class _Piece:
    text: str
    height: float
    mapped: bool

    @property
    def size(self) -> int:
        return sum(character.isalnum() for character in self.text)


class _Listener:
    """Collects what pypdf finds, by its place on the page, not in a form (a drawing used whole)."""

    def __init__(self, page: PageObject) -> None:
        self.pieces: list[_Piece] = []
        self.paints = False
        self._within: list[tuple[Transformation, DictionaryObject]] = [(Transformation(), page)]

    def before(self, operator: bytes, operands: list[Any], drawing: Numbers, *_: object) -> None:
        self.paints |= operator in (*_TEXT, *_DRAWING)
        if operator == b"Do":
            outer, owner = self._within[-1]
            form = _form(owner, operands)
            own = _moved(form.get("/Matrix", _UNMOVED))
            place = own.transform(_moved(drawing)).transform(outer)
            self._within.append((place, form))

    def after(self, operator: bytes, *_: object) -> None:
        if operator == b"Do":
            self._within.pop()

    def text(self, text: str, drawing: Numbers, place: Numbers, font: Font, *_: object) -> None:
        if shown := text.replace("\n", ""):
            on_form = _moved(place).transform(_moved(drawing))
            height = on_form.transform(self._within[-1][0]).ctm[5]
            self.pieces.append(_Piece(shown, height, _is_mapped(font)))


def _moved(matrix: Numbers) -> Transformation:
    a, b, c, d, e, f = (float(number) for number in matrix)
    return Transformation((a, b, c, d, e, f))


def _page(page: PageObject) -> PdfPage:
    listener = _Listener(page)
    page.extract_text(
        visitor_text=listener.text,
        visitor_operand_before=listener.before,
        visitor_operand_after=listener.after,
    )
    # pdf.js takes the height of the page as it is shown, turned where the page is turned, but
    # measures from the origin of the page as it is written.
    turned = page.rotation % 180 != 0
    height = float(page.cropbox.width if turned else page.cropbox.height)
    low, high = height * MARGIN, height * (1 - MARGIN)
    pieces = [piece for piece in listener.pieces if piece.mapped]
    kept = [piece for piece in pieces if low < piece.height < high]
    return PdfPage(
        text="".join(_joined(pieces, low, high)),
        read=sum(piece.size for piece in kept),
        in_margins=sum(piece.size for piece in pieces) - sum(piece.size for piece in kept),
        unmapped=sum(piece.size for piece in listener.pieces if not piece.mapped),
        blank=not listener.paints and not page.get("/Annots"),
    )


def _joined(pieces: list[_Piece], low: float, high: float) -> Iterator[str]:
    following = [piece.height for piece in pieces[1:]]
    for piece, after in zip_longest(pieces, following):
        if low < piece.height < high:
            yield piece.text
            line_ends = after is not None and abs(after - piece.height) > 1
            yield "\n" if line_ends and piece.text.endswith(_SENTENCE_ENDS) else ""


def _is_mapped(font: Font) -> bool:
    """Whether pdf.js can tell which characters a font shows.

    A composite font needs its own map to Unicode, and a coding that needs none of the tables that
    come with pdf.js, because FastGPT does not tell it where they are.
    """
    if font is None or font.get("/Subtype") != "/Type0":
        return True
    coding = font["/Encoding"].get_object() if "/Encoding" in font else None
    if isinstance(coding, DictionaryObject):
        foreign = isinstance(coding.get("/UseCMap"), NameObject)
    else:
        foreign = isinstance(coding, NameObject) and coding not in _IDENTITY
    return not foreign and "/ToUnicode" in font


def _form(owner: DictionaryObject, operands: list[Any]) -> DictionaryObject:
    found: Any = owner
    for key in ("/Resources", "/XObject", operands[0] if operands else ""):
        found = found.get(key, DictionaryObject()).get_object()
    return found if isinstance(found, DictionaryObject) else DictionaryObject()
