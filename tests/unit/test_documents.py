"""Documents on the operator's machine: which there are, and which FastGPT could not read."""

from __future__ import annotations

import io
import os
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfWriter

from provisioning import documents
from provisioning.documents import document_problem, files_of, source_problems, sources
from provisioning.knowledge import Base, Document

PROJECT = Path(__file__).resolve().parents[2]
MANUAL = PROJECT / "documents" / "lab-manual.pdf"


def base(*given: dict[str, Any]) -> Base:
    return Base.model_validate({"name": "b", "documents": given})


def written(folder: Path, *names: str) -> None:
    for name in names:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"This is {name}.")


def problems(folder: Path, *given: dict[str, Any]) -> list[tuple[int, str]]:
    return list(source_problems(base(*given), folder))


# -- which there are ----------------------------------------------------------------------------


def test_a_folder_is_every_readable_file_below_it(tmp_path: Path) -> None:
    written(tmp_path, "notes/b.md", "notes/deep/a.TXT", "notes/picture.png", "other/c.md")
    found = sources(base({"folder": "notes"}), tmp_path)
    assert [(s.name, str(s.file)) for s in found] == [
        ("b.md", "notes/b.md"),
        ("a.TXT", "notes/deep/a.TXT"),
    ]


def test_what_programs_put_beside_an_open_file_is_no_document(tmp_path: Path) -> None:
    written(tmp_path, "notes/a.md", "notes/.a.md", "notes/~$a.docx", "notes/.git/readme.md")
    assert [file.name for file in files_of(Document(folder="notes"), tmp_path)] == ["a.md"]


def test_a_hidden_folder_that_is_named_itself_counts(tmp_path: Path) -> None:
    written(tmp_path, ".private/a.md")
    assert [s.name for s in sources(base({"folder": ".private"}), tmp_path)] == ["a.md"]


def test_a_file_is_told_by_its_name_wherever_it_lies(tmp_path: Path) -> None:
    written(tmp_path, "old/a.md", "new/a.md")
    one = sources(base({"file": "old/a.md"}), tmp_path)[0]
    two = sources(base({"file": "new/a.md"}), tmp_path)[0]
    assert (one.name, two.name) == ("a.md", "a.md")
    assert one.file != two.file


def test_a_file_of_the_project_is_named_relative_to_it(tmp_path: Path) -> None:
    written(tmp_path, "project/a.md", "elsewhere/b.md")
    project = tmp_path / "project"
    absolute = str(tmp_path / "elsewhere" / "b.md")
    given = base({"file": "a.md"}, {"file": "../elsewhere/b.md"}, {"file": absolute})
    found = [str(source.file) for source in sources(given, project)]
    assert found == ["a.md", "../elsewhere/b.md", absolute]


def test_a_path_may_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, "papers/a.md")
    assert not problems(Path("/nowhere"), {"file": "~/papers/a.md"})


def test_a_text_and_a_link_are_sources_without_a_file(tmp_path: Path) -> None:
    given = base({"text": "It is so.", "name": "facts"}, {"link": "https://example.com/a"})
    found = sources(given, tmp_path)
    assert [(s.name, s.index, s.file) for s in found] == [
        ("facts", 0, None),
        ("https://example.com/a", 1, None),
    ]


def test_a_name_is_the_same_on_every_system(tmp_path: Path) -> None:
    written(tmp_path, unicodedata.normalize("NFD", "Übersicht.md"))
    found = sources(base({"folder": "."}), tmp_path)
    assert [s.name for s in found] == [unicodedata.normalize("NFC", "Übersicht.md")]


# -- what FastGPT could not read ----------------------------------------------------------------


def scanned() -> bytes:
    writer, made = PdfWriter(), io.BytesIO()
    writer.add_blank_page(width=200, height=200)
    writer.write(made)
    return made.getvalue()


def locked() -> bytes:
    writer, made = PdfWriter(MANUAL), io.BytesIO()
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(made)
    return made.getvalue()


