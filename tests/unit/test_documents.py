"""Documents on the operator's machine: which there are, and which FastGPT could not read."""

import io
import os
import re
import unicodedata
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from provisioning import readable
from provisioning.documents import source_problems, sources
from provisioning.knowledge import Base
from provisioning.problems import Problem
from tests.unit.pdfs import Page, pdf, words
from tests.unit.plans import cases
from tests.unit.program import PROJECT


def base(*given: dict[str, Any]) -> Base:
    return Base.model_validate({"name": "b", "documents": given})


def written(folder: Path, *names: str) -> None:
    for name in names:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"This is {name}.")


def problems(folder: Path, *given: dict[str, Any]) -> list[Problem]:
    found = list(source_problems(base(*given), folder, "knowledge.bases[0]"))
    for problem in found:
        assert problem.path.startswith("knowledge.bases[0].documents[")
        assert problem.wrong.strip()
        assert problem.right.strip()
        assert "; " not in problem.wrong
    return found


def one(folder: Path, name: str, content: bytes) -> Problem:
    (folder / name).write_bytes(content)
    (found,) = problems(folder, {"file": name})
    return found


def content(case: dict[str, Any]) -> bytes:
    if "zip" not in case:
        return str(case["text"]).encode(case.get("encoding", "utf-8"))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, text in {"[Content_Types].xml": "<Types/>", **case["zip"]}.items():
            file.writestr(name, text)
    return made.getvalue()


@pytest.mark.parametrize("case", cases("documents.yaml"))
def test_what_is_said_of_documents(tmp_path: Path, case: dict[str, Any]) -> None:
    written(tmp_path, "x/a.md", "y/a.md", "notes/picture.png")
    if "file" in case:
        (tmp_path / case["file"]).write_bytes(content(case))
    given = case.get("documents") or [{"file": case["file"]}]
    found = problems(tmp_path, *given)
    if "says" not in case:
        assert found == []
        return
    (problem,) = found
    assert problem.path.startswith(f"knowledge.bases[0].documents[{len(given) - 1}]")
    assert case["says"] in str(problem)
    assert "secret" not in str(problem)
    assert not problem.warning


@pytest.mark.parametrize(
    ("files", "folder", "found"),
    [
        (["notes/b.md", "notes/deep/a.TXT", "notes/picture.png", "other/c.md"], "notes",
         [("b.md", "notes/b.md"), ("a.TXT", "notes/deep/a.TXT")]),
        # What programs put beside an open file is no document.
        (["n/a.md", "n/.a.md", "n/~$a.docx", "n/.git/readme.md"], "n", [("a.md", "n/a.md")]),
        # A hidden folder that is named itself counts.
        ([".private/a.md"], ".private", [("a.md", ".private/a.md")]),
    ],
)  # fmt: skip
def test_a_folder_is_every_readable_file_below_it(
    tmp_path: Path, files: list[str], folder: str, found: list[tuple[str, str]]
) -> None:
    written(tmp_path, *files)
    assert [(s.name, s.file) for s in sources(base({"folder": folder}), tmp_path)] == found


def test_a_source_has_a_name_and_a_file_relative_to_the_project(tmp_path: Path) -> None:
    written(tmp_path, "project/a.md", "elsewhere/b.md")
    away, link = str(tmp_path / "elsewhere" / "b.md"), "https://example.com/a"
    files = [{"file": name} for name in ("a.md", "../elsewhere/b.md", away)]
    given = base(*files, {"text": "It is so.", "name": "facts"}, {"link": link})
    found = [(s.name, s.index, s.file) for s in sources(given, tmp_path / "project")]
    assert found[:2] == [("a.md", 0, "a.md"), ("b.md", 1, "../elsewhere/b.md")]
    assert found[2:] == [("b.md", 2, away), ("facts", 3, None), (link, 4, None)]


def test_a_path_may_begin_with_the_home_folder_and_a_name_is_the_same_on_every_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, unicodedata.normalize("NFD", "papers/Übersicht.md"))
    (found,) = sources(base({"folder": "~/papers"}), Path("/nowhere"))
    assert found.name == unicodedata.normalize("NFC", "Übersicht.md")


