"""A document is known by what it says, uploaded once, and leaves nothing behind where it fails."""

from pathlib import Path

import pytest

from provisioning.clients.errors import Conflict, NotFound, Refused
from stack.resources.declaration import Props
from tests.tables import table
from tests.unit.fastgpt.bench import BOTH, Bench

NOWHERE = "http://127.0.0.1:9/a"
KEPT = "dataset_collections"


@pytest.fixture
def source(tmp_path: Path, request: pytest.FixtureRequest, page: str) -> Props:
    """The same words as a file, a text or a link."""
    file = tmp_path / "words.md"
    file.write_text("# Opening\nAt nine.\n")
    given: dict[str, Props] = {
        "file": {"file": str(file), "name": "手册 1.md"},
        "text": {"text": file.read_text(), "name": "words"},
        "link": {"link": page, "name": page},
    }
    return given[request.param]


def sources(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("source", kinds, indirect=True)


@BOTH
@sources("file", "text")
def test_a_document_is_taken_in_whole_under_its_name(
    bench: Bench, base_id: str, source: Props, tmp_path: Path
) -> None:
    """Also a heading with one line under it, which FastGPT would throw away."""
    made = bench.document(base_id, **source).create()["collection_id"]
    row = bench.row(KEPT, made)
    assert (row["name"], row["datasetId"]) == (source["name"], base_id)
    bench.parse(made)
    (chunk,) = bench.mongo.find("trainings", collectionId=made)
    assert "At nine." in chunk["q"]
    file = tmp_path / "c.csv"
    file.write_bytes("阅览室,1\n借书证,2\n".encode("gbk"))
    made = bench.document(base_id, file=str(file), name=file.name).create()["collection_id"]
    bench.parse(made)
    (chunk,) = bench.mongo.find("trainings", collectionId=made)
    assert "阅览室" in chunk["q"]


def test_a_changed_file_is_another_document_a_moved_one_is_not(
    bench: Bench, base_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.md"
    file.write_text("one")
    document = bench.document(base_id, file=str(file), name="a.md")
    document.create()
    moved = file.rename(tmp_path / "b.md")
    assert not document.diff(file=str(moved)).changes
    moved.write_text("two")
    changed = bench.document(base_id, file=str(moved)).wanted
    result = document.diff(content_hash=changed["content_hash"])
    assert (result.replaces, result.delete_before_replace) == (["content_hash"], True)


@pytest.mark.parametrize(("now", "error"), [("two", Conflict), (None, NotFound)])
def test_a_file_that_changes_during_the_run_is_not_taken_for_the_other(
    bench: Bench, base_id: str, tmp_path: Path, now: str | None, error: type[Exception]
) -> None:
    file = tmp_path / "a.md"
    file.write_text("one")
    document = bench.document(base_id, file=str(file))
    file.unlink() if now is None else file.write_text(now)
    with pytest.raises(error, match=r"read .*a\.md"):
        document.create()
    assert bench.ids(KEPT) == []


@BOTH
@sources("file", "text", "link")
def test_what_an_interrupted_upload_left_is_adopted(
    bench: Bench, base_id: str, source: Props
) -> None:
    """A link is told by its address: its title is the page's."""
    document = bench.document(base_id, **source)
    first = document.create()
    assert document.create() == first
    assert bench.ids(KEPT) == [first["collection_id"]]
    assert not document.drifts()


@BOTH
@pytest.mark.parametrize(
    "old",
    [{"metadata": {}, "tags": []}, {"chunkSize": 100}, {"rawTextLength": 0}],
    ids=["unmarked", "cut otherwise", "empty"],
)
@sources("text", "link")
def test_a_leftover_that_is_not_the_same_is_replaced(
    bench: Bench, base_id: str, source: Props, old: Props
) -> None:
    document = bench.document(base_id, **source)
    first = document.create()["collection_id"]
    bench.edit(KEPT, first, **old)
    again = document.create()["collection_id"]
    assert bench.ids(KEPT) == [again] != [first]


@BOTH
@pytest.mark.parametrize(
    "hand",
    [{"name": "by hand"}, {"rawLink": NOWHERE}],
    ids=["another name", "a page that is titled like it"],
)
def test_what_is_not_ours_is_left_alone(bench: Bench, base_id: str, hand: Props) -> None:
    other = bench.document(base_id, text="x").create()["collection_id"]
    bench.edit(KEPT, other, **hand)
    bench.document(base_id, text="y").create()
    assert other in bench.ids(KEPT)


@BOTH
def test_a_text_that_a_run_left_without_its_name_is_taken_in(bench: Bench, base_id: str) -> None:
    document = bench.document(base_id, text="x")
    made = document.create()["collection_id"]
    bench.edit(KEPT, made, name="n.txt")
    assert document.create()["collection_id"] == made
    assert bench.row(KEPT, made)["name"] == "n"


@table("fastgpt_document")
def test_a_document_that_would_not_be_found_leaves_nothing_behind(
    given: Props, said: str, bench: Bench, base_id: str
) -> None:
    bench.service.config.models["vectorModels"][0]["maxToken"] = 10
    with pytest.raises(Refused, match=said):
        bench.document(base_id, **given).create()
    assert bench.ids(KEPT) == []


@BOTH
def test_a_document_that_is_gone_or_whose_base_is(bench: Bench, base_id: str) -> None:
    document = bench.document(base_id, text="x y")
    document.create()
    for kept in (KEPT, "datasets"):
        bench.mongo.delete(kept)
        assert document.gone()
    document.delete()