def archive() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("word/document.xml", "<w:p><w:t>Hello.</w:t></w:p>")
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.md", b"Some text."),
        ("manual.pdf", MANUAL.read_bytes()),
        ("a.docx", archive()),
        ("实验室手册.md", "这是手册。".encode()),
        ("手册.txt", "这是手册。".encode("gb18030")),
        # The client percent-encodes names, so that FastGPT's decoding gives them back.
        ("50% off.md", b"Half the price."),
        ("100%.md", b"Everything."),
        ("a%20b.md", b"Not a space."),
    ],
)
def test_good_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert document_problem(tmp_path / name) is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.exe", b"x", "cannot be read; use one of .pdf"),
        ("a.md", b"", "a.md is empty"),
        ("a.txt", b" \n\t ", "a.txt has no text"),
        ("scan.pdf", scanned(), "scan without text; run it through OCR"),
        ("locked.pdf", locked(), "locked.pdf is not a readable PDF"),
        ("a.pdf", b"<html>saved by mistake</html>", "a.pdf is not a readable PDF"),
        ("a.docx", b"\xd0\xcf\x11\xe0 an old .doc", "a.docx is not a readable .docx"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in (document_problem(tmp_path / name) or "")


def test_a_missing_file_is_said_with_what_paths_are_relative_to(tmp_path: Path) -> None:
    assert "is not there; paths are relative to the folder of Pulumi.yaml" in str(
        document_problem(tmp_path / "a.md")
    )


def test_a_folder_without_documents(tmp_path: Path) -> None:
    written(tmp_path, "notes/picture.png")
    assert "holds nothing to read" in problems(tmp_path, {"folder": "notes"})[0][1]


def test_a_file_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LARGEST_BYTES", 2 << 20)
    large = tmp_path / "a.md"
    large.write_bytes(b"x" * (3 << 20))
    assert document_problem(large) == "a.md has 3 MiB; FastGPT takes 2 MiB at most"


def test_the_limit_is_fastgpts() -> None:
    assert documents.LARGEST_BYTES == 500 * 1024 * 1024


def test_a_pdf_that_breaks_the_reader_is_said_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(file: Path) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(documents, "PdfReader", breaks)
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4")
    assert "not a readable PDF (too deep)" in str(document_problem(tmp_path / "a.pdf"))


def test_a_name_that_is_no_utf_8_can_be_nobodys(tmp_path: Path) -> None:
    place = os.path.join(os.fsencode(tmp_path), b"\xff.md")  # noqa: PTH118 - bytes
    with open(place, "wb") as file:  # noqa: PTH123 - bytes
        file.write(b"Text.")
    ((_, said),) = problems(tmp_path, {"folder": "."})
    assert "not a name in UTF-8" in said


# -- a base as a whole --------------------------------------------------------------------------

SAME_NAMES: list[tuple[str, Callable[[Path], tuple[dict[str, Any], ...]]]] = [
    ("one file twice", lambda _: ({"file": "x/a.md"}, {"file": "x/a.md"})),
    ("two of one name", lambda _: ({"file": "x/a.md"}, {"file": "y/a.md"})),
    ("a file and its folder", lambda _: ({"file": "x/a.md"}, {"folder": "x"})),
    ("a file and a text", lambda _: ({"file": "x/a.md"}, {"text": "t", "name": "a.md"})),
    ("one link twice", lambda _: ({"link": "https://e.com"}, {"link": "https://e.com"})),
]


@pytest.mark.parametrize("given", [case[1] for case in SAME_NAMES], ids=[c[0] for c in SAME_NAMES])
def test_documents_of_one_name_are_refused(
    tmp_path: Path, given: Callable[[Path], tuple[dict[str, Any], ...]]
) -> None:
    written(tmp_path, "x/a.md", "y/a.md")
    ((index, said),) = problems(tmp_path, *given(tmp_path))
    assert index == 1
    assert "is there twice" in said
    assert "rename one" in said


def test_two_of_one_name_below_one_folder_are_both_named(tmp_path: Path) -> None:
    written(tmp_path, "notes/x/readme.md", "notes/y/readme.md")
    ((_, said),) = problems(tmp_path, {"folder": "notes"})
    assert "notes/x/readme.md" in said
    assert "notes/y/readme.md" in said


def test_every_bad_document_is_said_at_its_place(tmp_path: Path) -> None:
    written(tmp_path, "good.md")
    (tmp_path / "empty.md").write_text("")
    found = problems(
        tmp_path,
        {"file": "good.md"},
        {"file": "empty.md"},
        {"text": "  ", "name": "nothing"},
        {"link": "example.com/page"},
        {"link": "ftp://example.com/page"},
        {"link": "https://[broken"},
        {"file": "gone.md"},
    )
    assert [index for index, _ in found] == [1, 2, 3, 4, 5, 6]
    assert "nothing has no text" in found[1][1]
    assert all("https://example.com/page" in said for _, said in found[2:5])


def test_every_message_tells_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty.md").write_text("")
    (tmp_path / "blank.txt").write_text(" ")
    (tmp_path / "a.pdf").write_text("no")
    (tmp_path / "pictures").mkdir()
    given = [{"file": f} for f in ("empty.md", "blank.txt", "a.pdf", "gone.md")]
    found = problems(tmp_path, *given, {"folder": "pictures"}, {"text": " ", "name": "n"})
    assert len(found) == 6
    assert all("; " in said for _, said in found)


def test_the_reference_labs_document_is_readable() -> None:
    assert not problems(PROJECT, {"file": "documents/lab-manual.pdf"})
