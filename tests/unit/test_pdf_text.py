"""The text of a PDF as FastGPT reads it (docs/facts/fastgpt.md §4, docs/facts/measured.md §1)."""

import hashlib
import io

import pytest

from provisioning.pdf_text import PdfPage, pdf_pages
from tests.unit.pdfs import Page, pdf
from tests.unit.program import PROJECT

# As FastGPT v4.8.8-fix2 told it of the same file: rawTextLength and hashRawText.
RECORDED = (4545, "d856c7dcb9b8d1e988f839ea3df56f1d5a389f2d4f66396d48465b7f1ce2b86a")


def read(*pages: Page) -> list[PdfPage]:
    return pdf_pages(io.BytesIO(pdf(*pages)))


def test_the_reference_labs_document_is_read_to_the_byte() -> None:
    with (PROJECT / "documents" / "lab-manual.pdf").open("rb") as file:
        text = "".join(page.text for page in pdf_pages(file))
    assert (len(text), hashlib.sha256(text.encode()).hexdigest()) == RECORDED


LINES = ((700, "The pump is of its"), (680, "kind."), (660, "It hums"))
EDGES = ((761, "Head"), (759, "Top"), (41, "Bottom"), (39, "Foot 7"))


@pytest.mark.parametrize(
    ("page", "text", "in_margins"),
    [
        # Lines are joined without a space and end after a sentence only.
        (Page(LINES), "The pump is of itskind.\nIt hums", 0),
        # What stands in the outer twentieth is left out.
        (Page(EDGES), "TopBottom", 9),
        # A turned page is measured as it is shown: its height is 600 then.
        (Page(((571, "gone"), (569, "kept")), turned=90), "kept", 4),
        # A page whose box begins elsewhere is measured from the origin.
        (Page(((761, "gone"), (759, "kept")), box=(0, 100, 600, 900)), "kept", 4),
        # A form's text stands where the form is drawn.
        (Page(((0, "kept"), (361, "gone")), form=400), "kept", 4),
    ],
)
def test_a_text_is_read_by_where_it_stands(page: Page, text: str, in_margins: int) -> None:
    (found,) = read(page)
    assert (found.text, found.in_margins) == (text, in_margins)


@pytest.mark.parametrize(
    ("coding", "mapped", "text"),
    [
        ("Identity-H", True, "阅览室"),
        ("Identity-V", True, "阅览室"),
        # Without a map its numbers would be taken for characters; a table that comes with pdf.js
        # is not where FastGPT runs.
        ("Identity-H", False, ""),
        ("UniGB-UCS2-H", True, ""),
        ("GBK-EUC-H", False, ""),
    ],
)
def test_a_composite_font_needs_its_own_map(coding: str, mapped: bool, text: str) -> None:
    (page,) = read(Page(((400, "阅览室"),), font=coding, mapped=mapped))
    assert page.text == text
    assert bool(page.unmapped) != bool(text)


def test_a_page_on_which_nothing_is_painted_is_blank() -> None:
    written = Page(((400, "x"),))
    assert [p.blank for p in read(Page(), Page(painted=True), written)] == [True, False, False]
