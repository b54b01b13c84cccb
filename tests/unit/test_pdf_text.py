"""The text of a PDF as FastGPT reads it (docs/facts/fastgpt.md §4, docs/facts/measured.md §1)."""

import hashlib
import io
from pathlib import Path

import pytest

from provisioning.pdf_text import PdfPage, pdf_pages
from tests.unit.pdfs import Page, pdf

PROJECT = Path(__file__).resolve().parents[2]
# As FastGPT v4.8.8-fix2 told it of the same file: rawTextLength and hashRawText.
RECORDED = (4545, "d856c7dcb9b8d1e988f839ea3df56f1d5a389f2d4f66396d48465b7f1ce2b86a")


def read(*pages: Page) -> list[PdfPage]:
    return pdf_pages(io.BytesIO(pdf(*pages)))


def test_the_reference_labs_document_is_read_to_the_byte() -> None:
    with (PROJECT / "documents" / "lab-manual.pdf").open("rb") as file:
        text = "".join(page.text for page in pdf_pages(file))
    assert (len(text), hashlib.sha256(text.encode()).hexdigest()) == RECORDED


def test_lines_are_joined_without_a_space_and_end_after_a_sentence_only() -> None:
    (page,) = read(Page(((700, "The pump is of its"), (680, "kind."), (660, "It hums"))))
    assert page.text == "The pump is of itskind.\nIt hums"


def test_what_stands_in_the_outer_twentieth_is_left_out() -> None:
    (page,) = read(Page(((761, "Head"), (759, "Top"), (41, "Bottom"), (39, "Foot 7"))))
    assert page.text == "TopBottom"
    assert (page.read, page.in_margins) == (9, 9)


def test_a_turned_page_is_measured_as_it_is_shown() -> None:
    """Its height is 600 then, and what stands above 570 of 800 is gone."""
    (page,) = read(Page(((571, "gone"), (569, "kept")), turned=90))
    assert (page.text, page.in_margins) == ("kept", 4)


def test_a_page_whose_box_begins_elsewhere_is_measured_from_the_origin() -> None:
    (page,) = read(Page(((761, "gone"), (759, "kept")), box=(0, 100, 600, 900)))
    assert page.text == "kept"


def test_a_forms_text_stands_where_the_form_is_drawn() -> None:
    (page,) = read(Page(((0, "kept"), (361, "gone")), form=400))
    assert (page.text, page.in_margins) == ("kept", 4)


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
