"""Chunk sizes follow from what the models of a base read (`measured.md §1 F1`)."""

from __future__ import annotations

from typing import Any

import pytest

from provisioning.catalogue import Model
from provisioning.chunks import GROWN, chunk_size, chunk_size_problems, usual_chunk_size
from provisioning.knowledge import Document, Knowledge


def model(name: str, kind: str = "embedding", **more: Any) -> Model:
    source = {} if "remote" in more else {"xinference": {}}
    return Model.model_validate({"name": name, "kind": kind, **source, **more})


def remote(name: str, read: int) -> Model:
    return model(name, maxInput=read, remote={"provider": "openai"})


CHAT = model("qwen", "chat", context=16384)
M3E = model("m3e-base", maxInput=512)
OUTSIDE = remote("text-embedding-v1", 2048)


def problems(document: dict[str, Any], *models: Model, **base: str) -> list[str]:
    bases = [{"name": "a"}, {"name": "b", "documents": [{"link": "http://x"}, document], **base}]
    knowledge = Knowledge.model_validate({"bases": bases})
    return [str(problem) for problem in chunk_size_problems(knowledge, models)]


def test_more_than_a_local_model_reads_would_be_cut_silently() -> None:
    assert problems({"link": "http://y", "chunkSize": 512}, CHAT, M3E) == []
    (said,) = problems({"link": "http://y", "chunkSize": 3000}, CHAT, M3E)
    assert said.startswith("knowledge.bases[1].documents[1].chunkSize: m3e-base reads 512 tokens")
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
