"""Chunk sizes follow from what the models of a base read (`docs/facts/measured.md §1 F1`)."""

import json
from typing import Any

import pytest
from pypdf import PdfReader

from provisioning.catalogue import Model
from provisioning.chunks import (
    GROWN,
    chunk_size,
    chunk_size_problems,
    longest_chunk_size,
    usual_chunk_size,
)
from provisioning.fastgpt_config import config_json
from provisioning.knowledge import SMALLEST_CHUNK, Base, Document
from provisioning.text_files import with_spaced_headings
from rehearsal.doubles.fastgpt.chunks import split
from tests.unit.plans import model
from tests.unit.program import PROJECT

CHAT = model("qwen", context=16384)
BIG = model("big", context=131072)


def reads(tokens: int, name: str = "m3e-base") -> Model:
    return model(name, "embedding", maxInput=tokens)


def outside(tokens: int) -> Model:
    return model("outside", "embedding", maxInput=tokens, remote={"provider": "openai"})


M3E, BGE, OUTSIDE = reads(512), reads(8192, "bge-m3"), outside(2048)


def problems(document: dict[str, Any], *models: Model, **base: str) -> list[str]:
    documents = [{"link": "http://x"}, {"link": "http://y", **document}]
    told = Base.model_validate({"name": "b", "documents": documents, **base})
    return [str(problem) for problem in chunk_size_problems(told, models, "bases[1]")]


@pytest.mark.parametrize(
    ("document", "models", "largest", "said"),
    [
        # Of more than a local model reads the rest would be cut silently; a provider refuses it.
        ({"chunkSize": 3000}, (CHAT, M3E), 512, "m3e-base reads 512 tokens"),
        ({"chunkSize": 513}, (CHAT, OUTSIDE), 512,
         "the provider of outside refuses a text of more than 2048 tokens"),
        # Questions are written by a model that reads the chunk.
        ({"chunkSize": 8000, "training": "qa"}, (CHAT, M3E), 4369,
         "qwen's context of 16384 tokens"),
    ],
)  # fmt: skip
def test_what_the_models_cannot_read_is_refused(
    document: dict[str, Any], models: tuple[Model, ...], largest: int, said: str
) -> None:
    assert problems(document | {"chunkSize": largest}, *models) == []
    (problem,) = problems(document, *models)
    assert problem.startswith("bases[1].documents[1].chunkSize: ")
    assert said in problem
    assert f"set {largest} or less" in problem


def test_it_is_the_bases_own_models_that_count() -> None:
    document = {"chunkSize": 3000}
    assert problems(document, CHAT, M3E, BGE, embedding="bge-m3") == []
    assert problems(document, CHAT, BGE, M3E, embedding="m3e-base") != []
    # A longer context is long enough.
    assert problems({"chunkSize": 8000, "training": "qa"}, BIG, M3E) == []
    # A model that is not there is said with the base.
    assert problems(document, CHAT, M3E, embedding="no-such") == []


@pytest.mark.parametrize("training", ["chunk", "qa"])
@pytest.mark.parametrize("embedding", [M3E, OUTSIDE, outside(384), outside(8192), reads(64)])
@pytest.mark.parametrize("context", [512, 4096, 16384, 131072])
def test_what_is_taken_where_nothing_is_set_is_allowed(
    training: str, embedding: Model, context: int
) -> None:
    chat = model("c", context=context)
    unset = {"link": "http://y", "training": training}
    size = chunk_size(Document.model_validate(unset), embedding, chat)
    assert problems(unset | {"chunkSize": size}, chat, embedding) == []
    assert chunk_size(Document.model_validate(unset | {"chunkSize": size}), embedding, chat) == size


def test_the_usual_size_follows_the_model_and_what_a_provider_reads() -> None:
    assert [usual_chunk_size(e) for e in (M3E, OUTSIDE, outside(512))] == [256, 512, 128]
    for read in (512, 2048, 3072, 8192):
        assert usual_chunk_size(outside(read)) * GROWN <= read


SENTENCE = "馆里的每台机器都有编号，借用前请在前台登记姓名和时间。"
PROSE = {
    "Chinese in paragraphs": "".join(
        SENTENCE[: 5 + 7 * n % 20] + "。" + "\n" * (n % 3 == 0) for n in range(900)
    ),
    "lines without punctuation": "\n".join("书" * (300 + 131 * n % 1200) for n in range(200)),
    "no line break and no punctuation": "馆" * 20_000,
    "several languages": "The lab ends by its lease. 实验室到期自动释放。ラボは終了します。 " * 400,
    "clauses": ("书" * 400 + "，") * 60,
}
MANUAL = PdfReader(PROJECT / "documents" / "lab-manual.pdf").pages
DOCUMENTS = {
    **PROSE,
    "one long table": "| a | b |\n| --- | --- |\n" + "| 书架 | 三号楼二层左手第一间 |\n" * 800,
    "a table with long rows": ("| a | b |\n| --- | --- |\n| a | " + "字" * 5000 + " |\n") * 3,
    "one long block of code": "# Use\n\n```\n" + "run(lab, hours=24)\n" * 900 + "```\n",
    "README.md": (PROJECT / "README.md").read_text(),
    "README.zh-CN.md": (PROJECT / "README.zh-CN.md").read_text(),
    "lab-manual.pdf": "".join(page.extract_text().replace("\n", "") for page in MANUAL),
}


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("embedding", [M3E, BGE, OUTSIDE])
def test_no_chunk_of_a_sound_document_is_left_out(embedding: Model, name: str) -> None:
    kept = json.loads(config_json([CHAT, embedding]))["vectorModels"][0]["maxToken"] * 1.3
    longest = min(3000, longest_chunk_size(embedding))
    for size in (SMALLEST_CHUNK, usual_chunk_size(embedding), longest):
        assert max(map(len, split(DOCUMENTS[name], size))) <= kept


@pytest.mark.parametrize("name", PROSE)
@pytest.mark.parametrize("read", [512, 2048, 8192])
def test_prose_comes_to_no_more_than_a_provider_reads(read: int, name: str) -> None:
    for size in {SMALLEST_CHUNK, longest_chunk_size(outside(read))}:
        assert max(map(len, split(PROSE[name], size))) <= read


@pytest.mark.parametrize("size", [SMALLEST_CHUNK, 256, 512])
def test_a_section_of_one_line_is_not_lost(size: int) -> None:
    notes = "".join(f"## 第{n}节\n{n}号书架。{SENTENCE * 5}\n" for n in range(40))
    chunks = "".join(split(with_spaced_headings(notes), size))
    assert [n for n in range(40) if f"\n{n}号书架" not in chunks] == []
