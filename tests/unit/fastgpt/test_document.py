"""A document is known by what it says, uploaded once, and leaves nothing behind where it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioning.clients.http import Conflict, NotFound, Refused
from stack.resources.declaration import Props
from tests.unit.fake_services import FakeFastGpt
from tests.unit.fastgpt.bench import Bench

PAGE = "https://example.org/a"


@pytest.fixture
def source(tmp_path: Path, request: pytest.FixtureRequest) -> Props:
    """The same words as a file, a text or a link."""
    file = tmp_path / "words.md"
    file.write_text("# Opening\nAt nine.\n")
    given: dict[str, Props] = {
        "file": {"file": str(file), "name": file.name},
        "text": {"text": file.read_text(), "name": "words"},
        "link": {"link": PAGE, "name": PAGE},
    }
    return given[request.param]


def test_a_file_is_uploaded_under_its_name(
    bench: Bench, service: FakeFastGpt, base_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.md"
    file.write_text("The lab ends by its lease.")
    document = bench.document(base_id, file=str(file), name="手册 1.md")
    row = service.collections[document.create()["collection_id"]]
    assert (row["name"], row["datasetId"], row["trainingType"]) == ("手册 1.md", base_id, "chunk")


@pytest.mark.parametrize("source", ["file", "text"], indirect=True)
def test_a_section_of_one_line_is_sent_so_that_it_is_kept(
    bench: Bench, service: FakeFastGpt, base_id: str, source: Props
) -> None:
    bench.document(base_id, **source).create()
    assert "# Opening\n\nAt nine." in service.uploads[-1].decode().replace("\\n", "\n")


@pytest.mark.parametrize(
    ("name", "content", "sent"),
    [
        ("a.csv", b"# a\n1,2\n", b"\xef\xbb\xbf# a\n1,2\n"),
        ("b.docx", b"# a\nb\n", b"\r\n# a\nb\n"),
        ("c.csv", "阅览室,1\n".encode("gbk"), "阅览室,1\n".encode("utf-8-sig")),
    ],
)  # fmt: skip
def test_what_is_sent_of_a_file_is_what_fastgpt_reads_right(
    bench: Bench, service: FakeFastGpt, base_id: str, tmp_path: Path, name: str, content: bytes,
    sent: bytes,
) -> None:  # fmt: skip
    file = tmp_path / name
    file.write_bytes(content)
    bench.document(base_id, file=str(file), name=name).create()
    assert sent in service.uploads[-1]


def test_a_changed_file_is_another_document_a_moved_one_is_not(
    bench: Bench, base_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.md"
    file.write_text("one")
    document = bench.document(base_id, file=str(file))
    document.create()
    moved = file.rename(tmp_path / "b.md")
    assert not document.diff(file=str(moved)).changes
    moved.write_text("two")
    changed = bench.document(base_id, file=str(moved)).wanted
    result = document.diff(content_hash=changed["content_hash"])
    assert (result.replaces, result.delete_before_replace) == (["content_hash"], True)


@pytest.mark.parametrize(("now", "error"), [("two", Conflict), (None, NotFound)])
def test_a_file_that_changes_during_the_run_is_not_taken_for_the_other(
    bench: Bench,
    service: FakeFastGpt,
    base_id: str,
    tmp_path: Path,
    now: str | None,
    error: type[Exception],
) -> None:
    file = tmp_path / "a.md"
    file.write_text("one")
    document = bench.document(base_id, file=str(file))
    file.unlink() if now is None else file.write_text(now)
    with pytest.raises(error, match=r"read .*a\.md"):
        document.create()
    assert service.collections == {}


@pytest.mark.parametrize("source", ["file", "text", "link"], indirect=True)
def test_what_an_interrupted_upload_left_is_adopted(
    bench: Bench, service: FakeFastGpt, base_id: str, source: Props
) -> None:
    """A link is told by its address: its title is the page's."""
    document = bench.document(base_id, **source)
    first = document.create()
    assert document.create() == first
    assert len(service.collections) == 1
    assert not document.drifts()


@pytest.mark.parametrize(
    "old",
    [{"metadata": {}}, {"chunkSize": 100}, {"rawTextLength": 0}],
    ids=["unmarked", "cut otherwise", "empty"],
)
@pytest.mark.parametrize("source", ["text", "link"], indirect=True)
def test_a_leftover_that_is_not_the_same_is_replaced(
    bench: Bench, service: FakeFastGpt, base_id: str, source: Props, old: Props
) -> None:
    document = bench.document(base_id, **source)
    first = document.create()["collection_id"]
    service.collections[first].update(old)
    again = document.create()["collection_id"]
    assert list(service.collections) == [again] != [first]


@pytest.mark.parametrize(
    ("name", "more"),
    [("by hand", {}), ("n", {"rawLink": PAGE})],
    ids=["another name", "a page that is titled like it"],
)
def test_what_is_not_ours_is_left_alone(
    bench: Bench, service: FakeFastGpt, base_id: str, name: str, more: Props
) -> None:
    other = service.add_collection(base_id, name, **more)
    bench.document(base_id, text="x").create()
    assert other in service.collections


@pytest.mark.parametrize(
    ("answered", "given", "said"),
    [
        ({"inserted": 0}, {"text": "x"}, "no text was found"),
        ({"inserted": 0}, {"link": PAGE}, "FastGPT must reach the page from the server"),
        ({"left_out": 2}, {"text": "x"}, r"left out 2 of its chunks.*chunkSize \(now 512\)"),
    ],
)
def test_a_document_that_would_not_be_found_leaves_nothing_behind(
    bench: Bench,
    service: FakeFastGpt,
    base_id: str,
    answered: dict[str, Any],
    given: Props,
    said: str,
) -> None:
    vars(service).update(answered)
    with pytest.raises(Refused, match=said):
        bench.document(base_id, **given).create()
    assert service.collections == {}


def test_a_document_that_is_gone_or_whose_base_is(
    bench: Bench, service: FakeFastGpt, base_id: str
) -> None:
    document = bench.document(base_id, text="x y")
    document.create()
    for rows in (service.collections, service.datasets):
        rows.clear()
        assert document.gone()
    document.delete()
