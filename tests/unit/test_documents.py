"""Documents on the operator's machine: which there are, and which FastGPT could not read."""

import io
import os
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pytest

from provisioning import readable
from provisioning.documents import files_of, source_problems, sources
from provisioning.knowledge import Base, Document
from provisioning.problems import Problem
from tests.unit.pdfs import Page, pdf, words

PROJECT = Path(__file__).resolve().parents[2]
MANUAL = PROJECT / "documents" / "lab-manual.pdf"


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


# -- which there are ----------------------------------------------------------------------------


def test_a_folder_is_every_readable_file_below_it(tmp_path: Path) -> None:
    written(tmp_path, "notes/b.md", "notes/deep/a.TXT", "notes/picture.png", "other/c.md")
    found = sources(base({"folder": "notes"}), tmp_path)
    assert [(s.name, s.file) for s in found] == [
        ("b.md", "notes/b.md"),
        ("a.TXT", "notes/deep/a.TXT"),
    ]


def test_what_programs_put_beside_an_open_file_is_no_document(tmp_path: Path) -> None:
    written(tmp_path, "notes/a.md", "notes/.a.md", "notes/~$a.docx", "notes/.git/readme.md")
    assert [file.name for file in files_of(Document(folder="notes"), tmp_path)] == ["a.md"]


def test_a_hidden_folder_that_is_named_itself_counts(tmp_path: Path) -> None:
    written(tmp_path, ".private/a.md")
    assert [s.name for s in sources(base({"folder": ".private"}), tmp_path)] == ["a.md"]


def test_a_file_of_the_project_is_named_relative_to_it(tmp_path: Path) -> None:
    written(tmp_path, "project/a.md", "elsewhere/b.md")
    project = tmp_path / "project"
    absolute = str(tmp_path / "elsewhere" / "b.md")
    given = base({"file": "a.md"}, {"file": "../elsewhere/b.md"}, {"file": absolute})
    found = [(source.name, source.file) for source in sources(given, project)]
    assert found == [("a.md", "a.md"), ("b.md", "../elsewhere/b.md"), ("b.md", absolute)]


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


def test_what_a_folder_leaves_out_is_told(tmp_path: Path) -> None:
    written(
        tmp_path, "n/a.md", "n/.b.md", "n/.old/c.md", "n/.old/d.md", "n/deep/e.rtf", "n/.DS_Store",
        "n/.git/config", "n/~$a.docx",
    )  # fmt: skip
    (tmp_path / "n" / "linked").symlink_to(tmp_path)
    (told,) = problems(tmp_path, {"folder": "n"})
    assert told.warning
    assert told.wrong.endswith("left out: .b.md, .old, deep/e.rtf, linked")
    assert ".pdf, .docx" in told.right


def test_of_many_left_out_some_are_named(tmp_path: Path) -> None:
    written(tmp_path, "n/a.md", *(f"n/{number:02}.png" for number in range(25)))
    (told,) = problems(tmp_path, {"folder": "n"})
    assert told.wrong.endswith("08.png, 09.png, and 15 more")


# -- what FastGPT could not read ----------------------------------------------------------------


