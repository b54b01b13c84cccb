"""Chunk sizes follow from what the models of a base read (`docs/facts/measured.md §1 F1`)."""

import json
from pathlib import Path
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

PROJECT = Path(__file__).parents[2]


def model(name: str, kind: str = "embedding", **more: Any) -> Model:
    source = {} if "remote" in more else {"xinference": {}}
    return Model.model_validate({"name": name, "kind": kind, **source, **more})


def remote(name: str, read: int) -> Model:
    return model(name, maxInput=read, remote={"provider": "openai"})


CHAT = model("qwen", "chat", context=16384)
M3E = model("m3e-base", maxInput=512)
OUTSIDE = remote("text-embedding-v1", 2048)


def problems(document: dict[str, Any], *models: Model, **base: str) -> list[str]:
    documents = [{"link": "http://x"}, document]
    told = Base.model_validate({"name": "b", "documents": documents, **base})
    return [str(problem) for problem in chunk_size_problems(told, models, "bases[1]")]


def test_more_than_a_local_model_reads_would_be_cut_silently() -> None:
    assert problems({"link": "http://y", "chunkSize": 512}, CHAT, M3E) == []
    (said,) = problems({"link": "http://y", "chunkSize": 3000}, CHAT, M3E)
    assert said.startswith("bases[1].documents[1].chunkSize: m3e-base reads 512 tokens")
    assert "set 512 or less" in said


def test_a_provider_refuses_what_prose_may_come_to() -> None:
    assert problems({"link": "http://y", "chunkSize": 512}, CHAT, OUTSIDE) == []
    (said,) = problems({"link": "http://y", "chunkSize": 513}, CHAT, OUTSIDE)
    assert "the provider of text-embedding-v1 refuses a text of more than 2048 tokens" in said
    assert "set 512 or less" in said


def test_questions_are_written_by_a_model_that_reads_the_chunk() -> None:
    document = {"link": "http://y", "training": "qa", "chunkSize": 8000}
    assert problems(document, model("big", "chat", context=131072), M3E) == []
    (said,) = problems(document, CHAT, M3E)
    assert "qwen's context of 16384 tokens" in said
    assert "set 4369 or less" in said


def test_it_is_the_bases_own_models_that_count() -> None:
    wide = model("bge-m3", maxInput=8192)
    document = {"link": "http://y", "chunkSize": 3000}
    assert problems(document, CHAT, M3E, wide, embedding="bge-m3") == []
    assert problems(document, CHAT, wide, M3E, embedding="m3e-base") != []
    # A model that is not there is said with the base.
    assert problems(document, CHAT, M3E, embedding="no-such") == []


@pytest.mark.parametrize("training", ["chunk", "qa"])
@pytest.mark.parametrize(
    "embedding",
    [M3E, OUTSIDE, remote("small", 384), remote("wide", 8192), model("tiny", maxInput=64)],
)
@pytest.mark.parametrize("context", [512, 4096, 16384, 131072])
def test_what_is_taken_where_nothing_is_set_is_allowed(
    training: str, embedding: Model, context: int
) -> None:
    chat = model("c", "chat", context=context)
    unset = Document.model_validate({"link": "http://y", "training": training})
    size = chunk_size(unset, embedding, chat)
    written = {"link": "http://y", "training": training, "chunkSize": size}
    assert problems(written, chat, embedding) == []
    assert chunk_size(Document.model_validate(written), embedding, chat) == size


@pytest.mark.parametrize(
    ("embedding", "size"), [(M3E, 256), (OUTSIDE, 512), (remote("x", 512), 128)]
)
def test_the_usual_size_follows_the_model(embedding: Model, size: int) -> None:
    assert usual_chunk_size(embedding) == size


def test_a_provider_is_never_sent_more_than_it_reads() -> None:
    for read in (512, 2048, 3072, 8192):
        assert usual_chunk_size(remote("x", read)) * GROWN <= read


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
LONG_ROWS = "| name | text |\n| --- | --- |\n" + "| a | " + "字" * 5000 + " |\n"
DOCUMENTS = {
    **PROSE,
    "one long table": "| a | b |\n| --- | --- |\n" + "| 书架 | 三号楼二层左手第一间 |\n" * 800,
    "a table with long rows": LONG_ROWS * 3,
    "one long block of code": "# Use\n\n```\n" + "run(lab, hours=24)\n" * 900 + "```\n",
    "README.md": (PROJECT / "README.md").read_text(),
    "README.zh-CN.md": (PROJECT / "README.zh-CN.md").read_text(),
    "architecture.md": (PROJECT / "docs" / "architecture.md").read_text(),
    "lab-manual.pdf": "".join(
        page.extract_text().replace("\n", "")
        for page in PdfReader(PROJECT / "documents" / "lab-manual.pdf").pages
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("embedding", [M3E, model("bge-m3", maxInput=8192), OUTSIDE])
def test_no_chunk_of_a_sound_document_is_left_out(embedding: Model, name: str) -> None:
    kept = json.loads(config_json([CHAT, embedding]))["vectorModels"][0]["maxToken"] * 1.3
    longest = min(3000, longest_chunk_size(embedding))
    for size in (SMALLEST_CHUNK, usual_chunk_size(embedding), longest):
        assert max(map(len, split(DOCUMENTS[name], size))) <= kept


@pytest.mark.parametrize("name", PROSE)
@pytest.mark.parametrize("read", [512, 2048, 8192])
def test_prose_comes_to_no_more_than_a_provider_reads(read: int, name: str) -> None:
    longest = longest_chunk_size(remote("x", read))
    for size in {SMALLEST_CHUNK, longest}:
        assert max(map(len, split(PROSE[name], size))) <= read


@pytest.mark.parametrize("size", [SMALLEST_CHUNK, 256, 512])
def test_a_section_of_one_line_is_not_lost(size: int) -> None:
    notes = "".join(f"## 第{n}节\n{n}号书架。{SENTENCE * 5}\n" for n in range(40))
    chunks = "".join(split(with_spaced_headings(notes), size))
    assert [n for n in range(40) if f"\n{n}号书架" not in chunks] == []


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("# A\ntext", "# A\n\ntext"),
        ("# A\n\ntext\n", "# A\n\ntext\n"),
        ("# A\r\n\r\ntext", "# A\r\n\r\ntext"),
        ("# A\n## B\ntext\n", "# A\n\n## B\n\ntext\n"),
        ("#tag\ntext # no heading\n##### E\n", "#tag\ntext # no heading\n##### E\n"),
        ("```\n# a comment\nrun()\n```\n# A\nx", "```\n# a comment\nrun()\n```\n# A\n\nx"),
        ("# A\n", "# A\n\n"),
    ],
)
def test_a_heading_stands_alone(text: str, sent: str) -> None:
    assert with_spaced_headings(text) == sent
    assert with_spaced_headings(sent) == sent