def test_what_a_folder_leaves_out_is_told(tmp_path: Path) -> None:
    names = "a.md .b.md .old/c.md .old/d.md deep/e.rtf .DS_Store .git/config ~$a.docx"
    written(tmp_path, *(f"n/{name}" for name in names.split()))
    (tmp_path / "n" / "linked").symlink_to(tmp_path)
    (told,) = problems(tmp_path, {"folder": "n"})
    assert told.warning
    assert told.wrong.endswith("left out: .b.md, .old, deep/e.rtf, linked")
    assert ".pdf, .docx" in told.right
    written(tmp_path, "many/a.md", *(f"many/{number:02}.png" for number in range(25)))
    (told,) = problems(tmp_path, {"folder": "many"})
    assert told.wrong.endswith("08.png, 09.png, and 15 more")


SCANNED = Page(painted=True)
TURNED = Page(((400, "few"), (700, "many more words")), turned=90)


@pytest.mark.parametrize(
    ("pages", "refused", "said"),
    [
        # Blank pages do not count.
        ([words(), Page(), Page()], None, ""),
        # Most of them without text: it is refused. Half or fewer: a warning.
        ([words()] * 9 + [SCANNED], False, "no text on 1 of 10 pages of a.pdf (page 10)"),
        ([words(), SCANNED] * 3, False, "on 3 of 6 pages of a.pdf (pages 2, 4, 6)"),
        ([words(), SCANNED, SCANNED], True, "on 2 of 3 pages of a.pdf (pages 2-3)"),
        ([words(), words(), SCANNED] * 12, False, "27, 30, ...)"),
        ([SCANNED], True, "run it through OCR"),
        ([Page(), Page()], True, "blank pages only"),
        ([Page(((400, "阅览室"),), font="Identity-H", mapped=False)], True, "no ToUnicode"),
        ([Page(((770, "Head"), (20, "Foot")))], True, "wider margins"),
        ([TURNED], False, "leaves out most of the text of a.pdf on page 1"),
    ],
)
def test_pages_without_text_are_counted_and_named(
    tmp_path: Path, pages: list[Page], refused: bool | None, said: str
) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(*pages))
    found = problems(tmp_path, {"file": "a.pdf"})
    assert [not problem.warning for problem in found] == ([] if refused is None else [refused])
    assert said in "".join(map(str, found))


def test_a_locked_a_large_and_a_broken_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readable, "LARGEST_BYTES", 2 << 20)
    assert "opens with a password only" in one(tmp_path, "b.pdf", pdf(words(), password="x")).wrong
    assert "a.md has 3 MiB" in one(tmp_path, "a.md", b"x" * (3 << 20)).wrong
    # One that breaks its reader is said, not raised.
    broken = MagicMock(side_effect=RecursionError("too deep"))
    monkeypatch.setattr(readable, "pdf_pages", broken)
    assert "not a readable PDF (too deep)" in one(tmp_path, "a.pdf", b"%PDF-1.4").wrong


def test_a_name_that_is_no_utf_8_can_be_nobodys(tmp_path: Path) -> None:
    for name in (b"\xff.md", b"\xff.png"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:  # noqa: PTH118, PTH123 - bytes
            file.write(b"Text.")
    found = problems(tmp_path, {"folder": "."})
    assert "not a name in UTF-8" in found[0].wrong
    assert all(str(problem).isprintable() for problem in found)


def test_two_of_one_name_below_one_folder_are_both_named(tmp_path: Path) -> None:
    written(tmp_path, "notes/x/readme.md", "notes/y/readme.md")
    (found,) = problems(tmp_path, {"folder": "notes"})
    assert re.search("notes/x/readme.md.*notes/y/readme.md", found.wrong)


def test_every_bad_document_is_said_at_its_place(tmp_path: Path) -> None:
    written(tmp_path, "good.md")
    bad = [{"text": "  ", "name": "nothing"}, {"link": "example.com/page"}, {"file": "gone.md"}]
    assert [p.path[-2] for p in problems(tmp_path, {"file": "good.md"}, *bad)] == ["1", "2", "3"]


def test_the_projects_own_documents_are_readable() -> None:
    names = ("documents/lab-manual.pdf", "README.md", "README.zh-CN.md", "docs/architecture.md")
    assert not problems(PROJECT, *({"file": name} for name in names))