def archive(kind: str, part: str, content: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("[Content_Types].xml", "<Types/>")
        file.writestr(f"{kind}/{part}", content)
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.md", b"Some text."),
        ("manual.pdf", MANUAL.read_bytes()),
        ("a.docx", archive("word", "document.xml", "<d xmlns:w='w'><w:t>Hello.</w:t></d>")),
        ("a.pptx", archive("ppt/slides", "slide12.xml", "<s xmlns:a='a'><a:t>Hello.</a:t></s>")),
        ("a.xlsx", archive("xl/worksheets", "sheet1.xml", "<s><c><v>3</v></c></s>")),
        ("a.html", b"<title>x</title><body><p>Open at nine"),
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
    assert not problems(tmp_path, {"file": name})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.exe", b"x", "use one of .pdf"),
        ("a.doc", b"x", "save it as .docx"),
        ("a.htm", b"x", "rename it to .html"),
        ("a.md", b"", "a.md is empty"),
        ("a.txt", b" \n\t ", "a.txt has no text"),
        ("a.csv", b",,,\n,,,\n", "a.csv has no text"),
        ("a.txt", "図書館は九時に開きます。".encode("shift_jis"), "iconv"),
        ("a.html", b"<script>var x</script><style>p{}</style>", "a.html has no text"),
        ("a.html", b"<body><noscript>Enable scripts</noscript><i>lost</i>", "a.html has no text"),
        ("scan.pdf", pdf(Page(painted=True)), "run it through OCR"),
        ("blank.pdf", pdf(Page(), Page()), "blank pages only"),
        ("locked.pdf", pdf(words(), password="secret"), "opens with a password only"),
        ("a.pdf", b"<html>saved by mistake</html>", "a.pdf is not a readable PDF"),
        ("a.docx", b"\xd0\xcf\x11\xe0 an old .doc", "locked with a password, or of the time"),
        ("a.docx", b"<html>", "a.docx is not a readable .docx"),
        ("a.docx", archive("word", "document.xml", "<broken"), "not a readable .docx"),
        ("a.docx", archive("word", "document.xml", "<d/>"), "a.docx has no text"),
        ("a.docx", archive("xl", "workbook.xml", "<d/>"), "an archive, but no .docx"),
        ("a.pptx", archive("ppt/slides", "slide1.xml", "<s/>"), "no text on its slides"),
        ("a.xlsx", archive("xl/worksheets", "sheet1.xml", "<s><c><v/></c></s>"), "no filled cell"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    found = one(tmp_path, name, content)
    assert said in str(found)
    assert not found.warning


SCANNED = Page(painted=True)
TURNED = Page(((400, "few"), (700, "many more words")), turned=90)


@pytest.mark.parametrize(
    ("pages", "refused", "said"),
    [
        ([words()] * 9 + [SCANNED], False, "no text on 1 of 10 pages of a.pdf (page 10)"),
        ([words(), SCANNED] * 3, False, "on 3 of 6 pages of a.pdf (pages 2, 4, 6)"),
        ([words(), SCANNED, SCANNED], True, "on 2 of 3 pages of a.pdf (pages 2-3)"),
        ([Page(((400, "阅览室"),), font="Identity-H", mapped=False)], True, "no ToUnicode"),
        ([Page(((770, "Head"), (20, "Foot")))], True, "wider margins"),
        ([TURNED], False, "leaves out most of the text of a.pdf on page 1"),
    ],
)  # fmt: skip
def test_pages_without_text_are_counted_and_named(
    tmp_path: Path, pages: list[Page], refused: bool, said: str
) -> None:
    """Most of them: it is refused. Half or fewer: a warning."""
    found = one(tmp_path, "a.pdf", pdf(*pages))
    assert said in str(found)
    assert found.warning != refused


def test_blank_pages_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(words(), Page(), Page()))
    assert not problems(tmp_path, {"file": "a.pdf"})


def test_of_many_runs_of_pages_ten_are_named(tmp_path: Path) -> None:
    found = one(tmp_path, "a.pdf", pdf(*[words(), words(), Page(painted=True)] * 12))
    assert "27, 30, ...)" in found.wrong


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"file": "a.md"}, "is not there; paths are relative to the folder of Pulumi.yaml"),
        ({"file": "notes"}, "is a folder; write `folder:`"),
        ({"folder": "note"}, "no folder"),
        ({"folder": "notes"}, "holds nothing to read, only picture.png"),
        # What can be no path is said, not raised.
        ({"file": "x" * 300 + ".md"}, "cannot be opened"),
        ({"file": "a\0b.md"}, "is not there"),
    ],
)
def test_what_is_not_there_to_read(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    written(tmp_path, "notes/picture.png")
    (found,) = problems(tmp_path, given)
    assert said in str(found)
    assert not found.warning


def test_a_file_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readable, "LARGEST_BYTES", 2 << 20)
    assert "a.md has 3 MiB" in one(tmp_path, "a.md", b"x" * (3 << 20)).wrong


