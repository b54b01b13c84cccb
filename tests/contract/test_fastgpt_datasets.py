"""Datasets, documents, indexing, search (docs/facts/fastgpt.md §2, §4, §8, §10.5, §10.9)."""

import itertools
import re
from typing import Any

import pytest

from rehearsal.doubles.fastgpt.chunks import split
from rehearsal.doubles.fastgpt.store import Store
from tests.contract.fastgpt_subject import (
    EMBEDDING,
    LLM,
    RERANKER,
    WIDE,
    FastGpt,
    Lab,
    config,
    data,
    error,
    fastgpt,
    lab,
    running,
    until,
)
from tests.contract.replay import FILES, RECORDINGS

__all__ = ["fastgpt", "lab", "running"]
TEXTS = RECORDINGS / "fastgpt-4.8.8" / FILES
COLLECTION = "/api/core/dataset/collection"
LIBRARY = (
    "# Library\n\n## Hours\nThe library opens at nine.\n\n## Fees\nA lost card costs five euros.\n"
)


def test_a_typo_in_a_models_name_calls_the_first_one(fastgpt: FastGpt, lab: Lab) -> None:
    typo = fastgpt.dataset("wide-2084")
    shown = data(fastgpt.http.get("/api/core/dataset/detail", params={"id": typo}))
    assert (shown["vectorModel"]["model"], shown["agentModel"]["model"]) == (EMBEDDING, LLM)
    fastgpt.text(typo, LIBRARY)
    fastgpt.indexed(typo)
    assert {body["model"] for body in lab.upstream.bodies("/v1/embeddings")} == {EMBEDDING}


def test_a_deleted_collection_is_neither_a_404_nor_a_known_error(fastgpt: FastGpt) -> None:
    gone = {"id": fastgpt.text(fastgpt.dataset(), "x")["collectionId"]}
    data(fastgpt.http.delete(f"{COLLECTION}/delete", params=gone))
    answer = fastgpt.http.get(f"{COLLECTION}/detail", params=gone)
    assert error(answer) == (500, 500, "Collection is not exist")