def test_a_pdf_that_breaks_the_reader_is_said_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(file: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(readable, "pdf_pages", breaks)
    assert "not a readable PDF (too deep)" in one(tmp_path, "a.pdf", b"%PDF-1.4").wrong


def test_a_name_that_is_no_utf_8_can_be_nobodys(tmp_path: Path) -> None:
    for name in (b"\xff.md", b"\xff.png"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:  # noqa: PTH118, PTH123 - bytes
            file.write(b"Text.")
    found = problems(tmp_path, {"folder": "."})
    assert "not a name in UTF-8" in found[0].wrong
    assert all(str(problem).isprintable() for problem in found)


# -- links and texts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "link",
    [
        "https://example.com/page",
        "http://example.com:8080/a?b=c#d",
        "https://例子.中国/页面",
        "https://47.96.1.1/page",
    ],
)
def test_links_that_the_server_can_fetch(tmp_path: Path, link: str) -> None:
    assert not problems(tmp_path, {"link": link})


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("example.com/page", "https://example.com/page"),
        ("ftp://example.com/page", "https://example.com/page"),
        ("HTTPS://example.com/page", "no address"),
        ("https://[broken", "no address"),
        ("https://example.com:99999/", "no address"),
        ("https://example.com/a page", "no address"),
        ("http://localhost:3001", "private network"),
        ("http://wiki/page", "private network"),
        ("http://wiki.local./page", "private network"),
        ("http://10.0.0.1/page", "private network"),
        ("http://127.1/page", "private network"),
        ("http://2130706433/page", "private network"),
        ("http://100.100.100.200/latest/meta-data", "private network"),
        ("http://[::1]/page", "private network"),
        ("http://[fd00::1]/page", "private network"),
        ("https://me:secret@example.com/page", "password"),
    ],
)
def test_links_that_it_cannot_or_must_not(tmp_path: Path, link: str, said: str) -> None:
    (found,) = problems(tmp_path, {"link": link})
    assert said in str(found)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("text", "name"), [("  ", "n"), ("...", "n"), ("It is so.", "a/b"), ("It is so.", " ")]
)
def test_texts_that_nobody_could_cite(tmp_path: Path, text: str, name: str) -> None:
    assert len(problems(tmp_path, {"text": text, "name": name})) == 1


# -- a base as a whole --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"file": "x/a.md"}, {"file": "x/a.md"}),
        ({"file": "x/a.md"}, {"file": "y/a.md"}),
        ({"file": "x/a.md"}, {"folder": "x"}),
        ({"file": "x/a.md"}, {"text": "t", "name": "a.md"}),
        ({"link": "https://e.com"}, {"link": "https://e.com"}),
    ],
)
def test_documents_of_one_name_are_refused(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    written(tmp_path, "x/a.md", "y/a.md")
    (found,) = problems(tmp_path, one, other)
    assert found.path == "knowledge.bases[0].documents[1]"
    assert "is there twice" in found.wrong
    assert "rename one" in found.right


def test_two_of_one_name_below_one_folder_are_both_named(tmp_path: Path) -> None:
    written(tmp_path, "notes/x/readme.md", "notes/y/readme.md")
    (found,) = problems(tmp_path, {"folder": "notes"})
    assert "notes/x/readme.md" in found.wrong
    assert "notes/y/readme.md" in found.wrong


def test_every_bad_document_is_said_at_its_place(tmp_path: Path) -> None:
    written(tmp_path, "good.md")
    (tmp_path / "empty.md").write_text("")
    found = problems(
        tmp_path,
        {"file": "good.md"},
        {"file": "empty.md"},
        {"text": "  ", "name": "nothing"},
        {"link": "example.com/page"},
        {"file": "gone.md"},
    )
    assert [p.path[-2] for p in found] == ["1", "2", "3", "4"]


def test_the_projects_own_documents_are_readable() -> None:
    names = ("documents/lab-manual.pdf", "README.md", "README.zh-CN.md", "docs/architecture.md")
    assert not problems(PROJECT, *({"file": name} for name in names))