def test_file_names_are_percent_encoded_or_garbled_or_refused(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()
    names = {"%E6%89%8B 100%25.txt": "手 100%.txt", "手.txt": "手.txt".encode().decode("latin-1")}
    for sent, kept in names.items():
        made = data(fastgpt.upload(sent, b"x", datasetId=dataset))["collectionId"]
        shown = data(fastgpt.http.get(f"{COLLECTION}/detail", params={"id": made}))
        assert shown["name"] == kept
    assert error(fastgpt.upload("100%.txt", b"x", datasetId=dataset))[0] == 500


def test_nothing_is_recognised_as_there_already(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()
    first, second = (fastgpt.text(dataset, LIBRARY) for _ in range(2))
    assert first["collectionId"] != second["collectionId"]
    assert first["results"] == second["results"]


# Chunks


@pytest.mark.parametrize(
    ("path", "amount", "too_long"),
    [
        ("README.md", 18, [1295, 677, 1277]),
        ("README.zh-CN.md", 13, [924]),
        ("docs/architecture.md", 18, [680, 992, 1331, 1890, 1471, 788, 815]),
    ],
)
def test_chunks_are_those_of_the_real_splitter(path: str, amount: int, too_long: list[int]) -> None:
    """F1, on the texts it was measured with: what is longer than 1.3 x 512 at a size of 512."""
    lengths = [len(chunk) for chunk in split((TEXTS / path).read_text("utf-8"), 512)]
    assert (len(lengths), [each for each in lengths if each > 665.6]) == (amount, too_long)


def test_sentences_overlap_by_a_fifth() -> None:
    chunks = split("".join(f"Sentence number {n} is here. " for n in range(200)), 500)
    assert max(map(len, chunks)) > 500, "the size is a target, not a limit"
    for one, other in itertools.pairwise(chunks):
        shared = next(n for n in range(len(one), -1, -1) if other.startswith(one[-n:]))
        assert 100 <= shared <= 200


def test_chunks_keep_their_headings_and_tables_their_heads() -> None:
    intro = "intro of more than thirty letters\n\n"
    first, *others = split(f"# A\n\n{intro}## B\n\n{'word. ' * 200}\n", 300)
    assert first == f"# A\n{intro}"
    assert all(chunk.startswith("# A\n## B\n") for chunk in others[:-1])
    (glued,) = split("# Head\nline\nThe text is longer than thirty characters.", 300)
    assert glued.startswith("# Headline\n"), "without an empty line the next one is lost in it"
    rows = "".join(f"| {number} | a row of the table |\n" for number in range(60))
    chunks = split("| no | what |\n|---|---|\n" + rows, 300)
    assert len(chunks) > 3
    assert all(chunk.startswith("| no | what |\n| --- | --- |\n| ") for chunk in chunks)


def test_what_has_no_separator_is_whole_up_to_three_times_the_size() -> None:
    assert split("x" * 1535, 512) == ["x" * 1535]
    assert max(map(len, split("x" * 5000, 512))) == 512


def test_characters_are_counted_where_tokens_are_meant(lab: Lab) -> None:
    """F1: of Chinese and English alike, 1.3 characters for each token of `maxToken`."""
    narrow = config()
    narrow["vectorModels"][0]["maxToken"] = 512
    fastgpt = lab.fastgpt("narrow", narrow).up().ready()
    dataset = fastgpt.dataset()
    for text, taken in (("w" * 665, 1), ("馆" * 665, 1), ("w" * 666, 0), ("馆" * 666, 0)):
        results = fastgpt.text(dataset, text, chunkSize=512)["results"]
        assert (results["insertLen"], len(results["overToken"])) == (taken, 1 - taken)


# The queue


def test_a_failed_chunk_stays_in_the_queue_and_is_tried_again(fastgpt: FastGpt, lab: Lab) -> None:
    lab.upstream.refuse(EMBEDDING, message="no channel", type="one_api_error")
    dataset = fastgpt.dataset()
    fastgpt.text(dataset, LIBRARY)
    until("a second attempt", lambda: len(lab.upstream.bodies("/v1/embeddings")) > 2)
    assert fastgpt.waiting(dataset) > 0
    printed = fastgpt.log.read_text()
    assert "Embedding Error no channel" in printed
    assert re.search(r"\[Error\] [\d-]+ [\d:]+ no channel", printed)
    lab.upstream.refusals.clear()
    fastgpt.indexed(dataset)


@pytest.mark.parametrize(
    "refusal",
    [{"type": "invalid_request_error", "message": "too long"}, {"code": 500, "message": "x"}],
    ids=["invalid_request_error", "code-500"],
)
def test_a_chunk_called_invalid_is_locked_for_good(
    fastgpt: FastGpt, lab: Lab, refusal: dict[str, Any]
) -> None:
    lab.upstream.refuse(EMBEDDING, 400, **refusal)
    dataset, other = fastgpt.dataset(), fastgpt.dataset(WIDE)
    collection = fastgpt.text(dataset, "one chunk")["collectionId"]
    until("the attempt", lambda: _calls(lab, "one chunk"))
    lab.upstream.refuse(WIDE, message="try again")
    fastgpt.text(other, "another chunk")
    # When the other dataset's chunk had three turns, this one's would have come as well.
    until("three turns of another chunk", lambda: _calls(lab, "another chunk") >= 3)
    assert _calls(lab, "one chunk") == 1
    lab.upstream.refusals.clear()
    fastgpt.indexed(other)
    assert fastgpt.waiting(dataset) == 1, "nothing but deleting helps"
    data(fastgpt.http.delete(f"{COLLECTION}/delete", params={"id": collection}))
    assert fastgpt.waiting(dataset) == 0


def _calls(lab: Lab, text: str) -> int:
    return sum(body["input"] == [text] for body in lab.upstream.bodies("/v1/embeddings"))


def test_what_is_queued_survives_a_restart(lab: Lab) -> None:
    lab.upstream.reset()
    lab.upstream.refuse(EMBEDDING, message="later")
    fastgpt = lab.fastgpt("restart").up().ready()
    dataset = fastgpt.dataset()
    fastgpt.text(dataset, "A note.")
    fastgpt.stop()
    lab.upstream.reset()
    fastgpt.up().ready().indexed(dataset)
    assert [item["q"] for item in fastgpt.search(dataset, "note")["list"]] == ["A note."]


# Search


def library(fastgpt: FastGpt, vector_model: str = EMBEDDING) -> str:
    dataset = fastgpt.dataset(vector_model)
    fastgpt.text(dataset, LIBRARY, name="library.md")
    fastgpt.text(dataset, "图书馆周一闭馆。", name="通知.md")
    fastgpt.indexed(dataset)
    return dataset


@pytest.mark.parametrize("mode", ["embedding", "fullTextRecall", "mixedRecall"])
@pytest.mark.parametrize(("asked", "name"), [("A lost card?", "library.md"), ("周一", "通知.md")])
def test_passages_name_their_document(fastgpt: FastGpt, mode: str, asked: str, name: str) -> None:
    found = fastgpt.search(library(fastgpt), asked, searchMode=mode)["list"]
    assert found[0]["sourceName"] == name


def test_similarity_and_limit_filter(fastgpt: FastGpt) -> None:
    dataset = library(fastgpt)
    for number in range(6):
        fastgpt.text(dataset, f"word{number} " * 85)
    fastgpt.indexed(dataset)
    assert fastgpt.search(dataset, "When?", similarity=0.999)["list"] == []
    assert len(fastgpt.search(dataset, "word1", limit=3000)["list"]) == 8
    # The limit is passed by the last one taken, and by up to 500 tokens.
    assert len(fastgpt.search(dataset, "word1", limit=200)["list"]) in (2, 3)


def test_a_failing_reranker_is_swallowed(fastgpt: FastGpt, lab: Lab) -> None:
    dataset = library(fastgpt)
    lab.upstream.refuse(RERANKER, 500)
    found = fastgpt.search(dataset, "lost card", usingReRank=True)
    assert found["usingReRank"] is False
    assert {score["type"] for item in found["list"] for score in item["score"]} == {"embedding"}


@pytest.mark.parametrize("model", [EMBEDDING, WIDE], ids=["padded", "cut"])
def test_vectors_are_kept_with_1536_numbers(fastgpt: FastGpt, model: str) -> None:
    dataset = library(fastgpt, model)
    rows = Store(str(fastgpt.log.with_name("memory.db"))).find("modeldata", dataset_id=dataset)
    assert {len(row["vector"]) for row in rows} == {1536}
    assert any(any(row["vector"][768:]) for row in rows) == (model == WIDE)
